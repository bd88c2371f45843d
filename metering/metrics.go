package metering

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirhq/weir/policy"
)

// boltMetrics are what a ledger shows of itself.
type boltMetrics struct {
	records *prometheus.CounterVec
	carried prometheus.Counter
	write   prometheus.Histogram
}

func newBoltMetrics(b *Bolt, reg prometheus.Registerer) *boltMetrics {
	register := promauto.With(reg)
	m := &boltMetrics{
		records: register.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_usage_records_total", Help: "Usage records that entered a state, by product.",
		}, []string{"product", "state"}),
		carried: register.NewCounter(prometheus.CounterOpts{
			Name: "weir_usage_carried_total", Help: "Billed units carried to a later hour because AWS's limit for one record cut them off.",
		}),
		write: register.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_ledger_write_seconds", Help: "Time that a transaction of the ledger took until it was durable.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_usage_oldest_unsent_seconds", Help: "Age of the oldest usage record that AWS has not answered; 0 without one.",
	}, func() float64 { return b.oldest() })
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_usage_next_deadline_seconds", Help: "Time until AWS refuses the next usage record that it has not answered; NaN without one.",
	}, func() float64 { return b.nextDeadline() })
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_ledger_set_aside", Help: "Damaged ledger files that were set aside and are still in the state directory.",
	}, func() float64 { return float64(len(b.Aside())) })
	if reg != nil {
		reg.MustRegister(&writerMetrics{b, prometheus.NewDesc("weir_usage_unacknowledged_conflicts",
			"Usage records in conflict since `weir usage ack`, by product: another writer is the first cause.", []string{"product"}, nil)})
	}
	return m
}

// writerMetrics are the signs of other writers (BILLING B21), as the ledger holds them.
type writerMetrics struct {
	b    *Bolt
	desc *prometheus.Desc
}

func (w *writerMetrics) Describe(to chan<- *prometheus.Desc) { to <- w.desc }

func (w *writerMetrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	writers, err := w.b.OtherWriters(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(w.desc, err)
		return
	}
	for i := range writers {
		to <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, float64(writers[i].Conflicts), productLabel(writers[i].Product))
	}
}

// changed counts what a transaction did.
func (m *boltMetrics) changed(t *boltTx) {
	for i := range t.moved {
		m.records.WithLabelValues(productLabel(t.moved[i].Product), string(t.moved[i].State)).Inc()
	}
	m.carried.Add(float64(t.carried))
}

// scrapeTimeout bounds what a scrape may read of the ledger.
const scrapeTimeout = 2 * time.Second

func (b *Bolt) oldest() float64 {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	sums, err := b.Backlog(ctx)
	if err != nil {
		return math.NaN()
	}
	age := 0.0
	for _, s := range sums {
		age = max(age, b.now().Sub(s.Oldest).Seconds())
	}
	return age
}

func (b *Bolt) nextDeadline() float64 {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	sums, err := b.Backlog(ctx)
	if err != nil || len(sums) == 0 {
		return math.NaN()
	}
	left := math.Inf(1)
	for _, s := range sums {
		left = min(left, s.Deadline.Sub(b.now()).Seconds())
	}
	return left
}

// productLabel is the product as metrics name it; direct customers belong to none.
func productLabel(product string) string {
	if product == "" {
		return "direct"
	}
	return product
}

// meterMetrics are what a Meter shows of itself.
type meterMetrics struct {
	units    *prometheus.CounterVec
	shadow   *prometheus.CounterVec
	resolved *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

func newMeterMetrics(m *Meter, reg prometheus.Registerer) *meterMetrics {
	register := promauto.With(reg)
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_ledger_writable", Help: "1 while the ledger can be written, 0 while counts are kept in memory.",
	}, func() float64 {
		if m.Writable() != nil {
			return 0
		}
		return 1
	})
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_checks_pending", Help: "Checks that were let through and wait for their access log entry.",
	}, func() float64 { return float64(m.Pending()) })
	metrics := &meterMetrics{
		resolved: register.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_checks_resolved_total", Help: "Checks that waited for their access log entry, by how they ended: counted, not_served, unmeasured, unconfirmed.",
		}, []string{"how"}),
		refused: register.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_access_log_refused_total", Help: "Access log entries that ended no check, by why.",
		}, []string{"why"}),
		units: register.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_usage_units_total", Help: "Units counted, by product and the dimension that meters them.",
		}, []string{"product", "dimension"}),
		shadow: register.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_usage_shadow_units_total", Help: "Units that routes in shadow mode would have counted, by product and feature.",
		}, []string{"product", "feature"}),
	}
	for _, how := range []string{howCounted, howNotServed, howUnmeasured, howUnconfirmed} {
		metrics.resolved.WithLabelValues(how)
	}
	return metrics
}

// counted shows units on their way to the ledger.
func (m *meterMetrics) counted(l *policy.License, dimension string, quantity int64) {
	if dimension == "" {
		dimension = "none"
	}
	m.units.WithLabelValues(productLabel(l.Product), dimension).Add(float64(quantity))
}
