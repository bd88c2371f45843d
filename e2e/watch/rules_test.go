package watch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// rule is one of rules.yaml.
type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

// rules reads the rules.
func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	must(t, yaml.Unmarshal(read(t, rulesFile), &file))
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// alerts are the names of all alerts, sorted.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	for _, r := range rules(t) {
		if r.Alert != "" {
			names = append(names, r.Alert)
		}
	}
	slices.Sort(names)
	return names
}

func TestEachAlertFiresFromWhatItIsForAndFromNothingLikeIt(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), read(t, rulesFile), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "rules_test.yaml"), read(t, "testdata/rules_test.yaml"), 0o600))
	promtool(t, "", "check", "rules", filepath.Join(dir, "rules.yaml"))
	promtool(t, "", "test", "rules", filepath.Join(dir, "rules_test.yaml"))
}

func TestEveryAlertIsInTheRuleTestsBothFiringAndSilent(t *testing.T) {
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name     string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	must(t, yaml.Unmarshal(read(t, "testdata/rules_test.yaml"), &file))
	firing, silent := map[string]bool{}, map[string]bool{}
	for _, each := range file.Tests {
		for _, a := range each.Alerts {
			if len(a.Expected) > 0 {
				firing[a.Name] = true
			} else {
				silent[a.Name] = true
			}
		}
	}
	for _, name := range alerts(t) {
		if !firing[name] || !silent[name] {
			t.Errorf("%s: tested firing: %v, silent: %v", name, firing[name], silent[name])
		}
	}
}

func TestEveryAlertLeadsToItsParagraphInTheRunbooks(t *testing.T) {
	const page = "https://github.com/weirhq/weir/blob/main/docs/runbooks.md"
	var paragraphs []string
	for _, section := range strings.Split(string(read(t, repository+"/docs/runbooks.md")), "\n### ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		if len(strings.TrimSpace(text)) < 50 {
			t.Errorf("%s: the paragraph is empty", title)
		}
		paragraphs = append(paragraphs, title)
	}
	slices.Sort(paragraphs)
	if diff := cmp.Diff(alerts(t), paragraphs); diff != "" {
		t.Errorf("alerts and paragraphs (-alerts +paragraphs):\n%s", diff)
	}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if got, want := r.Annotations["runbook_url"], page+"#"+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s leads to %s, want %s", r.Alert, got, want)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.For == "" {
			t.Errorf("%s lacks a summary, a description or a for", r.Alert)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q", r.Alert, s)
		}
	}
}
