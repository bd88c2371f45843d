package marketplace

import "github.com/prometheus/client_golang/prometheus"

// newUpdatesMetric counts what came over the feeds.
func newUpdatesMetric() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_updates_total",
		Help: "Messages from AWS by feed (eventbridge, sns-sqs) and kind: changed, unchanged, unknown or poison.",
	}, []string{"feed", "kind"})
}
