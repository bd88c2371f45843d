package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/policy"
	"go.yaml.in/yaml/v3"
)

const (
	// maxNodes bounds the values that one file may hold, those behind aliases once for
	// each use, so that a few lines can't ask for years of work.
	maxNodes = 500_000
	// maxKey bounds the length of a mapping's key, in bytes.
	maxKey = 256
	// maxSearches bounds how many unknown keys get a suggestion.
	maxSearches = 200
)

// decoder sets Go values from a YAML tree and collects what does not fit. What it
// understands are structs with yaml tags, maps and lists of them, texts, whole
// numbers, booleans, durations, pointers, and unions: structs whose fields are
// tagged oneof and of which the one that fits the value's kind is set.
type decoder struct {
	mistakes []Mistake
	count    int             // all mistakes, also those that are not listed
	unread   map[string]bool // paths whose value could not be read
	within   map[string]bool // paths with one of these directly inside
	nodes    int
	searches int
	types    map[reflect.Type][]field
}

func newDecoder() *decoder {
	return &decoder{unread: map[string]bool{}, within: map[string]bool{}, types: map[reflect.Type][]field{}}
}

// add notes that the value at a path can't be read.
func (d *decoder) add(n *yaml.Node, path []string, msg, hint string) {
	d.unread[policy.JoinPath(path)] = true
	if len(path) > 0 {
		d.within[policy.JoinPath(path[:len(path)-1])] = true
	}
	d.note(n, path, msg, hint)
}

// note adds a mistake at a node.
func (d *decoder) note(n *yaml.Node, path []string, msg, hint string) {
	if d.count++; d.count <= maxListed {
		d.mistakes = append(d.mistakes, Mistake{
			Line: max(1, n.Line), Column: max(1, n.Column),
			Path: bounded(policy.JoinPath(path)), Msg: bounded(msg), Hint: bounded(hint),
		})
	}
}

// bounded cuts what a report quotes of the file: a value can have megabytes.
func bounded(s string) string {
	const most = 500
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// covers tells whether what is at the path, around it or directly inside it could
// not be read: what validation says there may follow from that alone.
func (d *decoder) covers(path []string) bool {
	for i := range len(path) + 1 {
		if d.unread[policy.JoinPath(path[:i])] {
			return true
		}
	}
	return d.within[policy.JoinPath(path)]
}

// exhausted tells whether the file asked for more values than are read.
func (d *decoder) exhausted() bool { return d.nodes > maxNodes }

// value sets v from n.
func (d *decoder) value(n *yaml.Node, path []string, v reflect.Value) {
	if d.nodes++; d.nodes >= maxNodes {
		if d.nodes == maxNodes {
			d.add(n, nil, fmt.Sprintf("the file holds more than %d values, those behind aliases counted at each use", maxNodes), "use fewer aliases")
			d.nodes++
		}
		return
	}
	switch {
	case v.Kind() == reflect.Pointer:
		d.pointer(n, path, v)
	case isUnion(v.Type()):
		d.union(n, path, v)
	case v.Kind() == reflect.Struct:
		d.structure(n, path, v)
	case v.Kind() == reflect.Map:
		d.mapping(n, path, v)
	case v.Kind() == reflect.Slice:
		d.list(n, path, v)
	default:
		d.scalar(n, path, v)
	}
}

// pointer sets a value that is nil where the key is left out.
func (d *decoder) pointer(n *yaml.Node, path []string, v reflect.Value) {
	if isNull(n) {
		d.add(n, path, "no value is given", "give one, or remove the key")
		return
	}
	v.Set(element(v.Type().Elem()).Addr())
	d.value(n, path, v.Elem())
}

// element makes a new value of a type, with the defaults that it has by itself.
func element(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if e, ok := p.Interface().(interface{ SetDefaults() }); ok {
		e.SetDefaults()
	}
	return p.Elem()
}

func (d *decoder) structure(n *yaml.Node, path []string, v reflect.Value) {
	fields := d.fields(v.Type())
	seen := map[string]bool{}
	d.pairs(n, path, func(key, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		if i < 0 {
			d.unknownKey(key, path, fields)
			return
		}
		seen[key.Value] = true
		f, at := fields[i], step(path, key.Value)
		before := d.count
		d.value(value, at, v.FieldByIndex(f.index))
		if d.count == before {
			d.checkField(value, at, f, v.FieldByIndex(f.index))
		}
	})
	if d.unread[policy.JoinPath(path)] {
		return
	}
	for _, f := range fields {
		if f.required && !seen[f.key] {
			d.add(n, step(path, f.key), "required", f.cure())
		}
	}
}

// checkField checks what the field's tags ask for.
func (d *decoder) checkField(n *yaml.Node, path []string, f field, v reflect.Value) {
	if v.Kind() != reflect.String {
		return
	}
	switch word := v.String(); {
	case f.enum != nil && !slices.Contains(f.enum, word):
		hint := policy.Suggest(word, f.enum)
		if hint == "" {
			hint = "one of " + strings.Join(f.enum, ", ")
		}
		d.add(n, path, fmt.Sprintf("%q is not one of %s", word, strings.Join(f.enum, ", ")), hint)
		v.SetString("") // validation takes it for a word that is not there
	case f.required && word == "":
		d.add(n, path, "required", f.cure())
	}
}

func (d *decoder) unknownKey(key *yaml.Node, path []string, fields []field) {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
	}
	hint := ""
	if d.searches++; d.searches <= maxSearches {
		hint = policy.Suggest(key.Value, known)
	}
	if hint == "" {
		hint = "one of " + strings.Join(known, ", ")
	}
	d.add(key, step(path, key.Value), "no such key", hint)
}

// pairs calls f for each key and value of a mapping that can be used.
func (d *decoder) pairs(n *yaml.Node, path []string, f func(key, value *yaml.Node)) {
	m := resolve(n)
	if isNull(m) {
		return // a key whose lines are all commented out
	}
	if m.Kind != yaml.MappingNode || m.ShortTag() != "!!map" {
		d.wrongKind(n, path, "a mapping")
		return
	}
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		if !d.usableKey(key, path) {
			continue
		}
		if earlier := first[resolve(key).Value]; earlier != nil {
			d.add(key, step(path, resolve(key).Value), fmt.Sprintf("the key is given twice, first in line %d", earlier.Line), "remove one")
			continue
		}
		first[resolve(key).Value] = key
		f(resolve(key), value)
	}
}

func (d *decoder) usableKey(key *yaml.Node, path []string) bool {
	k := resolve(key)
	switch {
	case k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge":
		d.add(key, step(path, k.Value), "merge keys are not taken", "write the keys out, or give the whole value an alias")
	case k.Kind != yaml.ScalarNode:
		d.add(key, path, "a key is text", "a name, such as acme")
	case k.ShortTag() != "!!str" && k.Value != "":
		d.add(key, step(path, k.Value), "a key is text", fmt.Sprintf("quote it: %q", k.Value))
	case k.Value == "":
		d.add(key, path, "a key is empty", "name it, or remove the line")
	case len(k.Value) > maxKey:
		d.add(key, path, fmt.Sprintf("a key has %d bytes, more than %d", len(k.Value), maxKey), "a shorter name")
	default:
		return true
	}
	return false
}

func (d *decoder) mapping(n *yaml.Node, path []string, v reflect.Value) {
	made := reflect.MakeMap(v.Type())
	d.pairs(n, path, func(key, value *yaml.Node) {
		e := element(v.Type().Elem())
		d.value(value, step(path, key.Value), e)
		made.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), e)
	})
	v.Set(made)
}

func (d *decoder) list(n *yaml.Node, path []string, v reflect.Value) {
	l := resolve(n)
	if isNull(l) {
		return // a key whose lines are all commented out
	}
	if l.Kind != yaml.SequenceNode || l.ShortTag() != "!!seq" {
		d.wrongKind(n, path, "a list")
		return
	}
	made := reflect.MakeSlice(v.Type(), 0, min(len(l.Content), maxNodes))
	for i, item := range l.Content {
		if d.exhausted() {
			return
		}
		e := element(v.Type().Elem())
		d.value(item, step(path, "["+strconv.Itoa(i)+"]"), e)
		made = reflect.Append(made, e)
	}
	v.Set(made)
}

// step is the path one further; it never shares memory with another path.
func step(path []string, next string) []string { return slices.Concat(path, []string{next}) }

// resolve follows an alias to the value that has the anchor.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = resolve(n)
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
