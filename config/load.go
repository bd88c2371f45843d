package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirhq/weir/policy"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds the file, in bytes: 100,000 tenants fit.
const maxFile = 4 << 20

// Load reads a configuration: data is what the file called name holds. The error
// is an *Error with every mistake.
func Load(name string, data []byte) (*Config, error) {
	root, mistake := parse(data)
	if mistake != nil {
		return nil, &Error{Name: name, Mistakes: []Mistake{*mistake}, Count: 1}
	}
	c := Default()
	c.root = root
	d := newDecoder()
	d.value(root, nil, reflect.ValueOf(c).Elem())
	if !d.exhausted() {
		for _, e := range c.validate() {
			if !d.covers(e.Path) {
				d.fieldError(root, e)
			}
		}
	}
	if d.count > 0 {
		inOrder(d.mistakes)
		return nil, &Error{Name: name, Mistakes: d.mistakes, Count: d.count}
	}
	return c, nil
}

// parse reads one YAML document into its tree; an empty one is an empty mapping.
func parse(data []byte) (*yaml.Node, *Mistake) {
	if len(data) > maxFile {
		return nil, &Mistake{Line: 1, Column: 1, Msg: fmt.Sprintf("the file has %d bytes, more than the %d that weir reads", len(data), maxFile)}
	}
	if m := notText(data); m != nil {
		return nil, m
	}
	stream := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := stream.Decode(&document); {
	case errors.Is(err, io.EOF):
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}, nil
	case err != nil:
		return nil, syntaxMistake(data, err)
	}
	switch err := stream.Decode(&second); {
	case err == nil:
		return nil, &Mistake{Line: max(1, second.Line), Column: max(1, second.Column), Msg: "a second document begins here", Hint: "one file is one document: remove ---"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxMistake(data, err)
	}
	return document.Content[0], nil
}

// notText finds the first byte that is no UTF-8 text.
func notText(data []byte) *Mistake {
	if utf8.Valid(data) && !bytes.Contains(data, []byte{0}) {
		return nil
	}
	line, column := 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == 0 || r == utf8.RuneError && size == 1 {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		data = data[size:]
	}
	return &Mistake{Line: line, Column: column, Msg: "the file is not UTF-8 text", Hint: "save it as UTF-8"}
}

// syntaxMistake takes the line out of the YAML reader's error, which has no column.
func syntaxMistake(data []byte, err error) *Mistake {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	m := &Mistake{Line: 1, Column: 1, Hint: "look at this line and the one before it: indentation, brackets, quotes"}
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		number, rest, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			m.Line, msg = min(max(1, line), 1+bytes.Count(data, []byte("\n"))), rest
		}
	}
	if anchor, ok := strings.CutPrefix(msg, "unknown anchor '"); ok {
		anchor, _, _ = strings.Cut(anchor, "'")
		m.Hint = "give a value above it the anchor &" + anchor + ", or quote the text"
		if i := bytes.Index(data, []byte("*"+anchor)); i >= 0 {
			m.Line = 1 + bytes.Count(data[:i], []byte("\n"))
			m.Column = 1 + utf8.RuneCount(data[bytes.LastIndexByte(data[:i], '\n')+1:i])
		}
	}
	m.Msg = "not YAML: " + msg
	if strings.Contains(msg, "cannot start any token") {
		m.Hint = "indent with spaces, not tabs, and quote what begins with a special character"
	}
	return m
}

// fieldError adds a mistake that validation found, where the file says it.
func (d *decoder) fieldError(root *yaml.Node, e *policy.FieldError) {
	if d.count >= maxListed {
		d.count++ // counted, not listed: no need to look for its line
		return
	}
	d.note(locate(root, e.Path, e.OnKey), e.Path, e.Msg, e.Hint)
}

// locate finds the node of the value at path, or of its key. Where there is none it is
// the nearest parent that there is.
func locate(root *yaml.Node, path []string, onKey bool) *yaml.Node {
	n := root
	for i, step := range path {
		key, value := child(resolve(n), step)
		if value == nil {
			return n
		}
		n = value
		if onKey && i == len(path)-1 && key != nil {
			n = key
		}
	}
	return n
}

// child is what one step of a path leads to, and its key in a mapping.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	if n == nil {
		return nil, nil
	}
	if n.Kind == yaml.SequenceNode {
		i, err := strconv.Atoi(strings.Trim(step, "[]"))
		if err != nil || i < 0 || i >= len(n.Content) {
			return nil, nil
		}
		return nil, n.Content[i]
	}
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}
