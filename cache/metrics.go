package cache

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of the refresh; the Gate has its own.
type metrics struct {
	cache    *Cache
	repairs  *prometheus.CounterVec
	failures *prometheus.CounterVec
	pinMoves prometheus.Counter
	age      *prometheus.Desc
	licenses *prometheus.Desc
}

func newMetrics(c *Cache, reg prometheus.Registerer) (*metrics, error) {
	product := []string{"product"}
	m := &metrics{
		cache: c,
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_sweep_repairs_total",
			Help: "Changes of licenses that a sweep found and no notification told of.",
		}, product),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_sweep_failures_total",
			Help: "Sweeps that could not read everything.",
		}, product),
		pinMoves: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_pin_moves_total",
			Help: "Pins that moved from a license that ended to the one that took its place.",
		}),
		age: prometheus.NewDesc("weir_entitlements_age_seconds",
			"Time since the last complete read of everything that a product's buyers hold began; +Inf if there was none.", product, nil),
		licenses: prometheus.NewDesc("weir_licenses",
			"Licenses in memory; those of direct customers who may use every product have no product.", []string{"product", "state"}, nil),
	}
	for name := range c.sources {
		m.repairs.WithLabelValues(name)
		m.failures.WithLabelValues(name)
	}
	for _, each := range []prometheus.Collector{m.repairs, m.failures, m.pinMoves, m} {
		if err := reg.Register(each); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Describe is of prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.age
	to <- m.licenses
}

// Collect is of prometheus.Collector: it looks at the snapshot when asked.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	for name, status := range m.cache.Status() {
		age := math.Inf(1)
		if status.State != SourceNever {
			age = status.Age.Seconds()
		}
		to <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, age, name)
	}
	for key, n := range m.cache.countLicenses() {
		to <- prometheus.MustNewConstMetric(m.licenses, prometheus.GaugeValue, float64(n), key.product, key.state.String())
	}
}
