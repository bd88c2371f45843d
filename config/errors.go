package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxListed bounds the mistakes that an Error lists; it counts the others.
const maxListed = 1000

// Mistake is one thing that is wrong with the file.
type Mistake struct {
	// Line and Column point at the value, at the key where the key is unknown, at
	// the parent where a key is missing. Both count from 1; columns are characters.
	Line, Column int
	// Path leads to it, as in routes[3].meter.feature; empty: the whole file.
	Path string
	// Msg says what is wrong.
	Msg string
	// Hint is the cure, or empty.
	Hint string
}

// Error is every mistake of one file, in the order of their lines.
type Error struct {
	// Name is the file's name as it was given to Load.
	Name     string
	Mistakes []Mistake
	// Count is how many mistakes there are; at most 1,000 of them are listed.
	Count int
}

// Error writes what weir prints on stderr: one line for each mistake, below it
// "hint: " and the cure where there is one, and a last line that counts them, such
// as "3 mistakes". It ends without a newline.
func (e *Error) Error() string {
	var b strings.Builder
	for _, m := range e.Mistakes {
		fmt.Fprintf(&b, "weir: validate %s\n", position(e.Name, m.Line, m.Column, m.Path, m.Msg))
		if m.Hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", oneLine(m.Hint))
		}
	}
	switch unlisted := e.Count - len(e.Mistakes); {
	case unlisted > 0:
		fmt.Fprintf(&b, "%d mistakes, %d of them not listed", e.Count, unlisted)
	case e.Count == 1:
		b.WriteString("1 mistake")
	default:
		fmt.Fprintf(&b, "%d mistakes", e.Count)
	}
	return b.String()
}

// position writes file, line, column, path and what is to be said, on one line.
func position(name string, line, column int, path, msg string) string {
	if path != "" {
		msg = path + ": " + msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", oneLine(name), line, column, oneLine(msg))
}

// oneLine escapes what would break a line or a terminal.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return s
	}
	quoted := fmt.Sprintf("%q", s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// inOrder sorts mistakes by where they are.
func inOrder(mistakes []Mistake) {
	slices.SortStableFunc(mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
}
