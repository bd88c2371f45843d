package cache

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policy"
)

// tallies are the metrics of decisions. A counter is resolved by its labels once and
// found by its place after that.
type tallies struct {
	decisions *prometheus.CounterVec
	open      *prometheus.CounterVec
	seconds   prometheus.Histogram
	routes    map[string]*tally // by route; "" is no route
}

// tally are the counters of one route, made when first needed: most never are.
type tally struct {
	decisions []atomic.Pointer[prometheus.Counter] // by reason, then mode
	open      []atomic.Pointer[prometheus.Counter] // by cause
}

const (
	modes  = int(policy.Open) + 1
	causes = int(policy.CauseFault) + 1
)

func newTallies(routes []policy.Route, reg prometheus.Registerer) (*tallies, error) {
	t := &tallies{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_decisions_total",
			Help: "Decisions; in mode shadow and open the reason is what enforcement would have said.",
		}, []string{"route", "reason", "mode"}),
		open: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_fail_open_total",
			Help: "Requests that a failure policy let through.",
		}, []string{"route", "cause"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_decision_seconds",
			Help: "Time to decide a request, look-ups of unknown subjects included.",
			// 10% wide buckets, 160 at most: from 100 ns to the 150 ms of a look-up.
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}),
		routes: map[string]*tally{"": newTally()},
	}
	for i := range routes {
		t.routes[routes[i].Name] = newTally()
	}
	for _, each := range []prometheus.Collector{t.decisions, t.open, t.seconds} {
		if err := reg.Register(each); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func newTally() *tally {
	return &tally{
		decisions: make([]atomic.Pointer[prometheus.Counter], len(policy.Reasons())*modes),
		open:      make([]atomic.Pointer[prometheus.Counter], causes),
	}
}

func (t *tallies) count(d *policy.Decision, took time.Duration) {
	t.seconds.Observe(took.Seconds())
	route, ok := t.routes[d.Route]
	if !ok {
		route = t.routes[""]
	}
	place := &route.decisions[int(d.Reason)*modes+int(d.Mode)]
	if known := place.Load(); known != nil {
		(*known).Inc()
	} else {
		resolve(place, t.decisions, d.Route, d.Reason.String(), d.Mode.String()).Inc()
	}
	if d.Mode != policy.Open {
		return
	}
	place = &route.open[d.Cause]
	if known := place.Load(); known != nil {
		(*known).Inc()
	} else {
		resolve(place, t.open, d.Route, d.Cause.String()).Inc()
	}
}

// resolve finds a counter by its labels and remembers it in its place.
func resolve(place *atomic.Pointer[prometheus.Counter], in *prometheus.CounterVec, labels ...string) prometheus.Counter {
	c := in.WithLabelValues(labels...)
	place.Store(&c)
	return c
}
