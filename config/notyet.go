package config

import (
	"cmp"
	"slices"
)

// NotYet is a key of the file that serve does not act on yet.
type NotYet struct {
	Path string
	// Line and Column are where the file gives it, from 1; 0: in no file.
	Line, Column int
	// Msg says what serve does instead.
	Msg string
	// Refuse tells that serve must not start: a bill or a decision would be another one.
	Refuse bool
}

// Text writes it on one line, as weir.yaml:12:5: path: what.
func (n NotYet) Text(name string) string {
	return position(name, n.Line, n.Column, n.Path, n.Msg)
}

// pending is one row of what is still to be built. A row goes when serve acts on its key.
type pending struct {
	key string // at the top of the file
	msg string
	// wanted tells whether a configuration asks for what is not there.
	wanted func(*Config) bool
	refuse bool
}

// pendings is the whole list of what the configuration promises and serve does not do.
func pendings() []pending {
	return []pending{
		{"role", "only role all is built", func(c *Config) bool { return c.Role != RoleAll }, true},
		{"hub", "hubs and gates are not built yet", func(c *Config) bool { return c.Hub != Hub{} }, false},
	}
}

// Pending lists every key that serve does not act on yet, whatever a file says.
func Pending() []NotYet {
	var all []NotYet
	for _, row := range pendings() {
		all = append(all, NotYet{Path: row.key, Msg: row.msg, Refuse: row.refuse})
	}
	return all
}

// NotYet lists the keys of the file that serve does not act on yet, in the order
// of lines.
func (c *Config) NotYet() []NotYet {
	var found []NotYet
	for _, row := range pendings() {
		if !row.wanted(c) {
			continue
		}
		n := NotYet{Path: row.key, Msg: row.msg, Refuse: row.refuse}
		n.Line, n.Column = c.Position(row.key)
		found = append(found, n)
	}
	slices.SortStableFunc(found, func(a, b NotYet) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	return found
}
