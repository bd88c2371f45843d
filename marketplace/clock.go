package marketplace

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// looks is how many observations in a row must agree (BILLING B18): two wrong
	// answers, of a proxy for one, move nothing.
	looks = 3
	// agreement is how far offsets that agree may lie apart.
	agreement = 5 * time.Second
	// slack is how far the adopted offset may be off before another takes its place. Date
	// has whole seconds, so an observation is off by up to half a second and what the
	// answer's way took; less than this would let the offset flap.
	slack = 1500 * time.Millisecond
	// halfSecond is what Date cuts off on average.
	halfSecond = 500 * time.Millisecond
	// longestWay bounds what the way of an answer is taken to be. A slow answer was long in
	// the making, and its Date was written at the end.
	longestWay = time.Second
	// warnOffset is the offset that people should know of (BILLING B18).
	warnOffset = time.Minute
	// lookTimeout bounds one look.
	lookTimeout = 5 * time.Second
	// settlePause is the time between looks while the first offset is found.
	settlePause = 100 * time.Millisecond
)

// Clock tells AWS's time: the local monotonic clock plus the offset seen in the Date
// header of AWS's answers (BILLING B18). A step of the local wall clock moves nothing.
type Clock struct {
	start  time.Time    // wall and monotonic reading, where both began
	offset atomic.Int64 // adopted: AWS's time less local time, in nanoseconds

	log  *slog.Logger
	look func(context.Context) error // asks AWS for an answer; the answer's Date comes by observe
	// quiet is how long no answer may come before look is called.
	quiet time.Duration

	mu     sync.Mutex
	recent [looks]time.Duration // the last observed offsets
	seen   int                  // how many of them there are
	last   time.Time            // local time of the last observation or look
	heard  time.Time            // local time of the last observation
}

// newClock makes a clock without offset that never looks.
func newClock(log *slog.Logger, reg prometheus.Registerer) (*Clock, error) {
	c := &Clock{start: time.Now(), log: log}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_clock_offset_seconds",
		Help: "AWS's time less local time, as adopted.",
	}, func() float64 { return c.Offset().Seconds() })
	return c, reg.Register(gauge)
}

// Now is AWS's time, in UTC.
func (c *Clock) Now() time.Time { return c.local().Add(c.Offset()) }

// Offset is AWS's time less local time, as adopted.
func (c *Clock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// local is the local time without the steps of the wall clock. The monotonic
// reading is left out, so that times of before and after a new offset compare by value.
func (c *Clock) local() time.Time {
	return c.start.Add(time.Since(c.start)).Round(0).UTC()
}

// Settle looks until an offset is known, or ctx ends. Call it before time matters: an
// hour that is chosen with a wrong clock stays wrong.
func (c *Clock) Settle(ctx context.Context) error {
	for !c.settled() {
		c.ask(ctx)
		if c.settled() {
			return nil
		}
		if err := sleep(ctx, settlePause); err != nil {
			return err
		}
	}
	return nil
}

// Run looks whenever no answer came for long, until ctx ends.
func (c *Clock) Run(ctx context.Context) error {
	for sleep(ctx, c.due()) == nil {
		if c.due() <= 0 {
			c.ask(ctx)
		}
	}
	return nil
}

// ask looks once. No answer is no mistake: the last offset holds.
func (c *Clock) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err := c.look(ctx)
	c.mu.Lock()
	c.last = c.local()
	c.mu.Unlock()
	if err != nil {
		c.log.Debug("no time from AWS", "error", err)
	}
}

// due is how long it takes until the next look.
func (c *Clock) due() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.IsZero() {
		return 0
	}
	return c.last.Add(c.quiet).Sub(c.local())
}

// settled tells whether the last observations agree.
func (c *Clock) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agree()
}

// observe takes the Date of one answer, that arrived at the local time received, the
// given time after its request.
func (c *Clock) observe(date, received time.Time, took time.Duration) {
	written := received.Add(-min(took, longestWay) / 2)
	observed := date.Add(halfSecond).Sub(written)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.local()
	c.heard = c.last
	copy(c.recent[:], c.recent[1:])
	c.recent[looks-1] = observed
	c.seen = min(c.seen+1, looks)
	if c.agree() && (observed-c.Offset()).Abs() >= slack {
		c.adopt(observed)
	}
}

// silent is how long AWS has not answered; false: it never did.
func (c *Clock) silent() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local().Sub(c.heard), !c.heard.IsZero()
}

// agree tells whether there are enough observations, close together.
func (c *Clock) agree() bool {
	lowest, highest := c.recent[0], c.recent[0]
	for _, o := range c.recent {
		lowest, highest = min(lowest, o), max(highest, o)
	}
	return c.seen == looks && highest-lowest <= agreement
}

// adopt makes an offset the clock's own, and tells people once when it is large.
func (c *Clock) adopt(offset time.Duration) {
	before := c.Offset()
	c.offset.Store(int64(offset))
	if offset.Abs() > warnOffset && (offset-before).Abs() > agreement {
		c.log.Warn("local clock differs from that of AWS; AWS's counts", "offset", offset.String())
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
