package marketplace

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/internal/pace"
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
	lookups *pace.Window
	rest    *turns
	sweeps  *rate.Limiter // of the rest
}

// newLanes divides so many calls a second. In the rest, turns lie as far apart as makes one less than its share
// and a turn at both ends of a second the whole of it.
func newLanes(perSecond int) lanes {
	lookups := perSecond / 4
	rest := perSecond - lookups - 1
	return lanes{
		pace.NewWindow(lookups), &turns{apart: time.Second / time.Duration(rest)}, rate.NewLimiter(rate.Limit(rest)/2, 1),
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
		return l.asLookUp(ctx)
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

// asLookUp waits for a turn in the lane of look-ups: at once where few come, since a stranger's request waits.
func (l lanes) asLookUp(ctx context.Context) error {
	now := time.Now()
	until, _ := ctx.Deadline()
	turn, ok := l.lookups.Reserve(now, until)
	if !ok {
		return tooLate()
	}
	return untilTurn(ctx, turn.Sub(now))
}

// tooLate is the error of a call whose turn would come after its deadline.
func tooLate() error { return fmt.Errorf("wait for quota: %w", context.DeadlineExceeded) }

// untilTurn waits for a turn that is taken.
func untilTurn(ctx context.Context, d time.Duration) error {
	if err := sleep(ctx, d); err != nil {
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
		return tooLate()
	}
	t.free = turn.Add(t.apart)
	t.mu.Unlock()
	return untilTurn(ctx, turn.Sub(now))
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
			return tooLate()
		}
		if err := untilTurn(ctx, turn.Sub(now)); err != nil {
			return err
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
