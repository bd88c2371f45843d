package proxy

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// drainTimeout bounds how long checks under way are waited for at the end, and, after
	// the last one, the access log's entries (BILLING B04): Envoy holds entries back for its
	// buffer_flush_interval.
	drainTimeout = 5 * time.Second
	// drainLook is how often it is looked whether all entries are there.
	drainLook = 10 * time.Millisecond
)

// drain is the way to the end: first health says so while checks are still answered, then
// checks are refused, then access log streams end.
type drain struct {
	began    chan struct{} // closed once health is NOT_SERVING
	over     chan struct{} // closed when no entry is waited for any more
	refusing atomic.Bool
	last     atomic.Int64 // when the last check came, in Unix nanoseconds
}

func newDrain() *drain {
	return &drain{began: make(chan struct{}), over: make(chan struct{})}
}

// enter tells whether a check may still be answered.
func (d *drain) enter() bool {
	if d.refusing.Load() {
		return false
	}
	d.last.Store(time.Now().UnixNano())
	return true
}

// run waits until ctx is done, and then until no check waits for its entry: while some do,
// checks go on being answered for drainTimeout, and no longer than that after the last one
// are entries taken. What is left stays pending in the ledger.
func (d *drain) run(ctx context.Context, pending func() int64) {
	<-ctx.Done()
	close(d.began)
	end := time.Now().Add(drainTimeout)
	await(pending, func() time.Time { return earlier(end, d.lastCheck().Add(drainTimeout)) })
	d.refusing.Store(true)
	await(pending, func() time.Time { return d.lastCheck().Add(drainTimeout) })
	close(d.over)
}

func (d *drain) lastCheck() time.Time { return time.Unix(0, d.last.Load()) }

// await waits until nothing is pending, at most until the end, which may move.
func await(pending func() int64, end func() time.Time) {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for pending() > 0 && time.Now().Before(end()) {
		<-tick.C
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
