package main

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheReferenceOfMetricsInDocsIsCurrent(t *testing.T) {
	want, err := metricsPage("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/metrics.md is stale: go run ./internal/refgen -page metrics > docs/metrics.md\n%s", diff)
	}
}

func TestTheReferenceOfMetricsHasWhatIsPromised(t *testing.T) {
	page, err := metricsPage("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `weir_decisions_total` | counter | route, reason, mode |", "| `weir_decision_seconds` | native histogram |  |",
		"| `weir_fail_open_total` | counter | route, cause |", "| `weir_entitlements_age_seconds` | gauge | product |",
		"| `weir_licenses` | gauge | product, state |", "| `weir_updates_total` | counter | feed, kind |",
		"| `weir_sweep_repairs_total` | counter | product |", "| `weir_usage_units_total` | counter | product, dimension |",
		"| `weir_usage_records_total` | counter | product, state |", "| `weir_usage_oldest_unsent_seconds` | gauge |  |",
		"| `weir_usage_next_deadline_seconds` | gauge |  |", "| `weir_ledger_write_seconds` | histogram |  |",
		"| `weir_aws_requests_total` | counter | operation, outcome |", "| `weir_aws_request_seconds` | histogram | operation |",
		"| `weir_clock_offset_seconds` | gauge |  |", "| `weir_checks_resolved_total` | counter | how |",
		"| `weir_access_log_refused_total` | counter | why |", "| `weir_build_info` | gauge | version, commit, go |",
		"| `weir_ledger_writable` | gauge |  |", "| `weir_pin_moves_total` | counter |  |", "| `weir_usage_carried_total` | counter |  |",
		"quota_exhausted, allowed.",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the reference lacks %q", want)
		}
	}
}

func TestMetricsAreFoundHoweverTheyAreMade(t *testing.T) {
	const source = `package p
func f() {
	product := []string{"product"}
	a(prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_a_total", Help: "One, " +
		"and two."}, product))
	register.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_b", Help: "B."}, func() float64 { return 0 })
	prometheus.NewDesc("weir_c", "C.", []string{"x", "y"}, nil)
	prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_d", Help: "D.", ConstLabels: prometheus.Labels{"v": w}})
	prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_e", Help: "E.", NativeHistogramBucketFactor: 1.1})
	other.NewThing(other.Opts{Name: "else"})
}`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []metric{
		{name: "weir_a_total", kind: "counter", help: "One, and two.", labels: []string{"product"}},
		{name: "weir_b", kind: "gauge", help: "B."},
		{name: "weir_c", kind: "gauge", help: "C.", labels: []string{"x", "y"}},
		{name: "weir_d", kind: "gauge", help: "D.", labels: []string{"v"}},
		{name: "weir_e", kind: "native histogram", help: "E."},
	}
	if diff := cmp.Diff(want, metricsOf(file), cmp.AllowUnexported(metric{})); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
