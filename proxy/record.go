package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

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

// recorder writes the decisions that a proxy asked for into the log, where that is wanted.
type recorder struct {
	choice DecisionLog
	log    *slog.Logger
	sample sampler
}

// decided puts a decision on record. It takes no context: a caller who goes away
// must not take the record along.
func (r *recorder) decided(method string, d *policy.Decision) {
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
