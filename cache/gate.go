package cache

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policy"
)

// Gate decides requests from what a Cache holds.
type Gate struct {
	cache     *Cache
	policy    *policy.Policy
	now       func() time.Time
	log       *slog.Logger
	tallies   *tallies
	lastPanic atomic.Int64 // local time of the last one in the log, Unix seconds
}

// Budget of a look-up inside a check.
const (
	lookupBudget  = 150 * time.Millisecond // of the caller's time, at most
	answerReserve = 20 * time.Millisecond  // left of the caller's deadline to answer in
)

// NewGate makes the gate before a cache.
func NewGate(c *Cache, routes []policy.Route, reg prometheus.Registerer) (*Gate, error) {
	t, err := newTallies(routes, reg)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &Gate{cache: c, policy: c.policy, now: c.now, log: c.log, tallies: t}, nil
}

// Decide decides a request and counts it where it is allowed. It waits only for a
// look-up of a subject that memory does not hold, and for that no longer than 150 ms
// or the context's deadline less 20 ms. It never panics: a panic below is weir's own
// error, and failure.fault says what that means.
func (g *Gate) Decide(ctx context.Context, r *policy.Request) (d policy.Decision) {
	began := time.Now()
	defer func() {
		if cause := recover(); cause != nil {
			d = g.fault(r, cause)
		}
		g.tallies.count(&d, time.Since(began))
	}()
	return g.decide(ctx, r, g.now())
}

// Explain decides as Decide does at an instant, zero being now, with a line in
// r.Steps for each step, and counts nothing: no usage, no metric.
func (g *Gate) Explain(ctx context.Context, r *policy.Request, at time.Time) (d policy.Decision) {
	defer func() {
		if cause := recover(); cause != nil {
			d = g.fault(r, cause)
		}
	}()
	if r.Steps == nil {
		r.Steps = &policy.Steps{}
	}
	if at.IsZero() {
		at = g.now()
	}
	return g.decide(ctx, r, at)
}

func (g *Gate) decide(ctx context.Context, r *policy.Request, now time.Time) policy.Decision {
	d := g.policy.Decide(r, g.cache.Snapshot(), now)
	if d.Lookup.Kind == policy.SubjectNone {
		return d
	}
	return g.decideUnknown(ctx, r, now, d.Lookup, d.Product)
}

// decideUnknown looks a subject up and decides again with what is known then.
func (g *Gate) decideUnknown(ctx context.Context, r *policy.Request, now time.Time, who policy.Subject, product string) policy.Decision {
	ctx, cancel := context.WithTimeout(ctx, budget(ctx))
	defer cancel()
	who.ID = strings.Clone(who.ID) // a look-up outlives the request, whose strings may be views
	known := g.cache.LookUp(ctx, who, product)
	if r.Steps != nil {
		r.Steps.Lines = append(r.Steps.Lines, foundLine(known))
	}
	return g.policy.Decide(r, answered{g.cache.Snapshot(), who, map[string]policy.Knowledge{product: known}}, now)
}

func budget(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return lookupBudget
	}
	return min(lookupBudget, time.Until(deadline)-answerReserve)
}

func foundLine(known policy.Knowledge) string {
	switch known {
	case policy.Present:
		return "AWS knows it: the request is decided again"
	case policy.Absent:
		return "AWS knows no agreement of it: the request is decided again"
	default:
		return "AWS did not answer in time: the request is decided again"
	}
}

// answered is a snapshot with what look-ups of one subject said, by product.
type answered struct {
	*Snapshot
	who   policy.Subject
	known map[string]policy.Knowledge
}

var _ policy.View = answered{}

// Find answers for the subject that was looked up; it is never unknown again, or the
// request would be looked up without end.
func (a answered) Find(who policy.Subject, product string) (*policy.Holding, policy.Knowledge) {
	h, known := a.Snapshot.Find(who, product)
	said, asked := a.known[product]
	switch {
	case known != policy.Unknown || who != a.who || !asked:
		return h, known
	case said == policy.Absent:
		return nil, policy.Absent
	default:
		return nil, policy.Unanswered
	}
}

// fault is the decision after a panic; where it was is logged at most once a second.
func (g *Gate) fault(r *policy.Request, cause any) policy.Decision {
	if second := time.Now().Unix(); g.lastPanic.Swap(second) != second {
		g.log.Error("decision panicked", "cause", fmt.Sprintf("%T", cause), "stack", string(debug.Stack()))
	}
	return g.policy.Fault(r)
}
