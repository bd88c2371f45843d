package watch

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weirhq/weir/internal/stage"
)

// metrics reads what weir shows to Prometheus.
func (s *scene) metrics() string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.Admin+"/metrics", nil)
	must(s.t, err)
	response, err := http.DefaultClient.Do(request)
	must(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(s.t, err)
	return string(text)
}

func TestAWorkingWeirsMetricsAreCleanAndTheReferences(t *testing.T) {
	s := setScene(t, stage.Plan{Weir: buildWeir(t), Number: len(troubles())}, func(config string) string { return config }, "")
	s.use()
	s.check()
	s.eventually("usage is counted", func() bool { return strings.Contains(s.metrics(), "weir_usage_units_total{") })
	text := s.metrics()
	promtool(t, text, "check", "metrics")

	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	must(t, err)
	known := reference(t)
	for name, family := range families {
		if strings.HasPrefix(name, "weir_") {
			compare(t, family, known[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		// One with labels is there from its first event on.
		if families[name] == nil && len(known[name].labels) == 0 {
			t.Errorf("%s is in docs/metrics.md and weir does not show it", name)
		}
	}
}

// compare looks whether a metric is what docs/metrics.md says.
func compare(t *testing.T, family *dto.MetricFamily, want row) {
	t.Helper()
	if got := strings.ToLower(family.GetType().String()); got != want.kind {
		t.Errorf("%s is a %s, in docs/metrics.md a %q", family.GetName(), got, want.kind)
	}
	for _, m := range family.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		if !slices.Equal(labels, want.labels) {
			t.Errorf("%s has labels %v, in docs/metrics.md %v", family.GetName(), labels, want.labels)
		}
	}
}
