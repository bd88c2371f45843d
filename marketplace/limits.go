package marketplace

import (
	"context"

	"golang.org/x/time/rate"
)

// AWS's quotas, in calls a second for the whole account (AWS: Marketplace Entitlement
// Service quotas; Marketplace Metering Service quotas, per region).
const (
	readsPerSecond   = 20 // GetEntitlements
	batchesPerSecond = 10 // BatchMeterUsage
)

// Limits keeps weir within AWS's quotas. One Limits serves the whole account.
//
// Of the 20 reads a second, sweeps take at most half and look-ups at most a quarter.
// So at least a quarter is always free for what a notification asks for, and a hint
// never queues behind a sweep.
type Limits struct {
	reads   *rate.Limiter
	sweeps  *rate.Limiter
	lookUps *rate.Limiter
	batches *rate.Limiter
}

// NewLimits makes the limits of one AWS account.
func NewLimits() *Limits {
	return &Limits{
		reads:   rate.NewLimiter(readsPerSecond, 2),
		sweeps:  rate.NewLimiter(readsPerSecond/2, 1),
		lookUps: rate.NewLimiter(readsPerSecond/4, 2), // 2: two strangers at once need not wait for each other
		batches: rate.NewLimiter(batchesPerSecond, 1),
	}
}

// purpose is why entitlements are read.
type purpose uint8

const (
	forHint purpose = iota // a notification, or what follows from one
	forSweep
	forLookUp
)

// read waits until one GetEntitlements call may leave.
func (l *Limits) read(ctx context.Context, p purpose) error {
	var own *rate.Limiter
	switch p {
	case forSweep:
		own = l.sweeps
	case forLookUp:
		own = l.lookUps
	default:
		return l.reads.Wait(ctx)
	}
	if err := own.Wait(ctx); err != nil {
		return err
	}
	return l.reads.Wait(ctx)
}

// batch waits until one BatchMeterUsage call may leave.
func (l *Limits) batch(ctx context.Context) error { return l.batches.Wait(ctx) }
