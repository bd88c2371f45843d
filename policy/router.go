package policy

import (
	"fmt"
	"sync"
)

// router finds the route of a request. It is a trie of path segments for each
// host and one for requests of any host, built once and never changed.
//
// A match visits a trie's nodes depth first, in the order of preference, and each at most
// once; a node looks one segment up in a map, however many routes there are. So
// it costs as many steps as the path has segments, times the nodes of one depth
// that both a literal and {x} lead to. A plain path allocates nothing.
type router struct {
	names   []string         // of the routes, by index
	hosts   map[string]*node // by lower-case name
	anyHost *node
	readers sync.Pool // of *reader
}

// matchResult tells how a match went. The zero result lets nothing through.
type matchResult uint8

const (
	ambiguous matchResult = iota // the readings name different routes
	none                         // all readings name no route
	matched                      // all readings name one route
)

// noRoute is the index of no route: one more route, where readings are compared.
const noRoute = -1

// node is a place in the trie: what a path says so far.
type node struct {
	literals map[string]*node
	variable *node   // {x}
	end      methods // the routes whose path ends here
	rest     methods // the routes that go on with **
}

// methods are routes with the method that they list; the one that lists none has "". They are few.
type methods []methodRoute

type methodRoute struct {
	method string
	route  int
}

// newRouter builds the router of validated routes. It fails on two of which
// neither is the more specific.
func newRouter(routes []Route) (*router, error) {
	r := &router{hosts: map[string]*node{}, anyHost: &node{}}
	r.readers.New = func() any { return newReader() }
	for i, route := range routes {
		r.names = append(r.names, route.Name)
		if err := r.add(i, route.Match); err != nil {
			return nil, fmt.Errorf("add route %s: %w", route.Name, err)
		}
	}
	return r, nil
}

func (r *router) add(route int, m Match) error {
	n := r.anyHost
	if m.Host != "" {
		if r.hosts[m.Host] == nil {
			r.hosts[m.Host] = &node{}
		}
		n = r.hosts[m.Host]
	}
	end := func(n *node) *methods { return &n.end }
	for _, segment := range splitPattern(m.Path) {
		switch {
		case segment == "**":
			end = func(n *node) *methods { return &n.rest }
		case isVariable(segment):
			n = n.orVariable()
		default:
			n = n.orLiteral(segment)
		}
	}
	listed := m.Methods
	if len(listed) == 0 {
		listed = []string{""}
	}
	at := end(n)
	for _, method := range listed {
		if other := at.of(method); other != noRoute {
			return fmt.Errorf("route %s matches the same requests", r.names[other])
		}
		*at = append(*at, methodRoute{method, route})
	}
	return nil
}

func (n *node) orVariable() *node {
	if n.variable == nil {
		n.variable = &node{}
	}
	return n.variable
}

func (n *node) orLiteral(segment string) *node {
	if n.literals == nil {
		n.literals = map[string]*node{}
	}
	if n.literals[segment] == nil {
		n.literals[segment] = &node{}
	}
	return n.literals[segment]
}

// match finds the route, by index, of a request as received. The index is
// noRoute unless the result is matched.
func (r *router) match(method, host, path string) (route int, result matchResult) {
	s, ok := r.search(method, host)
	if !ok {
		return noRoute, ambiguous
	}
	end, plain := scan(path)
	path = path[:end]
	if !plain {
		return r.matchReadings(&s, path)
	}
	return asResult(find(&s, path))
}

// matchReadings stops at the first reading that disagrees with the others.
func (r *router) matchReadings(s *search, path string) (int, matchResult) {
	reader := r.readers.Get().(*reader)
	defer r.readers.Put(reader)
	route, seen, agree := noRoute, false, true
	f := reader.read(path, func(reading []byte) bool {
		found := find(s, reading)
		agree = !seen || found == route
		route, seen = found, true
		return agree
	})
	if f != "" || !agree || !seen {
		return noRoute, ambiguous
	}
	return asResult(route)
}

func asResult(route int) (int, matchResult) {
	if route == noRoute {
		return noRoute, none
	}
	return route, matched
}

// why says why a request is ambiguous; empty: it is not.
func (r *router) why(method, host, path string) string {
	s, ok := r.search(method, host)
	if !ok {
		return fmt.Sprintf("the host %q can't be read", host)
	}
	end, _ := scan(path)
	var first, other string
	var route int
	f := newReader().read(path[:end], func(reading []byte) bool {
		switch found := find(&s, reading); {
		case first == "":
			first, route = string(reading), found
		case found != route:
			other = fmt.Sprintf("%s is for %s, %s for %s", first, r.routeName(route), reading, r.routeName(found))
		}
		return other == ""
	})
	if f != "" {
		return string(f)
	}
	return other
}

func (r *router) routeName(route int) string {
	if route == noRoute {
		return "no route"
	}
	return "route " + r.names[route]
}

// search is a match under way.
type search struct {
	method  string
	host    *node // the trie of the host, or nil
	anyHost *node // the trie of any host
	steps   int   // nodes visited: what a match costs
}

// search begins a match; it is false where the host can't be read.
func (r *router) search(method, host string) (search, bool) {
	name, ok := hostName(host)
	return search{method: method, host: byHost(r.hosts, name), anyHost: r.anyHost}, ok
}

// find is the best route for a path that is resolved, but for a slash at its
// end: a route with the host goes before all without.
func find[T string | []byte](s *search, path T) int {
	if s.host != nil {
		if route := findBelow(s, s.host, path); route != noRoute {
			return route
		}
	}
	return findBelow(s, s.anyHost, path)
}

// findBelow is the best route below a node for what is left of a path: segment by
// segment a literal goes before {x}, and {x} before **.
func findBelow[T string | []byte](s *search, n *node, path T) int {
	s.steps++
	if len(path) <= 1 {
		if route := n.end.find(s.method); route != noRoute {
			return route
		}
		return n.rest.find(s.method)
	}
	end := 1
	for end < len(path) && path[end] != '/' {
		end++
	}
	if next := n.literals[string(path[1:end])]; next != nil {
		if route := findBelow(s, next, path[end:]); route != noRoute {
			return route
		}
	}
	if n.variable != nil {
		if route := findBelow(s, n.variable, path[end:]); route != noRoute {
			return route
		}
	}
	return n.rest.find(s.method)
}

// find is the route for a method: one that lists it goes before one that lists none, and GET covers HEAD.
func (m methods) find(method string) int {
	if len(m) == 0 {
		return noRoute
	}
	route := m.of(method)
	if route == noRoute && method == "HEAD" {
		route = m.of("GET")
	}
	if route == noRoute {
		route = m.of("")
	}
	return route
}

// of is the route that lists the method.
func (m methods) of(method string) int {
	for i := range m {
		if m[i].method == method {
			return m[i].route
		}
	}
	return noRoute
}
