package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/weirhq/weir/policy"
)

// NotYet is a key of the file that serve does not act on yet.
type NotYet struct {
	Path         string
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
	// path leads to the key; * stands for every name or index.
	path string
	msg  string
	// when limits the row to some values; nil: all that the file gives.
	when func(value any) bool
	// refuse tells whether a bill or a decision would change; it is asked only
	// where the value is not the default. nil: never.
	refuse func(c *Config, path []string) bool
}

// pendings is the whole list of what the configuration promises and serve does not do.
func pendings() []pending {
	return []pending{
		{path: "role", msg: "only role all is built", when: isAny(RoleHub, RoleGate), refuse: always},
		{path: "hub", msg: "hubs and gates are not built yet", when: isNotZero},
	}
}

// Pending lists every key that serve does not act on yet, whatever a file says. A *
// in a path stands for every name or index; lines are 0.
func Pending() []NotYet {
	var all []NotYet
	for _, row := range pendings() {
		all = append(all, NotYet{Path: row.path, Msg: row.msg, Refuse: row.refuse != nil})
	}
	return all
}

// NotYet lists the keys of the file that serve does not act on yet, in the order
// of lines.
func (c *Config) NotYet() []NotYet {
	var found []NotYet
	defaults := valueOf(Default())
	for _, row := range pendings() {
		for _, path := range expand(valueOf(c), splitPath(row.path)) {
			value, ok := valueAt(valueOf(c), path)
			if !ok || !c.isSet(path) || row.when != nil && !row.when(value.Interface()) {
				continue
			}
			found = append(found, c.notYet(row, path, value, defaults))
		}
	}
	slices.SortStableFunc(found, func(a, b NotYet) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	return found
}

func (c *Config) notYet(row pending, path []string, value, defaults reflect.Value) NotYet {
	line, column := c.Position(path...)
	n := NotYet{Path: policy.JoinPath(path), Line: line, Column: column, Msg: row.msg}
	if row.refuse != nil {
		usual, ok := valueAt(defaults, path)
		changed := !ok || !reflect.DeepEqual(value.Interface(), usual.Interface())
		n.Refuse = changed && row.refuse(c, path)
	}
	return n
}

func valueOf(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() }

func isAny(words ...string) func(any) bool {
	return func(v any) bool { return slices.Contains(words, fmt.Sprint(v)) }
}

func isNotZero(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsZero() && (r.Kind() != reflect.Slice || r.Len() > 0)
}

func always(*Config, []string) bool { return true }

// expand writes out the * of a path, once for every name or index that there is.
func expand(root reflect.Value, pattern []string) [][]string {
	i := slices.Index(pattern, "*")
	if i < 0 {
		return [][]string{pattern}
	}
	many, ok := valueAt(root, pattern[:i])
	if !ok {
		return nil
	}
	var steps []string
	switch many.Kind() {
	case reflect.Map:
		steps = slices.Sorted(maps.Keys(toStrings(many)))
	case reflect.Slice:
		for j := range many.Len() {
			steps = append(steps, fmt.Sprintf("[%d]", j))
		}
	}
	var paths [][]string
	for _, s := range steps {
		paths = append(paths, expand(root, slices.Concat(pattern[:i], []string{s}, pattern[i+1:]))...)
	}
	return paths
}

func toStrings(m reflect.Value) map[string]bool {
	names := map[string]bool{}
	for _, k := range m.MapKeys() {
		names[k.String()] = true
	}
	return names
}

// valueAt is the value that a path leads to. In a map or list that lacks the
// step it is what an element is by default; behind a nil pointer there is none.
func valueAt(v reflect.Value, path []string) (reflect.Value, bool) {
	for _, s := range path {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		switch v.Kind() {
		case reflect.Map:
			e := v.MapIndex(reflect.ValueOf(s))
			if !e.IsValid() {
				e = element(v.Type().Elem())
			}
			v = e
		case reflect.Slice:
			v = item(v, s)
		case reflect.Struct:
			i := slices.IndexFunc(fieldsOf(v.Type()), func(f field) bool { return f.key == s })
			if i < 0 {
				return v, false
			}
			v = v.FieldByIndex(fieldsOf(v.Type())[i].index)
		default:
			return v, false
		}
	}
	return v, true
}

func item(list reflect.Value, step string) reflect.Value {
	var i int
	if _, err := fmt.Sscanf(step, "[%d]", &i); err != nil || i >= list.Len() {
		return element(list.Type().Elem())
	}
	return list.Index(i)
}
