package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/weirhq/weir/policy"
)

// What it writes is read by a person before it is kept.
var update = flag.Bool("update", false, "write testdata/*.bad.txt")

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return names
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLoadTakesEveryGoodFile(t *testing.T) {
	for _, name := range files(t, "*.good.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			if _, err := Load("weir.yaml", read(t, name)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoadTellsEveryMistakeOfABadFile(t *testing.T) {
	for _, name := range files(t, "*.bad.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, err := Load("weir.yaml", read(t, name))
			if err == nil {
				t.Fatal("no mistake was found")
			}
			golden := strings.TrimSuffix(name, ".yaml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(read(t, golden)), got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryMistakeComesWithItsCure(t *testing.T) {
	for _, name := range files(t, "*.bad.yaml") {
		_, err := Load("weir.yaml", read(t, name))
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: got %v", name, err)
		}
		for _, m := range e.Mistakes {
			if m.Hint == "" {
				t.Errorf("%s:%d:%d: %s: %s has no hint", name, m.Line, m.Column, m.Path, m.Msg)
			}
		}
	}
}

func TestAnEmptyFileMeansTheDefaults(t *testing.T) {
	for _, data := range []string{"", "# nothing\n", "---\n", "{}", "routes:\nfailure:\n"} {
		got, err := Load("weir.yaml", []byte(data))
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if diff := cmp.Diff(Default(), got, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", data, diff)
		}
	}
}

// The example shows the default of every key that has one.
func TestTheDefaultsAreThoseOfTheExample(t *testing.T) {
	got, err := Load("weir.yaml", read(t, "testdata/example.good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got.Policy = policy.Config{Failure: got.Policy.Failure}
	got.Registration.Redirect = "" // the example shows a page of its own
	if diff := cmp.Diff(Default(), got, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("defaults (-default +example):\n%s", diff)
	}
}

func TestLoadReadsTheExample(t *testing.T) {
	c, err := Load("weir.yaml", read(t, "testdata/example.good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]policy.Route{
		"reports": {
			Name: "reports", Product: "acme", Mode: "enforce",
			Match:    policy.Match{Path: "/v1/reports/{id}", Methods: []string{"GET", "POST"}, Host: "api.acme.example"},
			Requires: map[string]policy.Requirement{"reports": {Boolean: ref(true)}},
			Meter:    &policy.Meter{Feature: "apiCalls", Quantity: policy.Quantity{Number: ref(int64(1))}, When: "served"},
		},
		"completions": {
			Name: "completions", Mode: "shadow",
			Match: policy.Match{Path: "/v1/completions", Methods: []string{"POST"}},
			Meter: &policy.Meter{
				Feature: "tokens", Reserve: 4000, When: "served",
				Quantity: policy.Quantity{Mapping: &policy.QuantitySource{ResponseHeader: "x-tokens-used"}},
			},
			Failure: policy.RouteFailure{Stale: policy.RouteStale{After: ref(time.Hour), Then: "deny"}},
		},
	}
	for _, got := range c.Policy.Routes {
		if want, ok := want[got.Name]; ok {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("route %s (-want +got):\n%s", got.Name, diff)
			}
		}
	}
	calls := c.Policy.Plans["basic"].Grants["apiCalls"]
	if diff := cmp.Diff(policy.Grant{Metered: &policy.MeteredGrant{
		Included: policy.Included{Number: ref(int64(100000))}, Every: "month", Then: "deny",
	}}, calls); diff != "" {
		t.Errorf("grant (-want +got):\n%s", diff)
	}
}

func ref[T any](v T) *T { return &v }

func TestLoadFollowsAliases(t *testing.T) {
	c, err := Load("weir.yaml", []byte(`
features: {a: {type: boolean}, b: {type: boolean}}
plans:
  one: {grants: &all {a: true, b: true}}
  two: {grants: *all}
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Policy.Plans["one"], c.Policy.Plans["two"]); diff != "" {
		t.Error(diff)
	}
}

func TestLoadBoundsWhatAliasesExpandTo(t *testing.T) {
	var b strings.Builder
	b.WriteString("routes:\n- &r {name: a, match: {path: /a, methods: [" + strings.Repeat("GET, ", 10_000) + "]}}\n")
	b.WriteString(strings.Repeat("- *r\n", 100))
	_, err := Load("weir.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "behind aliases") {
		t.Errorf("got %.300v", err)
	}
}

func TestLoadRefusesAFileThatIsTooLarge(t *testing.T) {
	_, err := Load("weir.yaml", make([]byte, maxFile+1))
	if err == nil || !strings.Contains(err.Error(), "more than the 4194304 that weir reads") {
		t.Errorf("got %v", err)
	}
}

func TestLoadListsAThousandMistakesAndCountsAll(t *testing.T) {
	_, err := Load("weir.yaml", []byte("routes:\n"+strings.Repeat("- {nam: x}\n", 2000)))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	// Of each route the key is unknown, and name and match are missing.
	if len(e.Mistakes) != maxListed || e.Count != 6000 {
		t.Errorf("%d listed of %d", len(e.Mistakes), e.Count)
	}
	if !strings.HasSuffix(e.Error(), "\n6000 mistakes, 5000 of them not listed") {
		t.Errorf("last line: %q", e.Error()[len(e.Error())-60:])
	}
}

func TestTheDecoderReadsEveryTypeOfTheConfiguration(t *testing.T) {
	var walk func(path string, v reflect.Type)
	walk = func(path string, v reflect.Type) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				f := v.Field(i)
				if f.IsExported() && f.Tag.Get("yaml") == "" && f.Tag.Get("oneof") == "" {
					t.Errorf("%s.%s has no tag", path, f.Name)
				}
				if f.IsExported() {
					walk(path+"."+f.Name, f.Type)
				}
			}
		case reflect.Map, reflect.Slice, reflect.Pointer:
			walk(path+"[]", v.Elem())
		case reflect.String, reflect.Bool, reflect.Int64:
		default:
			t.Errorf("%s is a %s, which the decoder can't read", path, v)
		}
	}
	walk("Config", reflect.TypeFor[Config]())
}

func FuzzLoad(f *testing.F) {
	names, err := filepath.Glob(filepath.Join("testdata", "*.yaml"))
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Load("weir.yaml", data)
		if err == nil {
			c.NotYet()
			c.Warnings()
			c.EnvoyLines()
			return
		}
		checkError(t, err, data)
	})
}

// checkError fails on an error that is not whole, leads nowhere or can't be printed.
func checkError(t *testing.T, err error, data []byte) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Count < 1 || len(e.Mistakes) != min(e.Count, maxListed) {
		t.Fatalf("not a whole Error: %#v", err)
	}
	for _, m := range e.Mistakes {
		if m.Line < 1 || m.Line > linesOf(data) || m.Column < 1 || m.Column > len(data)+1 || m.Msg == "" {
			t.Errorf("no sane mistake in %d lines: %+v", linesOf(data), m)
		}
	}
	if text := e.Error(); strings.ContainsAny(text, "\r\x00\x1b") {
		t.Errorf("control characters in %q", text)
	}
}

// linesOf counts lines as YAML breaks them: at more than line feeds.
func linesOf(data []byte) int {
	lines := 1
	for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
		lines += strings.Count(string(data), end)
	}
	return lines
}

func TestLoadTellsWhereAFileIsNoText(t *testing.T) {
	for data, want := range map[string]string{
		"role: all\nstate: /v\xffr\n": "weir: validate weir.yaml:2:10: the file is not UTF-8 text\nhint: save it as UTF-8\n1 mistake",
		"\x00":                        "weir: validate weir.yaml:1:1: the file is not UTF-8 text\nhint: save it as UTF-8\n1 mistake",
		"a: 1\n...\njunk: [\n":        "weir: validate weir.yaml:2:1: not YAML: did not find expected <document start>\nhint: look at this line and the one before it: indentation, brackets, quotes\n1 mistake",
	} {
		if _, err := Load("weir.yaml", []byte(data)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

func TestAMistakeStaysOnItsLineWhateverTheFileSays(t *testing.T) {
	_, err := Load("weir.yaml", []byte(`"ro\nle \e[31m \"x\"": 1`))
	want := `weir: validate weir.yaml:1:1: ro\nle \x1b[31m "x": no such key` + "\n" +
		"hint: one of role, listen, state, aws, products, features, plans, identity, tenants, routes, failure, " +
		"updates, metering, registration, log, debug, hub\n1 mistake"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// What can't be read is told once: no mistake that only follows from it.
func TestLoadDoesNotTellWhatOnlyFollows(t *testing.T) {
	_, err := Load("weir.yaml", []byte(`
products:
  acme: {code: a, id: b, model: subscriptions, dimensions: {d: {plam: basic}}}
features: {calls: {type: meterd}}
plans: {basic: {grants: {calls: {included: 1}}}}
routes: [{name: r, match: {path: /r}, meter: {feature: calls}}]
tenants: {t: {account: 111122223333}}
`))
	var e *Error
	if !errors.As(err, &e) || e.Count != 4 {
		t.Errorf("got %v", err)
	}
}

func TestAHintStaysOnItsLineToo(t *testing.T) {
	_, err := Load("weir.yaml", []byte(`{plans: {"ba\nsic": {}}, tenants: {t: {plan: basic}}}`))
	if err == nil || !strings.Contains(err.Error(), "no plan \"basic\"\nhint: ba\\nsic\n2 mistakes") {
		t.Errorf("got %v", err)
	}
}

func TestAQuotedQuantityIsToldToLoseItsQuotes(t *testing.T) {
	_, err := Load("weir.yaml", []byte(`{features: {calls: {type: metered}}, plans: {p: {grants: {calls: {included: "1000"}}}}}`))
	if err == nil || !strings.Contains(err.Error(), "hint: 1000, without quotes\n") {
		t.Errorf("got %v", err)
	}
}
