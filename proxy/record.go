package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policy"
)

// DecisionLog says which decisions are logged, as weir.yaml spells it (log.decisions).
type DecisionLog string

// The choices of log.decisions.
const (
	LogAll    DecisionLog = "all"
	LogDenied DecisionLog = "denied"
	LogNone   DecisionLog = "none"
)

// maxLogged is how many decisions are logged in a second; the rest are only counted.
const maxLogged = 100

// recorder puts every decision that a proxy asked for on record: in the metrics, and
// where it is wanted in the log.
type recorder struct {
	choice   DecisionLog
	log      *slog.Logger
	sample   sampler
	made     *prometheus.CounterVec
	failOpen *prometheus.CounterVec
	took     prometheus.Histogram
}

func newRecorder(choice DecisionLog, log *slog.Logger, reg prometheus.Registerer) (*recorder, error) {
	r := &recorder{
		choice: choice, log: log,
		made: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_decisions_total", Help: "Decisions by route, reason and mode (enforce, shadow, open).",
		}, []string{"route", "reason", "mode"}),
		failOpen: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_fail_open_total", Help: "Requests let through by a failure policy, by route and cause.",
		}, []string{"route", "cause"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_decision_seconds", Help: "Time to decide a request, look-ups included.",
			// Buckets grow by a tenth; 160 of them span from a microsecond to some seconds.
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
			NativeHistogramMinResetDuration: time.Hour,
		}),
	}
	return r, errors.Join(reg.Register(r.made), reg.Register(r.failOpen), reg.Register(r.took))
}

// decided puts a decision on record. It takes no context: a caller who goes away
// must not take the record along.
func (r *recorder) decided(method string, d *policy.Decision, took time.Duration) {
	r.made.WithLabelValues(d.Route, d.Reason.String(), d.Mode.String()).Inc()
	if d.Mode == policy.Open {
		r.failOpen.WithLabelValues(d.Route, d.Cause.String()).Inc()
	}
	r.took.Observe(took.Seconds())
	if r.choice == LogAll || r.choice == LogDenied && !d.Allowed() {
		r.write(method, d)
	}
}

// write logs a decision: who, what and why, but nothing that the client sent but the method.
func (r *recorder) write(method string, d *policy.Decision) {
	if !r.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	ok, leftOut := r.sample.take(time.Now())
	r.mention(leftOut)
	if !ok {
		return
	}
	r.log.Info("decision", "decision", d.Annotation(), "reason", d.Reason.String(), "mode", d.Mode.String(),
		"route", d.Route, "method", method, "tenant", d.Tenant, "account", d.Account,
		"license", string(d.License), "plan", d.Plan, "feature", d.Feature)
}

// flush mentions what the last second left out.
func (r *recorder) flush() { r.mention(r.sample.leave()) }

func (r *recorder) mention(leftOut int) {
	if leftOut > 0 {
		r.log.Info("decisions left out", "count", leftOut)
	}
}

// sampler lets maxLogged lines pass in each second and counts the rest.
type sampler struct {
	mu      sync.Mutex
	second  int64 // Unix time
	passed  int   // in this second
	leftOut int   // in this second
}

// take tells whether a line may be written now, and, once in a new second, how many
// were left out before.
func (s *sampler) take(now time.Time) (ok bool, leftOut int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := now.Unix(); second != s.second {
		leftOut = s.leftOut
		s.second, s.passed, s.leftOut = second, 0, 0
	}
	if s.passed < maxLogged {
		s.passed++
		return true, leftOut
	}
	s.leftOut++
	return false, leftOut
}

// leave hands over what was left out and not mentioned.
func (s *sampler) leave() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	leftOut := s.leftOut
	s.leftOut = 0
	return leftOut
}
