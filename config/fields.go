package config

import (
	"reflect"
	"strings"
)

// field is a key that a struct takes.
type field struct {
	key      string
	index    []int
	required bool
	enum     []string // the words that the value may be; nil: any
}

// cure says how to give a key that is required.
func (f field) cure() string {
	if f.enum != nil {
		return f.key + ": one of " + strings.Join(f.enum, ", ")
	}
	return "add " + f.key + ", with its value"
}

// fields lists the keys of a struct, those of inlined ones among them.
func (d *decoder) fields(t reflect.Type) []field {
	if known, ok := d.types[t]; ok {
		return known
	}
	made := fieldsOf(t)
	d.types[t] = made
	return made
}

func fieldsOf(t reflect.Type) []field {
	var made []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				made = append(made, inner)
			}
		case key != "":
			one := field{key: key, index: []int{i}, required: f.Tag.Get("required") == "true"}
			if words := f.Tag.Get("enum"); words != "" {
				one.enum = strings.Split(words, ",")
			}
			made = append(made, one)
		}
	}
	return made
}

// isUnion tells whether a type's value is one of several kinds: a struct whose
// fields are tagged with the kind that each takes.
func isUnion(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).Tag.Get("oneof") != ""
}
