package policy

import "fmt"

// Steps collects a line for each step to a decision, for people. A nil *Steps
// collects nothing and costs nothing.
type Steps struct {
	Lines []string
}

// add appends one line. Making the arguments allocates, so callers on the hot path
// ask on first.
func (s *Steps) add(format string, args ...any) {
	if s != nil {
		s.Lines = append(s.Lines, fmt.Sprintf(format, args...))
	}
}

// on tells whether steps are collected.
func (s *Steps) on() bool { return s != nil }
