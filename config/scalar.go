package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// union sets the one field that takes values of the node's kind.
func (d *decoder) union(n *yaml.Node, path []string, v reflect.Value) {
	v.SetZero() // the default may be of another kind
	t, kind := v.Type(), unionKind(resolve(n))
	var kinds []string
	for i := range t.NumField() {
		takes := t.Field(i).Tag.Get("oneof")
		if takes == kind {
			d.value(n, path, v.Field(i))
			return
		}
		kinds = append(kinds, unionWord(takes))
	}
	last := len(kinds) - 1
	d.wrongKind(n, path, strings.Join(kinds[:last], ", ")+" or "+kinds[last])
}

// unionKind is the word of the oneof tag for a node.
func unionKind(n *yaml.Node) string {
	switch n.ShortTag() {
	case "!!bool":
		return "bool"
	case "!!int", "!!float":
		return "number"
	case "!!str":
		return "text"
	case "!!map":
		return "mapping"
	default:
		return ""
	}
}

func unionWord(kind string) string {
	switch kind {
	case "bool":
		return boolWords
	case "number":
		return "a whole number"
	case "mapping":
		return "a mapping"
	default:
		return kind
	}
}

// scalar sets a text, number, boolean or duration.
func (d *decoder) scalar(n *yaml.Node, path []string, v reflect.Value) {
	s := resolve(n)
	if isNull(s) {
		d.add(n, path, "no value is given", "give one, or remove the key")
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		d.duration(n, path, v)
	case v.Kind() == reflect.String:
		d.text(n, path, v)
	case v.Kind() == reflect.Bool:
		if s.Kind != yaml.ScalarNode || s.ShortTag() != "!!bool" {
			d.wrongKind(n, path, boolWords)
			return
		}
		v.SetBool(strings.EqualFold(s.Value, "true"))
	case v.CanInt():
		d.number(n, path, v)
	default:
		panic("config: no way to read a " + v.Type().String())
	}
}

func (d *decoder) text(n *yaml.Node, path []string, v reflect.Value) {
	s := resolve(n)
	switch {
	case s.Kind == yaml.ScalarNode && s.ShortTag() == "!!str":
		v.SetString(s.Value)
	case s.Kind == yaml.ScalarNode && s.Style&yaml.TaggedStyle == 0:
		d.add(n, path, fmt.Sprintf("%s is %s, not text", s.Value, kindOf(s)), fmt.Sprintf("quote it: %q", s.Value))
	default:
		d.wrongKind(n, path, "text")
	}
}

func (d *decoder) number(n *yaml.Node, path []string, v reflect.Value) {
	s := resolve(n)
	if s.Kind != yaml.ScalarNode || s.ShortTag() != "!!int" && s.ShortTag() != "!!float" {
		d.wrongKind(n, path, "a whole number")
		return
	}
	digits := strings.TrimPrefix(s.Value, "-")
	i, err := strconv.ParseInt(s.Value, 10, v.Type().Bits())
	switch {
	case errors.Is(err, strconv.ErrRange):
		d.add(n, path, s.Value+" is out of range", "a smaller number")
	case err != nil, len(digits) > 1 && digits[0] == '0':
		d.add(n, path, fmt.Sprintf("%q is not a whole number in digits", s.Value), "such as 1000")
	default:
		v.SetInt(i)
	}
}

func (d *decoder) duration(n *yaml.Node, path []string, v reflect.Value) {
	s := resolve(n)
	if s.Kind != yaml.ScalarNode || s.ShortTag() != "!!str" && s.Value != "0" {
		d.wrongKind(n, path, "a duration")
		return
	}
	t, err := time.ParseDuration(s.Value)
	if err != nil {
		d.add(n, path, fmt.Sprintf("%q is not a duration", s.Value), durationHint)
		return
	}
	v.SetInt(int64(t))
}

// wrongKind reports a value that is of another kind than the key takes.
func (d *decoder) wrongKind(n *yaml.Node, path []string, wanted string) {
	s := resolve(n)
	if s.Style&yaml.TaggedStyle != 0 {
		d.add(n, path, "the tag "+s.Tag+" is not taken where "+wanted+" belongs", "remove it")
		return
	}
	d.add(n, path, fmt.Sprintf("%s is given where %s belongs", kindOf(s), wanted), kindHint(s, wanted))
}

const (
	boolWords    = "true or false"
	durationHint = "such as 30s, 5m or 24h"
)

func kindHint(s *yaml.Node, wanted string) string {
	scalar, quoted := s.Kind == yaml.ScalarNode, s.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0
	switch {
	case wanted == "a list" && scalar:
		return fmt.Sprintf("[%s]", oneLine(s.Value))
	case quoted && (wanted == boolWords || wanted == "a whole number"):
		return "without quotes"
	default:
		return example(wanted)
	}
}

// example shows what a kind of value looks like.
func example(wanted string) string {
	switch wanted {
	case "a duration":
		return durationHint
	case "a mapping":
		return "keys with values, such as {key: value}"
	case "a list":
		return "values in brackets, such as [a, b]"
	case "a whole number":
		return "such as 1000"
	case "text":
		return "one text, neither a list nor a mapping"
	default:
		return wanted
	}
}

// kindOf says for people what a node is.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return boolWords
	case "!!timestamp":
		return "a date"
	case "!!null":
		return "nothing"
	default:
		return "text"
	}
}
