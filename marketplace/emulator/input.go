package emulator

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// input reads the members of a decoded structure, and remembers the first that has the wrong type; all inputs of
// one request share that memory. A member that is null is absent.
type input struct {
	members object
	wrong   *string // name of the first member of a wrong type
}

func newInput(members object) input { return input{members: members, wrong: new(string)} }

// err is AWS's refusal of a request with a member of the wrong type.
func (in input) err() error {
	if *in.wrong == "" {
		return nil
	}
	return refuse("SerializationException", "%s has a value of the wrong type", *in.wrong)
}

func (in input) mistyped(name string) {
	if *in.wrong == "" {
		*in.wrong = clip(name)
	}
}

func (in input) has(name string) bool { return in.members[name] != nil }

func (in input) text(name string) string {
	v := in.members[name]
	s, ok := v.(string)
	if !ok && v != nil {
		in.mistyped(name)
	}
	return s
}

// integer reads a 32-bit integer, the only kind that these services take.
func (in input) integer(name string) int {
	v := in.members[name]
	if v == nil {
		return 0
	}
	number, ok := v.(json.Number)
	if !ok {
		in.mistyped(name)
		return 0
	}
	i, err := strconv.ParseInt(number.String(), 10, 32)
	if err != nil {
		in.mistyped(name)
	}
	return int(i)
}

// instant reads a timestamp: a number of seconds since 1970, to the millisecond.
func (in input) instant(name string) time.Time {
	const farthest = 1e14 // seconds; beyond it no client can mean a time
	v := in.members[name]
	if v == nil {
		return time.Time{}
	}
	number, ok := v.(json.Number)
	if !ok {
		in.mistyped(name)
		return time.Time{}
	}
	seconds, err := number.Float64()
	if err != nil || math.Abs(seconds) > farthest {
		in.mistyped(name)
		return time.Time{}
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
}

func (in input) list(name string) []any {
	v := in.members[name]
	list, ok := v.([]any)
	if !ok && v != nil {
		in.mistyped(name)
	}
	return list
}

func (in input) texts(name string) []string {
	var out []string
	for _, item := range in.list(name) {
		s, ok := item.(string)
		if !ok {
			in.mistyped(name)
		}
		out = append(out, s)
	}
	return out
}

func (in input) structures(name string) []input {
	var out []input
	for _, item := range in.list(name) {
		members, ok := item.(object)
		if !ok {
			in.mistyped(name)
		}
		out = append(out, input{members: members, wrong: in.wrong})
	}
	return out
}

func (in input) structure(name string) input {
	v := in.members[name]
	members, ok := v.(object)
	if !ok && v != nil {
		in.mistyped(name)
	}
	return input{members: members, wrong: in.wrong}
}

// violations collects which constraints of a service model a request breaks, in AWS's words.
type violations []string

func (v *violations) add(path string, value any, rule string) {
	shown := "null"
	if value != nil {
		shown = "'" + clip(fmt.Sprint(value)) + "'"
	}
	*v = append(*v, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", shown, path, rule))
}

// require checks a member that must be there.
func (v *violations) require(in input, path, name string) bool {
	if in.has(name) {
		return true
	}
	v.add(path, nil, "Member must not be null")
	return false
}

// length checks a text in characters, as the models count.
func (v *violations) length(path, text string, shortest, longest int) {
	n := utf8.RuneCountInString(text)
	if n < shortest {
		v.add(path, text, fmt.Sprintf("Member must have length greater than or equal to %d", shortest))
	}
	if n > longest {
		v.add(path, text, fmt.Sprintf("Member must have length less than or equal to %d", longest))
	}
}

// count checks the length of a list.
func (v *violations) count(path string, n, fewest, most int) {
	if n < fewest {
		v.add(path, fmt.Sprintf("[%d items]", n), fmt.Sprintf("Member must have length greater than or equal to %d", fewest))
	}
	if n > most {
		v.add(path, fmt.Sprintf("[%d items]", n), fmt.Sprintf("Member must have length less than or equal to %d", most))
	}
}

func (v *violations) pattern(path, text, pattern string, matches bool) {
	if !matches {
		v.add(path, text, "Member must satisfy regular expression pattern: "+pattern)
	}
}

func (v *violations) atLeast(path string, n, smallest int) {
	if n < smallest {
		v.add(path, n, fmt.Sprintf("Member must have value greater than or equal to %d", smallest))
	}
}

func (v *violations) atMost(path string, n, largest int) {
	if n > largest {
		v.add(path, n, fmt.Sprintf("Member must have value less than or equal to %d", largest))
	}
}

// err is the refusal under the service's name for it, or nil.
func (v violations) err(code string) error {
	switch len(v) {
	case 0:
		return nil
	case 1:
		return refuse(code, "1 validation error detected: %s", v[0])
	}
	const shown = 10
	return refuse(code, "%d validation errors detected: %s", len(v), strings.Join(v[:min(shown, len(v))], "; "))
}

// consists is true when every character of s is an ASCII letter, a digit, or one of extra.
func consists(s, extra string) bool {
	for _, r := range s {
		if !isAlphanumeric(r) && !strings.ContainsRune(extra, r) {
			return false
		}
	}
	return true
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func digitsOnly(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
