package policy

import (
	"fmt"
	"strings"
	"testing"
)

// routing is a router in a test.
type routing struct{ *router }

func routerOf(t testing.TB, routes ...Route) routing {
	t.Helper()
	r, err := newRouter(routes)
	if err != nil {
		t.Fatal(err)
	}
	return routing{r}
}

// named is the name of the route of a request, or how the match went.
func (r routing) named(method, host, path string) string {
	switch i, result := r.match(method, host, path); result {
	case matched:
		return r.names[i]
	case none:
		return isNone
	default:
		return isAmbiguous
	}
}

// routeOf writes a route as "METHOD,METHOD host/path"; its name is that text.
func routeOf(s string) Route {
	r := Route{Name: s}
	methods, rest, _ := strings.Cut(s, " ")
	if methods != "" {
		r.Match.Methods = strings.Split(methods, ",")
	}
	slash := strings.IndexByte(rest, '/')
	r.Match.Host, r.Match.Path = rest[:slash], rest[slash:]
	return r
}

func TestTheMostSpecificRouteWins(t *testing.T) {
	var routes []Route
	for _, s := range []string{
		" /**", " /a", " /a/**", " /a/{x}", " /a/{x}/c", " /a/{x}/**", " /a/b/d", "POST /a/b", "GET /a/b",
		"HEAD /h", "GET /h", "GET /g", " /g", "GET /m/{x}", " /m/**", "POST /m/lit",
		" h.example/**", " h.example/a/{x}/c", "PUT h.example/only", " /only", " /x/{y}/z/**", " /x/lit/z/q", " /x/{y}/{z}/r",
	} {
		routes = append(routes, routeOf(s))
	}
	r := routerOf(t, routes...)
	for _, c := range []struct{ method, host, path, want string }{
		{"GET", "", "/", " /**"},
		{"GET", "", "/z", " /**"},
		{"GET", "", "/a", " /a"},
		{"GET", "", "/a/", " /a"},
		{"GET", "", "/a/z", " /a/{x}"},
		{"GET", "", "/a/z/y", " /a/{x}/**"},
		{"GET", "", "/a/z/c", " /a/{x}/c"},
		{"GET", "", "/a/b", "GET /a/b"},
		{"POST", "", "/a/b", "POST /a/b"},
		{"HEAD", "", "/a/b", "GET /a/b"},
		{"PUT", "", "/a/b", " /a/{x}"}, // the literal does not list it: the next
		{"GET", "", "/a/b/d", " /a/b/d"},
		{"GET", "", "/a/b/c", " /a/{x}/c"},    // the literal fails deeper down
		{"GET", "", "/a/b/d/e", " /a/{x}/**"}, // and deeper
		{"GET", "", "/x/lit/z/p", " /x/{y}/z/**"},
		{"GET", "", "/x/lit/z", " /x/{y}/z/**"},
		{"GET", "", "/x/lit/q/r", " /x/{y}/{z}/r"},
		{"GET", "", "/x/lit/z/r", " /x/{y}/z/**"}, // literal z before {z}
		{"GET", "", "/x/lit/z/q", " /x/lit/z/q"},
		{"GET", "", "/x/lit/w", " /**"},
		{"HEAD", "", "/h", "HEAD /h"},
		{"GET", "", "/h", "GET /h"},
		{"POST", "", "/h", " /**"},
		{"HEAD", "", "/g", "GET /g"},
		{"OPTIONS", "", "/g", " /g"},
		{"get", "", "/g", " /g"}, // methods are upper case
		{"GET", "", "/m/lit", "GET /m/{x}"},
		{"PUT", "", "/m/lit", " /m/**"},
		{"GET", "h.example", "/a", " h.example/**"}, // the host goes before the path
		{"GET", "H.Example.:8080", "/a/b/c", " h.example/a/{x}/c"},
		{"GET", "x.h.example", "/a", " /a"},
		{"GET", "h.example.org", "/a", " /a"},
		{"PUT", "h.example", "/only", "PUT h.example/only"},
		{"GET", "h.example", "/only", " h.example/**"},
		{"GET", "h.example,h.example", "/a", isAmbiguous},
	} {
		if got := r.named(c.method, c.host, c.path); got != c.want {
			t.Errorf("%s %s%s: got %q, want %q", c.method, c.host, c.path, got, c.want)
		}
	}
}

func TestARouteOfAHostLeavesOtherRequestsToTheRest(t *testing.T) {
	r := routerOf(t, routeOf("GET h.example/a"), routeOf(" /a"))
	for _, c := range [][3]string{
		{"GET", "h.example", "GET h.example/a"},
		{"POST", "h.example", " /a"},
		{"GET", "g.example", " /a"},
		{"GET", "", " /a"},
	} {
		if got := r.named(c[0], c[1], "/a"); got != c[2] {
			t.Errorf("%s %s: got %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestNoRoutesMatchNothing(t *testing.T) {
	r := routerOf(t)
	if got := r.named("GET", "", "/"); got != isNone {
		t.Errorf("got %s", got)
	}
	if i, result := r.match("GET", "", "*"); i != noRoute || result != ambiguous {
		t.Errorf("got %d %v", i, result)
	}
}

func TestTwoEquallyGoodRoutesAreAnError(t *testing.T) {
	for _, c := range []struct {
		a, b string
		tie  bool
	}{
		{" /a/{x}", " /a/{y}", true},
		{" /a", " /a/", true},
		{"GET,POST /a", "POST /a", true},
		{" h/a/**", " h/a/**", true},
		{" h/a", " g/a", false},
		{" h/a", " /a", false},
		{"GET /a", " /a", false},
		{"GET /a", "HEAD /a", false},
		{" /a", " /a/**", false},
		{" /a/{x}", " /a/x", false},
	} {
		if _, err := newRouter([]Route{routeOf(c.a), routeOf(c.b)}); (err != nil) != c.tie {
			t.Errorf("%q and %q: %v", c.a, c.b, err)
		}
	}
}

func TestHostsAreReadWithoutPortAndDot(t *testing.T) {
	for host, want := range map[string]string{
		"":                  "",
		"a.example":         "a.example",
		"A.Example":         "A.Example",
		"a.example:80":      "a.example",
		"a.example:":        "a.example",
		"a.example.":        "a.example",
		"a.example.:80":     "a.example",
		"a.example..":       "a.example.",
		"a_b-c.example":     "a_b-c.example",
		"[::1]":             "[::1]",
		"[2001:DB8::1]:443": "[2001:DB8::1]",
		"127.0.0.1:9002":    "127.0.0.1",
	} {
		if got, ok := hostName(host); got != want || !ok {
			t.Errorf("%q: got %q %v, want %q", host, got, ok, want)
		}
	}
	for _, host := range []string{
		"a.example,b.example", "a b", "a/b", "a%2eb", "user@a", "a\x00", "a\r\nb", "café", "a:b", "a:80:80", "::1",
		"[::1", "::1]", "[::1]x", "x[::1]", "[::1]:x", "a]", "[", "]", "[a[b]", "a?b", "a#b", `a\b`,
	} {
		if got, ok := hostName(host); ok {
			t.Errorf("%q: read as %q", host, got)
		}
	}
}

func TestALongHostIsNoRoutesHost(t *testing.T) {
	r := routerOf(t, routeOf(" h.example/a"), routeOf(" /a"))
	long := strings.Repeat("h", 70_000)
	if got := r.named("GET", long, "/a"); got != " /a" {
		t.Errorf("got %q", got)
	}
	if n := testing.AllocsPerRun(5, func() { r.match("GET", long, "/a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// manyRoutes are n routes like those of an API.
func manyRoutes(n int) []Route {
	var routes []Route
	for i := range n {
		path := fmt.Sprintf([...]string{"/v1/r%d", "/v1/r%d/{id}", "/v1/r%d/{id}/part/{part}", "/v1/r%d/all/**"}[i%4], i/4)
		routes = append(routes, Route{Name: path, Match: Match{Path: path}})
	}
	return routes
}

func TestAMatchCostsTheSameAmong10And1000Routes(t *testing.T) {
	for _, path := range []string{"/v1/r1", "/v1/r1/7", "/v1/r1/7/part/8", "/v1/r0/all/x/y/z", "/v1/nowhere", "/v1/r1/all/part/8"} {
		var steps [2]int
		for i, n := range []int{10, 1000} {
			r := routerOf(t, manyRoutes(n)...)
			s, _ := r.search("GET", "")
			find(&s, path)
			steps[i] = s.steps
		}
		if steps[0] != steps[1] || steps[0] == 0 || steps[0] > 8 {
			t.Errorf("%s: %d steps among 10 routes, %d among 1000", path, steps[0], steps[1])
		}
	}
}

func TestBackTrackingVisitsEachNodeOnce(t *testing.T) {
	// Every path of a and {x} of length 8 that ends in z: 2^9 - 1 nodes and the 2^8 ends.
	var routes []Route
	for i := range 1 << 8 {
		var path strings.Builder
		for bit := range 8 {
			path.WriteString([...]string{"/a", "/{x}"}[i>>bit&1])
		}
		routes = append(routes, Route{Match: Match{Path: path.String() + "/z"}})
	}
	r := routerOf(t, routes...)
	s, _ := r.search("GET", "")
	if got := find(&s, strings.Repeat("/a", 8)+"/y"); got != noRoute {
		t.Errorf("matched %d", got)
	}
	if s.steps != 1<<9-1 {
		t.Errorf("%d steps for %d nodes", s.steps, 1<<9-1)
	}
}

func TestAPlainMatchDoesNotAllocate(t *testing.T) {
	r := routerOf(t, append(manyRoutes(1000), routeOf("GET h.example/v1/{x}"))...)
	for _, path := range []string{"/v1/r7/4?x=%2F", "/v1/nowhere", "/v1/r7/all/x/y/"} {
		if n := testing.AllocsPerRun(50, func() { r.match("GET", "H.example.:80", path) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// routesFrom makes routes of bytes: one for each four, but those that tie with an earlier one.
func routesFrom(spec []byte) []Route {
	segments := []string{"", "a", "b", "{x}", "{y}", "a.", "**"}
	var routes []Route
	for ; len(spec) >= 4 && len(routes) < 20; spec = spec[4:] {
		m := Match{
			Host:    [...]string{"", "h", "g"}[spec[0]%3],
			Methods: [...][]string{nil, {"GET"}, {"HEAD"}, {"POST"}, {"GET", "POST"}}[spec[0]/3%5],
		}
		for _, b := range spec[1:4] {
			if s := segments[int(b)%len(segments)]; s != "" {
				m.Path += "/" + s
			}
			if strings.HasSuffix(m.Path, "**") {
				break
			}
		}
		if m.Path == "" {
			m.Path = "/"
		}
		if _, err := newRouter(append(routes, Route{Match: m})); err == nil {
			routes = append(routes, Route{Match: m})
		}
	}
	return routes
}

func FuzzRouter(f *testing.F) {
	f.Add([]byte("\x00\x01\x03\x06\x01\x01\x01\x01\x03\x03\x03\x03"), "GET", "h:80", "/a/b/a")
	f.Add([]byte("\x00\x06\x00\x00\x03\x01\x00\x00\x06\x01\x00\x00"), "HEAD", "G.", "/a/")
	f.Add([]byte("\x00\x03\x01\x00\x00\x01\x03\x00\x00\x01\x06\x00"), "POST", "", "/a/b")
	f.Fuzz(func(t *testing.T, spec []byte, method, host, path string) {
		if len(path) > 256 {
			return
		}
		routes := routesFrom(spec)
		r := routerOf(t, routes...)
		got, result := r.match(method, host, path)
		name, ok := hostName(host)
		if !ok {
			if result != ambiguous {
				t.Errorf("host %q: %v", host, result)
			}
			return
		}
		if result == ambiguous {
			return // FuzzPath looks at these
		}
		for _, reading := range readings(path) {
			if want := modelMatch(routes, method, strings.ToLower(name), reading); got != want {
				t.Errorf("%s %s%s: got %d, want %d for %s of %+v", method, host, path, got, want, reading, routes)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000} {
		r := routerOf(b, manyRoutes(n)...)
		for name, path := range map[string]string{
			"plain":    "/v1/r1/7/part/8?page=3",
			"none":     "/v1/nowhere/7",
			"escaped":  "/v1/r1/a%20b/part/8",
			"dots":     "/v1/r1/../r1/7",
			"confused": "/v1/r1/..%2f..;/%252e%252e/part/8",
		} {
			b.Run(fmt.Sprintf("routes=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r.match("GET", "api.acme.example:443", path)
				}
			})
		}
	}
}

func BenchmarkHostilePath(b *testing.B) {
	r := routerOf(b, Route{Name: "all", Match: Match{Path: "/**"}})
	for _, unit := range hostile() {
		path := "/" + strings.Repeat(unit, (maxStrange-1)/len(unit))
		b.Run(strings.ReplaceAll(unit, "/", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.match("GET", "", path)
			}
		})
	}
}
