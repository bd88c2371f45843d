package policy

import "strings"

// longestName bounds the names that suggestions are looked for: the comparison
// costs the product of both lengths.
const longestName = 64

// Suggest is the known name that is nearest to a misspelt one, or empty where
// none is near: at most a third of its characters may differ, and at most three.
// Two neighbours that changed places are one difference. A word cut short is near too.
func Suggest(got string, known []string) string {
	if got == "" || len(got) > longestName {
		return ""
	}
	most := min(3, max(1, len(got)/3))
	best, nearest := "", most+1
	for _, name := range known {
		if name == got || len(name) > longestName {
			continue
		}
		d := distance(strings.ToLower(got), strings.ToLower(name), most)
		if d < nearest || d == nearest && best != "" && name < best {
			best, nearest = name, d
		}
	}
	return best
}

// distance is how much two names differ, or any number above most. A word cut
// short differs by most: any nearer name is the better suggestion.
func distance(a, b string, most int) int {
	const shortest = 3 // a beginning of fewer characters says nothing
	d := most + 1
	if min(len(a), len(b)) >= shortest && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
		d = most
	}
	if max(len(a)-len(b), len(b)-len(a)) > most {
		return d
	}
	return min(d, editDistance(a, b))
}

// editDistance counts the insertions, deletions, replacements and exchanges of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
