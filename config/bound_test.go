package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// fill repeats a line, with its number, up to an eighth of what a file may have.
func fill(head, line string) string {
	var b strings.Builder
	b.WriteString(head)
	for i := 0; ; i++ {
		next := fmt.Sprintf(line, i)
		if b.Len()+len(next) > maxFile/8 {
			return b.String()
		}
		b.WriteString(next)
	}
}

func lines(n int, line string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, line, i)
	}
	return b.String()
}

// Each of these files is large, and asks for as much work as one kind of mistake
// can. A load that was quadratic in them would outlast the test.
func TestTheTimeOfALoadIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("large files")
	}
	billing := "features:\n" + lines(400, " f%d: {type: metered}\n") +
		"plans:\n p0: {grants: &g {" + lines(400, "f%d: {then: bill}, ") + "}}\n" + lines(400, " q%d: {extends: p0, grants: *g}\n")
	for name, data := range map[string]string{
		"unknown keys":       fill("", "k%d: 1\n"),
		"one key":            fill("", "role: %d\n"),
		"unknown plans":      fill("tenants:\n", " t%d: {plan: x}\n"),
		"unknown features":   fill("features: {a: {type: boolean}}\nplans:\n p:\n  grants:\n", "   f%d: 1\n"),
		"dimensions":         fill("products:\n p:\n  dimensions:\n", "   d%d: {adds: x}\n"),
		"routes":             fill("routes:\n", "- {name: n%d, match: {path: /a}}\n"),
		"routes by alias":    "routes:\n- &r {match: {}}\n" + strings.Repeat("- *r\n", 20_000),
		"grants that bill":   billing,
		"nothing but braces": strings.Repeat("[", maxFile),
		"one long text":      "role: " + strings.Repeat("x", maxFile-10),
		"one long key":       strings.Repeat("x", 1000) + ": 1\n" + strings.Repeat("y", maxFile-2000) + ": 1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("weir.yaml", []byte(data))
			var e *Error
			if !errors.As(err, &e) || e.Count == 0 {
				t.Fatalf("got %.200v", err)
			}
			if n := len(e.Error()); n > 2<<20 {
				t.Errorf("the report has %d bytes", n)
			}
		})
	}
}
