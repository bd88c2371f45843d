package proxy

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

// Tokens tie the entry that the access log will have of a request to its check.
type Tokens interface {
	// AppendToken appends the token of what was counted or held for a request of a route.
	AppendToken(dst []byte, r *policy.Receipt, route string) []byte
	// Abandon undoes it: the caller never got the answer. ID is the request's.
	Abandon(id string, r *policy.Receipt)
}

// authorization is Envoy's external authorization service.
type authorization struct {
	decider        Decider
	tokens         Tokens
	pulse          *pulse
	drain          *drain
	record         *recorder
	log            *slog.Logger
	now            func() time.Time
	trustRequestID bool
	checks         sync.Pool // of *check
	spoofed        prometheus.Counter
}

// newSpoofed counts what weir repairs where it is asked, and nobody does where Envoy does not ask it.
func newSpoofed(reg prometheus.Registerer) prometheus.Counter {
	return promauto.With(reg).NewCounter(prometheus.CounterOpts{
		Name: "weir_spoofed_checks_total", Help: "Checks that carried x-weir-* headers of the client's, which Envoy should have removed; weir did.",
	})
}

var _ wire.Checker = (*authorization)(nil)

// AppendAnswer answers one check. A caller who has gone away gets an error, whatever was
// decided; the decision is on record all the same, and what it counted or held is not.
// The check's strings are views into msg: whoever is called from here clones what he keeps.
func (a *authorization) AppendAnswer(ctx context.Context, msg, dst []byte) (out []byte, err error) {
	if ctx.Err() != nil {
		return nil, goneAway()
	}
	if !a.drain.enter() {
		return nil, status.Error(codes.Unavailable, "weir is ending")
	}
	c := a.take()
	defer a.giveBack(c)
	d := &c.decision
	if c.read(msg, a.trustRequestID) {
		*d = a.decide(ctx, &c.Request)
	}
	if len(c.spoofed) > 0 {
		a.spoofed.Inc()
	}
	defer func() {
		if out == nil || !d.Allowed() { // a panic on the way to an answer included
			a.abandon(c, d)
		}
	}()
	a.record.decided(c.Method, d)
	a.tie(c, d)
	if ctx.Err() != nil {
		return nil, goneAway()
	}
	return c.answer(d, a.now()).Append(dst), nil
}

// take takes a check that is used again.
func (a *authorization) take() *check {
	if c, ok := a.checks.Get().(*check); ok {
		return c
	}
	return new(check)
}

// giveBack forgets the check.
func (a *authorization) giveBack(c *check) {
	c.reset()
	a.checks.Put(c)
}

// tie makes the token of a request that is let through and was counted or is held.
func (a *authorization) tie(c *check, d *policy.Decision) {
	if r := &d.Quota.Receipt; d.Allowed() && r.Kind != policy.NoReceipt {
		c.room = a.tokens.AppendToken(c.room[:0], r, d.Route)
		c.token = string(c.room)
		if r.Kind != policy.Counted {
			a.pulse.checked()
		}
	}
}

func (a *authorization) abandon(c *check, d *policy.Decision) {
	if r := &d.Quota.Receipt; r.Kind != policy.NoReceipt {
		a.tokens.Abandon(c.ID, r)
	}
}

// decide asks the Decider; its panic is a fault, which denies.
func (a *authorization) decide(ctx context.Context, r *policy.Request) (d policy.Decision) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("decision panicked", "panic", p, "stack", string(debug.Stack()))
			d = policy.Decision{}
		}
	}()
	return a.decider.Decide(ctx, r)
}

func goneAway() error {
	return status.Error(codes.Unavailable, "the caller went away before the answer")
}
