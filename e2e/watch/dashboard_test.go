package watch

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// panel is one of the dashboard's.
type panel struct {
	Title   string
	Type    string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct{ Panels []panel }
	must(t, json.Unmarshal(read(t, repository+"/charts/weir/files/dashboard.json"), &dashboard))
	return dashboard.Panels
}

// filledIn is a query as Grafana sends it, with all of its variables chosen.
func filledIn(expr string) string {
	return strings.NewReplacer("$__rate_interval", "2m", "$__range", "6h", "$namespace", ".*", "$job", ".*", "$route", ".*").Replace(expr)
}

func TestTheQueriesOfTheDashboardAreRead(t *testing.T) {
	type record struct{ Record, Expr string }
	var queries []record
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			expr := filledIn(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: a variable is left in %s", p.Title, expr)
			}
			queries = append(queries, record{"weir:query", expr})
		}
	}
	if len(queries) < 20 {
		t.Fatalf("%d queries found", len(queries))
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": queries}}})
	must(t, err)
	promtool(t, "", "check", "rules", "--lint=none", file(t, "queries.yaml", string(text)))
}

func TestThePanelsOfTheDashboardDoNotCover(t *testing.T) {
	taken := map[[2]int]string{}
	for _, p := range panels(t) {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s covers %s, or leaves the grid", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// named finds the metrics that a query names.
var named = regexp.MustCompile(`\bweir_[a-z_]+`)

func TestDashboardAndRulesNameMetricsThatWeirHas(t *testing.T) {
	known := reference(t)
	look := func(where, expr string) {
		for _, name := range named.FindAllString(expr, -1) {
			for _, suffix := range []string{"_sum", "_count", "_bucket"} {
				name = strings.TrimSuffix(name, suffix)
			}
			if _, ok := known[name]; !ok {
				t.Errorf("%s: weir has no metric %s", where, name)
			}
		}
	}
	for _, r := range rules(t) {
		look(r.Record+r.Alert, r.Expr)
	}
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			look(p.Title, target.Expr)
		}
	}
}

// row is one of docs/metrics.md.
type row struct {
	kind   string
	labels []string // sorted
}

// reference reads docs/metrics.md.
func reference(t *testing.T) map[string]row {
	t.Helper()
	known := map[string]row{}
	for line := range strings.Lines(string(read(t, repository+"/docs/metrics.md"))) {
		cells := strings.Split(line, " | ")
		name, ok := strings.CutPrefix(strings.TrimSuffix(cells[0], "`"), "| `")
		if !ok || len(cells) < 4 {
			continue
		}
		labels := strings.Split(cells[2], ", ")
		if strings.TrimSpace(cells[2]) == "" {
			labels = nil
		}
		slices.Sort(labels)
		known[name] = row{strings.TrimPrefix(cells[1], "native "), labels}
	}
	if len(known) < 20 {
		t.Fatalf("%d metrics in docs/metrics.md", len(known))
	}
	return known
}
