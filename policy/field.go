package policy

import "strings"

// FieldError is a mistake in the configuration, at a key. The configuration
// package alone knows which line that is.
type FieldError struct {
	// Path leads to the value, outermost key first; an index into a list is "[3]".
	Path []string
	// Msg says what is wrong, without the path.
	Msg string
	// Hint is the cure, or empty.
	Hint string
	// OnKey points at the key instead of its value.
	OnKey bool
}

func (e *FieldError) Error() string { return JoinPath(e.Path) + ": " + e.Msg }

// JoinPath writes a path as people read it: routes[3].meter.feature.
func JoinPath(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if i > 0 && !strings.HasPrefix(p, "[") {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}
