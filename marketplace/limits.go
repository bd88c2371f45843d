package marketplace

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"github.com/weirhq/weir/cache"
)

// AWS's quotas, in calls a second for the whole account (AWS: Marketplace Entitlement
// Service quotas; Marketplace Metering Service quotas, per region; Marketplace Agreement Service quotas).
const (
	readsPerSecond    = 20 // GetEntitlements
	batchesPerSecond  = 10 // BatchMeterUsage
	searchesPerSecond = 5  // SearchAgreements
)

// Limits keeps weir within AWS's quotas. One Limits serves the whole account.
//
// Look-ups of strangers have a lane of their own, a quarter of what the API allows, so that a burst of
// notifications does not keep them waiting; the cache makes no more of them than fit into it. Of the rest sweeps take
// what nobody else waits for, and at most half. In no second
// do the lanes together let more through than AWS allows.
type Limits struct {
	reads    lanes
	searches lanes
	batches  *rate.Limiter
}

// lanes divide what one API allows among those who ask it.
type lanes struct {
	lookups *window
	rest    *turns
	sweeps  *rate.Limiter // of the rest
}

// newLanes divides so many calls a second. In the rest, turns lie as far apart as makes one less than its share
// and a turn at both ends of a second the whole of it.
func newLanes(perSecond int) lanes {
	lookups := perSecond / 4
	rest := perSecond - lookups - 1
	return lanes{
		&window{taken: make([]time.Time, lookups)}, &turns{apart: time.Second / time.Duration(rest)}, rate.NewLimiter(rate.Limit(rest)/2, 1),
	}
}

// NewLimits makes the limits of one AWS account.
func NewLimits() *Limits {
	return &Limits{
		reads: newLanes(readsPerSecond), searches: newLanes(searchesPerSecond), batches: rate.NewLimiter(batchesPerSecond, 1),
	}
}

// wait waits until one call may leave, for a look-up, a sweep or anything else.
func (l lanes) wait(ctx context.Context, sweep bool) error {
	if cache.IsLookUp(ctx) {
		return l.lookups.wait(ctx)
	}
	if !sweep {
		return l.rest.wait(ctx)
	}
	if err := wait(ctx, l.sweeps); err != nil {
		return err
	}
	return l.rest.waitLast(ctx)
}

// read waits until one GetEntitlements call may leave.
func (l *Limits) read(ctx context.Context, sweep bool) error { return l.reads.wait(ctx, sweep) }

// search waits until one SearchAgreements call may leave.
func (l *Limits) search(ctx context.Context, sweep bool) error { return l.searches.wait(ctx, sweep) }

// window lets at most so many through in any second, at once where they come at once: a stranger's request
// waits for his look-up.
type window struct {
	mu    sync.Mutex
	taken []time.Time // a ring of the last turns
	next  int
}

// wait waits for a turn, in the order of calls. One that would come after ctx's deadline is not taken.
func (w *window) wait(ctx context.Context) error {
	w.mu.Lock()
	now := time.Now()
	turn := now
	if last := w.taken[w.next]; !last.IsZero() && !last.Add(time.Second).Before(now) {
		turn = last.Add(time.Second + time.Nanosecond)
	}
	if deadline, ok := ctx.Deadline(); ok && turn.After(deadline) {
		w.mu.Unlock()
		return fmt.Errorf("wait for quota: %w", context.DeadlineExceeded)
	}
	w.taken[w.next], w.next = turn, (w.next+1)%len(w.taken)
	w.mu.Unlock()
	if err := sleep(ctx, turn.Sub(now)); err != nil {
		return fmt.Errorf("wait for quota: %w", err)
	}
	return nil
}

// turns lets calls through so far apart. A sweep takes a turn only where nobody else has reserved it.
type turns struct {
	apart time.Duration

	mu   sync.Mutex
	free time.Time // the next turn that nobody has
}

// wait waits for the next turn, in the order of calls. One that would come after ctx's deadline is not taken.
func (t *turns) wait(ctx context.Context) error {
	t.mu.Lock()
	now := time.Now()
	turn := now
	if t.free.After(now) {
		turn = t.free
	}
	if deadline, ok := ctx.Deadline(); ok && turn.After(deadline) {
		t.mu.Unlock()
		return fmt.Errorf("wait for quota: %w", context.DeadlineExceeded)
	}
	t.free = turn.Add(t.apart)
	t.mu.Unlock()
	if err := sleep(ctx, turn.Sub(now)); err != nil {
		return fmt.Errorf("wait for quota: %w", err)
	}
	return nil
}

// waitLast waits for a turn that nobody has when it comes.
func (t *turns) waitLast(ctx context.Context) error {
	for {
		t.mu.Lock()
		now := time.Now()
		turn := t.free
		if !turn.After(now) {
			t.free = now.Add(t.apart)
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		if deadline, ok := ctx.Deadline(); ok && turn.After(deadline) {
			return fmt.Errorf("wait for quota: %w", context.DeadlineExceeded)
		}
		if err := sleep(ctx, turn.Sub(now)); err != nil {
			return fmt.Errorf("wait for quota: %w", err)
		}
	}
}

// batch waits until one BatchMeterUsage call may leave.
func (l *Limits) batch(ctx context.Context) error { return wait(ctx, l.batches) }

// wait waits for a turn. One that would come after ctx's deadline is not taken, so
// that it is there for others.
func wait(ctx context.Context, limiter *rate.Limiter) error {
	err := limiter.Wait(ctx)
	if err != nil && ctx.Err() == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return fmt.Errorf("wait for quota: %w", err)
	}
	return nil
}

// eachAttempt makes every attempt of a read wait for its turn, and bounds it.
func eachAttempt(turn func(context.Context) error) func(*middleware.Stack) error {
	quota := middleware.FinalizeMiddlewareFunc("weir/quota", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if err := turn(ctx); err != nil {
			return middleware.FinalizeOutput{}, middleware.Metadata{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, pageTimeout)
		defer cancel()
		return next.HandleFinalize(ctx, in)
	})
	return func(stack *middleware.Stack) error { return stack.Finalize.Insert(quota, "Retry", middleware.After) }
}
