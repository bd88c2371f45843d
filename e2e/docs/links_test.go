// Package docs follows the links of the documents: to files that are there, to headings that
// they have, and from the site's navigation to each page.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const repository = "../.."

// documents are the Markdown files that people read, relative to the repository.
func documents(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "charts/weir/README.md"}
	err := filepath.WalkDir(filepath.Join(repository, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			path, err = filepath.Rel(repository, path)
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	styled  = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are what GitHub makes of the headings of a document.
func anchors(text string) (found []string) {
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		title := strings.ToLower(styled.ReplaceAllString(m[1], "$1"))
		found = append(found, strings.ReplaceAll(dropped.ReplaceAllString(title, ""), " ", "-"))
	}
	return found
}

// dead says what is wrong with a link of a document; empty: nothing.
func dead(t *testing.T, document, target string) string {
	t.Helper()
	path, anchor, _ := strings.Cut(target, "#")
	file := document
	if path != "" {
		file = filepath.Join(filepath.Dir(document), path)
	}
	info, err := os.Stat(filepath.Join(repository, file))
	switch {
	case err != nil:
		return "there is no " + file
	case anchor != "" && (info.IsDir() || !slices.Contains(anchors(read(t, file)), anchor)):
		return file + " has no heading #" + anchor
	}
	return ""
}

func TestEveryLinkOfTheDocumentsLeadsSomewhere(t *testing.T) {
	followed := 0
	for _, document := range documents(t) {
		text := code.ReplaceAllString(fence.ReplaceAllString(read(t, document), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			followed++
			if why := dead(t, document, m[1]); why != "" {
				t.Errorf("%s: ](%s): %s", document, m[1], why)
			}
		}
	}
	if followed < 50 {
		t.Errorf("only %d links were found", followed)
	}
}

func TestALinkThatLeadsNowhereIsFound(t *testing.T) {
	for target, want := range map[string]string{
		"docs/nothing.md":       "there is no docs/nothing.md",
		"docs/billing.md#none":  "docs/billing.md has no heading #none",
		"docs#none":             "docs has no heading #none",
		"#nothing-of-the-kind":  "README.md has no heading #nothing-of-the-kind",
		"docs/security.md#sns":  "",
		"#use-it":               "",
		"docs/decisions":        "",
		"examples/envoy.yaml":   "",
		"docs/guides/../../api": "",
	} {
		if got := dead(t, "README.md", target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

func TestTheSitesNavigationHasEveryPageAndNoOther(t *testing.T) {
	_, nav, _ := strings.Cut(read(t, "mkdocs.yml"), "\nnav:\n")
	var shown []string
	for _, m := range regexp.MustCompile(`([a-z/-]+\.md)\n`).FindAllStringSubmatch(nav, -1) {
		shown = append(shown, "docs/"+m[1])
	}
	pages := documents(t)
	for _, page := range pages {
		dir, name := filepath.Split(page)
		if (dir == "docs/" || dir == "docs/guides/") && name != "benchmarks-notes.md" && !slices.Contains(shown, page) {
			t.Errorf("the site's navigation does not lead to %s: add it under nav in mkdocs.yml", page)
		}
	}
	for _, page := range shown {
		if !slices.Contains(pages, page) {
			t.Errorf("the site's navigation leads to %s, which is not there", page)
		}
	}
}
