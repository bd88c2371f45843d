package policy

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What follows is the slow and obvious form of readings and routes, made of whole
// strings, lists and regular expressions. Nothing of the package is called.

var (
	modelEscape     = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	modelNoEscape   = regexp.MustCompile(`%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)`)
	modelUnreserved = regexp.MustCompile(`%(3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|2[DdEe]|5[Ff]|7[Ee])`)
	modelSeparators = regexp.MustCompile(`%2[Ff]|%5[Cc]`)
	modelParameters = regexp.MustCompile(`;[^/]*`)
	modelSlashes    = regexp.MustCompile(`/+`)
)

func modelDecode(s string) string {
	return modelEscape.ReplaceAllStringFunc(s, modelByte)
}

func modelByte(escape string) string {
	const digits = "0123456789abcdef"
	lower := strings.ToLower(escape)
	return string([]byte{byte(strings.IndexByte(digits, lower[1])<<4 | strings.IndexByte(digits, lower[2]))})
}

func modelUnreserve(s string) string { return modelUnreserved.ReplaceAllStringFunc(s, modelByte) }

func modelMerge(s string) string { return modelSlashes.ReplaceAllString(s, "/") }

func modelDots(s string) string {
	var kept []string
	for _, segment := range strings.Split(s, "/")[1:] {
		switch segment {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// modelResolved is the path with dot segments and slashes resolved, in both orders.
func modelResolved(s string) []string {
	trim := func(s string) string { return "/" + strings.Trim(modelMerge(s), "/") }
	return []string{trim(modelDots(modelMerge(s))), trim(modelDots(s))}
}

func modelCuts(s string) []string {
	query, _, _ := strings.Cut(s, "?")
	fragment, _, _ := strings.Cut(s, "#")
	return []string{s, query, fragment}
}

// modelFlawed tells whether a path is ambiguous whatever the routes are.
func modelFlawed(path string) bool {
	once := modelDecode(path)
	twice := modelDecode(once)
	text := func(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }
	return !strings.HasPrefix(path, "/") || modelNoEscape.MatchString(path) ||
		!text(path) || !text(once) || !text(twice) || modelDecode(twice) != twice
}

// contractReadings are the readings that the contract lists: each transformation
// applied or not, in its order, to the path as received and to the normalised
// one, resolved after each.
func contractReadings(path string) []string {
	texts := append([]string{path}, modelResolved(modelUnreserve(path))...)
	apply := func(transformation func(string) []string) {
		for _, s := range slices.Clone(texts) {
			for _, changed := range transformation(s) {
				texts = append(texts, modelResolved(changed)...)
			}
		}
		slices.Sort(texts)
		texts = slices.Compact(texts)
	}
	apply(func(s string) []string {
		return []string{strings.ReplaceAll(modelSeparators.ReplaceAllString(s, "/"), `\`, "/")}
	})
	apply(func(s string) []string { return modelCuts(modelDecode(s)) })
	apply(func(s string) []string { return modelCuts(modelDecode(s)) })
	apply(func(s string) []string { return []string{modelParameters.ReplaceAllString(s, "")} })
	var readings []string
	for _, s := range texts {
		readings = append(readings, modelResolved(s)...)
	}
	return readings
}

// modelReadings are all readings, and how many texts lead to them.
func modelReadings(path string) (readings []string, texts int) {
	seen := map[string]bool{path: true}
	for queue := []string{path}; len(queue) > 0 && len(seen) <= 2*maxTexts; queue = queue[1:] {
		s := queue[0]
		if resolved := modelResolved(s); resolved[0] == s && resolved[1] == s {
			readings = append(readings, s)
		}
		next := append(modelResolved(s), modelCuts(s)...)
		next = append(next, modelUnreserve(s), modelDecode(s), modelSeparators.ReplaceAllString(s, "/"),
			strings.ReplaceAll(s, `\`, "/"), modelParameters.ReplaceAllString(s, ""))
		for _, n := range next {
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	return readings, len(seen)
}

// modelMatch asks every route, and keeps the best by the order of the contract.
func modelMatch(routes []Route, method, host, path string) int {
	best := noRoute
	var bestRank []int
	for i, r := range routes {
		rank, ok := modelRank(r.Match, method, host, path)
		if ok && (best == noRoute || slices.Compare(rank, bestRank) < 0) {
			best, bestRank = i, rank
		}
	}
	return best
}

// modelRank ranks a route among those that match a request: host, segments,
// methods, each the lower the better.
func modelRank(m Match, method, host, path string) ([]int, bool) {
	rank := []int{1}
	if m.Host != "" {
		if m.Host != host {
			return nil, false
		}
		rank[0] = 0
	}
	segments := modelSegments(path)
	for _, p := range modelSegments(m.Path) {
		if p == "**" {
			return append(rank, 2, modelMethod(m, method)), modelMethod(m, method) < 3
		}
		if len(segments) == 0 || p[0] != '{' && p != segments[0] {
			return nil, false
		}
		segments = segments[1:]
		rank = append(rank, strings.Count(p, "{"))
	}
	return append(rank, 0, modelMethod(m, method)), len(segments) == 0 && modelMethod(m, method) < 3
}

func modelSegments(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

func modelMethod(m Match, method string) int {
	switch {
	case len(m.Methods) == 0:
		return 2
	case slices.Contains(m.Methods, method):
		return 0
	case method == "HEAD" && slices.Contains(m.Methods, "GET"):
		return 1
	default:
		return 3
	}
}
