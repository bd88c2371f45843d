package policy

import (
	"slices"
	"strings"
	"testing"
)

// pathRoutes are routes between which a confused path would make a difference.
func pathRoutes() []Route {
	return []Route{
		{Name: "root", Match: Match{Path: "/"}},
		{Name: "docs", Match: Match{Path: "/docs/**"}},
		{Name: "admin", Match: Match{Path: "/admin/**"}},
		{Name: "metered", Match: Match{Path: "/metered"}},
		{Name: "b", Match: Match{Path: "/b"}},
		{Name: "ab", Match: Match{Path: "/a/b"}},
		{Name: "report", Match: Match{Path: "/v1/reports/{id}"}},
		{Name: "mail", Match: Match{Path: "/v1/users/{id}/mail"}},
		{Name: "team", Match: Match{Path: "/v1/team/**"}},
	}
}

const (
	isAmbiguous = "ambiguous"
	isNone      = "none"
)

// pathCases are paths and what becomes of them among pathRoutes.
func pathCases() [][2]string {
	return [][2]string{
		// plain
		{"/", "root"},
		{"/metered", "metered"},
		{"/metered/", "metered"},
		{"/metered?x=/../docs", "metered"},
		{"/metered#/../docs", "metered"},
		{"/metered?a#b%zz%00", "metered"},
		{"/?", "root"},
		{"/#", "root"},
		{"/docs", "docs"},
		{"/docs/", "docs"},
		{"/docs/a/b/c", "docs"},
		{"/docsx", isNone},
		{"/Docs", isNone},
		{"/METERED", isNone},
		{"/a", isNone},
		{"/a/b", "ab"},
		{"/a/b/", "ab"},
		{"/a/b/c", isNone},
		{"/v1/reports/7", "report"},
		{"/v1/reports/7/", "report"},
		{"/v1/reports", isNone},
		{"/v1/reports/", isNone},
		{"/v1/reports/7/8", isNone},
		{"/v1/users/7/mail", "mail"},
		{"/v1/team", "team"},
		{"/.well-known/x", isNone},
		{"/docs/.hidden", "docs"},
		{"/docs/...", "docs"},
		{"/docs/a..b", "docs"},
		{"/docs/..a", "docs"},
		{"/docs/a.", "docs"},
		{"/v1/reports/..7", "report"},
		{"/v1/reports/a:b@c,d=e&f$g", "report"},
		{"/v1/reports/a+b", "report"},

		// dot segments and duplicate slashes: one reading
		{"//metered", "metered"},
		{"///metered", "metered"},
		{"/metered//", "metered"},
		{"/./metered", "metered"},
		{"/metered/.", "metered"},
		{"/x/../metered", "metered"},
		{"/x/y/../../metered", "metered"},
		{"/../metered", "metered"},
		{"/../../../metered", "metered"},
		{"/..", "root"},
		{"/.", "root"},
		{"//", "root"},
		{"/docs/..", "root"},
		{"/docs/../admin/x", "admin"},
		{"/docs/../../admin", "admin"},
		{"/admin/../docs/x", "docs"},
		{"/docs/./x", "docs"},
		{"/docs/x/..", "docs"},
		{"/a//b", "ab"},
		{"/a/./b", "ab"},
		{"/a/c/../b", "ab"},
		{"/a/b/..", isNone},
		{"/a/../b", "b"},
		{"/v1//reports///7", "report"},
		{"/v1/reports/x/../7", "report"},
		{"/v1/reports/..", isNone},
		{"/docs/..?/x", "root"},
		{"/docs/.#x", "docs"},

		// duplicate slashes and dot segments in two orders
		{"/docs//../admin/x", isAmbiguous},
		{"/docs//../x", isAmbiguous},
		{"/docs//..", isAmbiguous},
		{"/docs/a//../x", "docs"},
		{"/docs///../../admin/x", isAmbiguous},
		{"/x//../metered", isAmbiguous},
		{"//../metered", "metered"},
		{"/admin//../docs/x", isAmbiguous},

		// unreserved characters escaped
		{"/%6detered", isAmbiguous},
		{"/%6Detered", isAmbiguous},
		{"/m%65tered", isAmbiguous},
		{"/%64ocs/x", isAmbiguous},
		{"/docs/%61", "docs"},
		{"/v1/reports/%37", "report"},
		{"/v1/reports/a%2Db", "report"},
		{"/v1/reports/%7Euser", "report"},
		{"/docs/%2e%2e/admin/x", isAmbiguous},
		{"/docs/%2E%2e/admin/x", isAmbiguous},
		{"/docs/.%2e/admin/x", isAmbiguous},
		{"/docs/%2e./admin/x", isAmbiguous},
		{"/%2e/metered", isAmbiguous},
		{"/docs/%2e", "docs"},
		{"/docs/%2e/x", "docs"},
		{"/docs/%2e%2e", isAmbiguous},
		{"/docs/x/%2e%2e", "docs"},
		{"/v1/reports/%2e%2e", isAmbiguous},
		{"/a%2e%2e/b", isNone},
		{"/docs/a%2e%2e/b", "docs"},

		// reserved characters escaped
		{"/v1/reports/a%20b", "report"},
		{"/v1/reports/caf%C3%A9", "report"},
		{"/v1/reports/%E2%82%AC", "report"},
		{"/v1/reports/%F0%9F%98%80", "report"},
		{"/v1/reports/a%3Ab", "report"},
		{"/v1/reports/100%25", "report"},
		{"/v1/reports/100%25%20", "report"},
		{"/v1/reports/%25zz", "report"},
		{"/v1/reports/a%2Bb", "report"},
		{"/docs/a%20b", "docs"},

		// slashes and backslashes escaped or bare
		{"/a%2Fb", isAmbiguous},
		{"/a%2fb", isAmbiguous},
		{"/a%5Cb", isAmbiguous},
		{`/a\b`, isAmbiguous},
		{"/a%2F", isNone},
		{"/metered%2F", isAmbiguous},
		{"/%2Fmetered", isAmbiguous},
		{"/%2F", isAmbiguous},
		{`/\metered`, isAmbiguous},
		{`/docs/a\b`, "docs"},
		{"/docs/a%2Fb", "docs"},
		{"/docs/a%5Cb", "docs"},
		{"/v1/reports/a%2Fb", isAmbiguous},
		{"/v1/team/a%2Fb", "team"},
		{"/docs/..%2fadmin/x", isAmbiguous},
		{"/docs/..%2Fadmin%2Fx", isAmbiguous},
		{"/docs/x%2f..%2f..%2fadmin", isAmbiguous},
		{"/docs%2f..%2fadmin/x", isAmbiguous},
		{`/docs/..\admin/x`, isAmbiguous},
		{`/docs\..\admin\x`, isAmbiguous},
		{"/docs/..%5cadmin/x", isAmbiguous},
		{"/docs/..%5C..%2Fadmin", isAmbiguous},
		{"/docs%2F%2F..%2Fadmin/x", isAmbiguous},
		{"/docs/%2f/../admin", isAmbiguous},
		{"/docs/%2e%2e%2fadmin", isAmbiguous},
		{"/docs/%2e%2e%5cadmin", isAmbiguous},
		{`/docs/a\..\..\admin\y%2f..%2f..%2f..%2fdocs/x`, isAmbiguous}, // only \ separates: as browsers parse a URL
		{"/docs/b;%2Fq%2Fr/..%2F..%2Fadmin/z", isAmbiguous},            // parameters go before %2F is decoded
		{"/docs/x%2f..", "docs"},

		// decoded twice
		{"/docs/%252e%252e/admin/x", isAmbiguous},
		{"/docs/%252e%252e%252fadmin/x", isAmbiguous},
		{"/docs/..%252fadmin/x", isAmbiguous},
		{"/docs/..%255cadmin/x", isAmbiguous},
		{"/docs/..%255c..%255cadmin/x", isAmbiguous},
		{"/docs/%252e%2e/admin/x", isAmbiguous},
		{"/docs/%25%32%65%25%32%65/admin/x", isAmbiguous},
		{"/%256detered", isAmbiguous},
		{"/a%252Fb", isAmbiguous},
		{"/docs/a%252Fb", "docs"},
		{"/v1/reports/a%2520b", "report"},
		{"/v1/reports/%252541", isAmbiguous},
		{"/docs/%25252e", isAmbiguous},
		{"/docs/%25252541", isAmbiguous},
		{"/docs/%2525", "docs"},
		{"/docs/%252525", isAmbiguous},

		// parameters
		{"/metered;v=1", isAmbiguous},
		{"/metered;", isAmbiguous},
		{"/metered/;v=1", isAmbiguous},
		{"/;/metered", isAmbiguous},
		{"/;metered", isAmbiguous},
		{"/a;x/b", isAmbiguous},
		{"/docs/a;v=1/b;w", "docs"},
		{"/docs;v/x", isAmbiguous},
		{"/v1/reports/7;v=1", "report"},
		{"/v1/reports/;v=1", isAmbiguous},
		{"/..;/b", isAmbiguous},
		{"/docs/..;/admin/x", isAmbiguous},
		{"/docs/..;v=1/admin/x", isAmbiguous},
		{"/docs/.;/../admin/x", isAmbiguous},
		{"/docs/;/../admin/x", isAmbiguous},
		{"/docs/;a/;b/../../admin/x", isAmbiguous},
		{"/a;x/../b", "b"},
		{"/docs/..%3b/admin/x", isAmbiguous},
		{"/docs/..%3B/admin/x", isAmbiguous},
		{"/docs/.%3B/../admin/x", isAmbiguous},
		{"/docs/..%253B/admin/x", isAmbiguous},
		{"/docs/%2e%2e;/admin/x", isAmbiguous},
		{"/docs/..;%2fadmin/x", isAmbiguous},
		{"/v1/reports/7%3Bv", "report"},
		{"/v1/reports/%3Bv", isAmbiguous},

		// the path's end appears by decoding
		{"/metered%3Fx", isAmbiguous},
		{"/metered%23x", isAmbiguous},
		{"/metered%253Fx", isAmbiguous},
		{"/docs/a%3Fb", "docs"},
		{"/docs/what%3F%3F%23", "docs"},
		{"/docs/%3F/../../admin/x", isAmbiguous},
		{"/docs/%3f/%2e%2e/%2e%2e/admin/x", isAmbiguous},
		{"/admin/x%3F/../../docs/y", isAmbiguous},
		{"/admin/x%3F%2F..%2F..%2Fdocs/y", isAmbiguous},
		{"/docs/x%23/..%2f..%2fadmin/y", isAmbiguous},
		{"/v1/users/7%3F/mail", isAmbiguous},
		{"/v1/reports/what%3F", "report"},
		{"/v1/reports/%3F", isAmbiguous},

		// ambiguous whatever the routes are
		{"", isAmbiguous},
		{"*", isAmbiguous},
		{"?", isAmbiguous},
		{"metered", isAmbiguous},
		{"example.com:443", isAmbiguous},
		{"http://example.com/metered", isAmbiguous},
		{`\metered`, isAmbiguous},
		{"%2Fmetered", isAmbiguous},
		{"/docs/%", isAmbiguous},
		{"/docs/%2", isAmbiguous},
		{"/docs/%zz", isAmbiguous},
		{"/docs/%2g", isAmbiguous},
		{"/docs/%%32e", isAmbiguous},
		{"/docs/%u002e", isAmbiguous},
		{"/docs/%?", isAmbiguous},
		{"/docs/%00", isAmbiguous},
		{"/docs/x%00.html", isAmbiguous},
		{"/docs/%2500", isAmbiguous},
		{"/docs/\x00", isAmbiguous},
		{"/docs/\t", isAmbiguous},
		{"/docs/\n", isAmbiguous},
		{"/docs/\x7f", isAmbiguous},
		{"/docs/%0a", isAmbiguous},
		{"/docs/%0d%0a", isAmbiguous},
		{"/docs/%09", isAmbiguous},
		{"/docs/%1b", isAmbiguous},
		{"/docs/%7f", isAmbiguous},
		{"/docs/%C2%85", isAmbiguous},
		{"/docs/%E9", isAmbiguous},
		{"/docs/%ff", isAmbiguous},
		{"/docs/%25ff", isAmbiguous},
		{"/docs/\xff", isAmbiguous},
		{"/docs/%c0%af", isAmbiguous},
		{"/docs/%c0%ae%c0%ae/admin", isAmbiguous},
		{"/docs/%e0%80%af", isAmbiguous},
		{"/docs/%f0%80%80%af", isAmbiguous},
		{"/docs/%ed%a0%80", isAmbiguous},
		{"/docs/%f4%90%80%80", isAmbiguous},
		{"/docs/%c3/%a9", isAmbiguous},
		{"/docs/%25c0%25af", isAmbiguous},
		{"/%", isAmbiguous},
		{"/nowhere%00", isAmbiguous},

		// no reading has a route
		{"/nowhere", isNone},
		{"/nowhere/a%20b", isNone},
		{"/nowhere/a%2Fb", isNone},
		{"/nowhere/;v", isNone},
		{"/nowhere/%252e", isNone},
		{"/nowhere/a%3Fb", isNone},
		{"/no%20where", isNone},
		{"/docs/é", "docs"},
	}
}

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
