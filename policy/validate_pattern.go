package policy

import (
	"slices"
	"strings"
)

const (
	maxPattern  = 1024 // characters of a path pattern
	maxSegments = 64   // of a path pattern
)

// patternMistake says what is wrong with a path pattern, and the cure. A literal
// has to be what every reading of a path leaves as it is: otherwise no request
// could match the route without being ambiguous.
func patternMistake(pattern string) (msg, hint string) {
	switch {
	case len(pattern) > maxPattern:
		return "the pattern is longer than 1024 characters", ""
	case pattern[0] != '/':
		return "a path begins with /", "/" + pattern
	case strings.ContainsAny(pattern, "?#"):
		return "a pattern has no query and no fragment", pattern[:strings.IndexAny(pattern, "?#")]
	case strings.Contains(pattern, "//"):
		return "a path has no empty segments", collapseSlashes(pattern)
	}
	segments := splitPattern(pattern)
	if len(segments) > maxSegments {
		return "the pattern has more than 64 segments", ""
	}
	for i, s := range segments {
		if s == "**" {
			if i < len(segments)-1 {
				return "** can only be the last segment", "{x} for one segment"
			}
			continue
		}
		if msg, hint := segmentMistake(s); msg != "" {
			return msg, hint
		}
	}
	return "", ""
}

func collapseSlashes(s string) string {
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	return s
}

// splitPattern cuts a pattern into segments; a slash at the end does not matter.
func splitPattern(pattern string) []string {
	pattern = strings.TrimSuffix(strings.TrimPrefix(pattern, "/"), "/")
	if pattern == "" {
		return nil
	}
	return strings.Split(pattern, "/")
}

func segmentMistake(s string) (msg, hint string) {
	switch {
	case s == "." || s == "..":
		return "a pattern has no dot segments", "the path that they lead to"
	case strings.ContainsAny(s, "{}"):
		if !isVariable(s) {
			return "{x} is a whole segment, named with letters and digits", "{x}"
		}
	case strings.Contains(s, "*"):
		return "* matches nothing but itself", "{x} for one segment, ** at the end for the rest"
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && !strings.ContainsRune("-._~!$&'()*+,=:@{}", rune(c)) {
			return "a literal is made of A-Z a-z 0-9 - . _ ~ ! $ & ' ( ) + , = : @", "{x} in its place"
		}
	}
	return "", ""
}

// isVariable tells whether a segment is {x}.
func isVariable(s string) bool {
	return len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' && plainName(s[1:len(s)-1])
}

// claim notes what a route matches, and fails where an earlier route matches the
// same requests just as well: then neither is the more specific one.
func (k *checker) claim(path []string, i int, m Match, claims map[string]int) {
	segments := splitPattern(m.Path)
	for j, s := range segments {
		if isVariable(s) {
			segments[j] = "{}"
		}
	}
	methods := m.Methods
	if len(methods) == 0 {
		methods = []string{""}
	}
	for _, method := range slices.Compact(slices.Sorted(slices.Values(methods))) {
		key := m.Host + " " + method + " /" + strings.Join(segments, "/")
		first, taken := claims[key]
		if !taken {
			claims[key] = i
			continue
		}
		k.fail(path, "another path, host or method, or one route for both",
			"routes[%d] (%s) matches the same requests", first, k.Routes[first].Name)
		return
	}
}
