package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryReadingOfAPathHasToNameTheSameRoute(t *testing.T) {
	r := routerOf(t, pathRoutes()...)
	for _, c := range pathCases() {
		if got := r.named("GET", "", c[0]); got != c[1] {
			t.Errorf("%q: got %s, want %s; readings %q", c[0], got, c[1], readings(c[0]))
		}
	}
}

func TestReadingsAreShownForPeople(t *testing.T) {
	for path, want := range map[string][]string{
		"/a/b?c":              {"/a/b"},
		"/a/b/":               {"/a/b"},
		"/a%2Fb":              {"/a%2Fb", "/a/b"},
		"/docs//../admin/x":   {"/admin/x", "/docs/admin/x"},
		"/docs/.;/../admin/x": {"/docs/admin/x", "/admin/x"},
		"/a%3Fb%23c":          {"/a%3Fb%23c", "/a?b#c", "/a", "/a?b"},
		"/%00":                nil,
	} {
		if got := readings(path); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestAnAmbiguousPathSaysWhy(t *testing.T) {
	r := routerOf(t, pathRoutes()...)
	for path, want := range map[string]string{
		"/metered":                              "",
		"/nowhere%2Fx":                          "",
		"metered":                               string(flawNoSlash),
		"/%zz":                                  string(flawEscape),
		"/%00":                                  string(flawText),
		"/%25252e":                              string(flawNested),
		"/a%2Fb":                                "/a%2Fb is for no route, /a/b for route ab",
		"/docs/../docs/..;/b":                   "/docs/..;/b is for route docs, /b for route b",
		"/" + strings.Repeat("%20", maxStrange): string(flawTooLong),
	} {
		if got := r.why("GET", "", path); got != want {
			t.Errorf("%.60q: got %q, want %q", path, got, want)
		}
		_, result := r.match("GET", "", path)
		if (result == ambiguous) != (want != "") {
			t.Errorf("%.60q: %v, but the reason is %q", path, result, want)
		}
	}
	if got, want := r.why("GET", "a,b", "/metered"), `the host "a,b" can't be read`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAPathOfTooManyReadingsIsAmbiguousAmongAllRoutes(t *testing.T) {
	r := routerOf(t, Route{Name: "all", Match: Match{Path: "/**"}})
	const path = `/x/..%2561%2F..\..;%5C..//..%3F%23`
	if got := r.named("GET", "", path); got != isAmbiguous {
		t.Errorf("got %s", got)
	}
	if got := r.why("GET", "", path); got != string(flawReadings) {
		t.Errorf("got %q", got)
	}
	if got := r.named("GET", "", `/x/a%20;b//../%2Fc%3Fd%23e%5C%252e`); got != "all" {
		t.Errorf("got %s for a path with all of it once", got)
	}
}

func TestAPlainPathIsItsOnlyReading(t *testing.T) {
	for _, c := range pathCases() {
		end, plain := scan(c[0])
		if got := readings(c[0]); plain && (len(got) != 1 || got[0] != strings.TrimSuffix(c[0][:end], "/") && c[0][:end] != "/") {
			t.Errorf("%q is plain, but has readings %q", c[0], got)
		}
	}
}

// hostile are units of paths that are made to cost much.
func hostile() []string {
	return []string{
		"/..", "//", "/./", "/x/..", "//..", "/;/..", "/.;/..", "%2e", "%252e", "%2e%2e/", "%2F", "%252F..", `\..`, "%5C..%2f",
		"%3F", "%23%3f", "%253F", ";", ";/", "%3B/", "%25", "%41", "%C3%A9", "a", "/a%20;b//../%2Fc%3Fd%23e%5C%252e%252e",
	}
}

func TestAHostilePathCostsNoMoreThanABound(t *testing.T) {
	r := newReader()
	for _, unit := range hostile() {
		path := "/docs/x" + strings.Repeat(unit, maxStrange/len(unit)-7)
		r.read(path, func([]byte) bool { return true })
		if r.work > maxWork+maxStrange || len(r.texts) > maxTexts || len(r.arena) > maxWork+3*maxStrange {
			t.Errorf("%s: %d texts, %d bytes written, %d held", unit, len(r.texts), r.work, len(r.arena))
		}
	}
}

func TestAPathThatIsTooLongIsNotCopied(t *testing.T) {
	r := newReader()
	if f := r.read("/"+strings.Repeat("%20", maxStrange), nil); f != flawTooLong || cap(r.arena) != 0 {
		t.Errorf("got %q, %d bytes held", f, cap(r.arena))
	}
}

func TestTheCostOfAPathIsLinearInItsLength(t *testing.T) {
	r := newReader()
	cost := func(unit string, n int) int {
		r.read("/docs/x"+strings.Repeat(unit, n), func([]byte) bool { return true })
		return r.work
	}
	for _, unit := range hostile() {
		if single, double := cost(unit, 100), cost(unit, 200); double > 2*single {
			t.Errorf("%s: %d bytes written, %d for twice the length", unit, single, double)
		}
	}
}

func TestReadingsUseTheirMemoryAgain(t *testing.T) {
	r := newReader()
	if n := testing.AllocsPerRun(50, func() {
		r.read("/docs/a%20;b//../%2Fc%3Fd", func([]byte) bool { return true })
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPath(f *testing.F) {
	for _, c := range pathCases() {
		f.Add(c[0])
	}
	for _, unit := range hostile() {
		f.Add("/docs/" + strings.Repeat(unit, 5))
	}
	routes := pathRoutes()
	r := routerOf(f, routes...)
	f.Fuzz(func(t *testing.T, path string) {
		if len(path) > 512 {
			return // the model is slow
		}
		received, _, _ := strings.Cut(path, "?")
		received, _, _ = strings.Cut(received, "#")
		got, result := r.match("GET", "", path)
		if modelFlawed(received) {
			if result != ambiguous || readings(path) != nil {
				t.Errorf("%q: %v, want ambiguous", path, result)
			}
			return
		}
		if result != ambiguous {
			for _, reading := range contractReadings(received) {
				if want := modelMatch(routes, "GET", "", reading); got != want {
					t.Errorf("%q: decided for %s, but its reading %q is for %s", path, r.routeName(got), reading, r.routeName(want))
				}
			}
		}
		all, texts := modelReadings(received)
		if texts > maxTexts {
			return
		}
		if found := readings(path); !sameSet(found, all) {
			t.Errorf("%q: readings %q, want %q", path, found, all)
		}
		want := modelMatch(routes, "GET", "", all[0])
		agree := !slices.ContainsFunc(all, func(s string) bool { return modelMatch(routes, "GET", "", s) != want })
		if agree != (result != ambiguous) || agree && got != want {
			t.Errorf("%q: got %d %v, want %d, all agree: %v", path, got, result, want, agree)
		}
	})
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// readings are the readings of a path as received, for people; none where it is
// ambiguous whatever the routes are.
func readings(path string) []string {
	end, _ := scan(path)
	var all []string
	f := newReader().read(path[:end], func(reading []byte) bool {
		all = append(all, string(reading))
		return true
	})
	if f != "" {
		return nil
	}
	return all
}
