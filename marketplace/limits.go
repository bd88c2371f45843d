package marketplace

import (
	"context"
	"fmt"

	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"
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
// Sweeps take at most half of the reads or searches a second, so a hint never queues behind one; look-ups
// of strangers are held to a quarter by the cache, which makes them. At least a quarter is
// always free for what a notification asks for.
type Limits struct {
	reads   *rate.Limiter
	sweeps  *rate.Limiter
	batches *rate.Limiter

	searches     *rate.Limiter
	searchSweeps *rate.Limiter
}

// NewLimits makes the limits of one AWS account.
func NewLimits() *Limits {
	return &Limits{
		reads:   rate.NewLimiter(readsPerSecond, 2),
		sweeps:  rate.NewLimiter(readsPerSecond/2, 1),
		batches: rate.NewLimiter(batchesPerSecond, 1),

		searches:     rate.NewLimiter(searchesPerSecond, 1),
		searchSweeps: rate.NewLimiter(searchesPerSecond/2.0, 1),
	}
}

// read waits until one GetEntitlements call may leave, for a sweep or for anything else.
func (l *Limits) read(ctx context.Context, sweep bool) error {
	if sweep {
		if err := wait(ctx, l.sweeps); err != nil {
			return err
		}
	}
	return wait(ctx, l.reads)
}

// search waits until one SearchAgreements call may leave, for a sweep or for anything else.
func (l *Limits) search(ctx context.Context, sweep bool) error {
	if sweep {
		if err := wait(ctx, l.searchSweeps); err != nil {
			return err
		}
	}
	return wait(ctx, l.searches)
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
