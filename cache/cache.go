package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/pace"
	"github.com/weirhq/weir/policy"
)

// Options are the parts of the configuration that a Cache follows.
type Options struct {
	// Updates is the section updates; the cache uses Sweep of it.
	Updates Updates
	// Policy is what the Policy was compiled from: its products, tenants and failure.stale.after.
	Policy policy.Config
	// BackOff is the longest pause after a read that failed; 0: a minute.
	BackOff time.Duration
	// Term says when the present term of a license began as far as its usage tells; zero: it tells
	// nothing. A license of which AWS gives no start, and the copy on disk is lost, goes on with its
	// term. nil: nothing is known.
	Term func(policy.Key) time.Time
}

// Cache holds what buyers hold and keeps it true while Run runs.
type Cache struct {
	policy     *policy.Policy
	products   map[string]policy.Product
	sources    map[string]Source
	counter    func(*policy.License) policy.Counter
	term       func(policy.Key) time.Time
	now        func() time.Time // AWS time
	log        *slog.Logger
	sweepEvery time.Duration
	staleAfter time.Duration
	maxBackOff time.Duration
	fixed      map[string]policy.Tenant // the tenants of the configuration
	plans      map[string]policy.Plan   // its plans

	snapshot atomic.Pointer[Snapshot]
	number   atomic.Uint64 // of the read that began last

	mu       sync.Mutex // serialises writers of snapshot and guards what follows
	absent   map[policy.Key]absence
	told     map[policy.Key]time.Time // ends that events told and no read has agreed with yet, with the event's time
	lost     map[policy.Key]time.Time // pinned licenses that the copy did not hold, with the first read that did not show them
	expiries expiries
	file     *tenantFile
	// unwritten are tenants whose pins moved and that the file does not know of yet.
	unwritten map[string]struct{}

	ties sync.Mutex // serialises Tie and Untie; taken before mu

	crew      crew
	reads     reads
	following following
	negatives *negatives
	quotas    map[string]*pace.Window // of look-ups, by product
	asked     map[string]chan struct{}
	disk      *disk
	saved     *Snapshot // what the disk copy holds; only save uses it
	metrics   *metrics
}

// look is how often what waits looks at the clocks: AWS time may jump, so that no
// single timer would do.
const look = 200 * time.Millisecond

// stepBack is the least step back of AWS time for which what lapsed is worked out
// again: less is the play of the offset, since AWS's dates have whole seconds.
const stepBack = 10 * time.Second

// New makes a Cache that holds what the disk copy in dir says, if there is a whole
// one, the tenants that were tied at run time, and those of the configuration. Sources are by product;
// nothing is read for a product without one, and nothing is concluded about it.
// Counter finds where a license's usage is counted; now is AWS time. Close
// releases it.
func New(o Options, p *policy.Policy, sources map[string]Source, dir string, counter func(*policy.License) policy.Counter,
	now func() time.Time, log *slog.Logger, reg prometheus.Registerer,
) (*Cache, error) {
	c := &Cache{
		policy: p, products: o.Policy.Products, sources: sources, counter: counter, now: now, log: log,
		sweepEvery: o.Updates.Sweep, staleAfter: o.Policy.Failure.Stale.After, maxBackOff: o.BackOff,
		absent: map[policy.Key]absence{}, told: map[policy.Key]time.Time{},
		lost:  map[policy.Key]time.Time{},
		asked: map[string]chan struct{}{}, disk: newDisk(dir, osFiles{}, log),
		fixed: o.Policy.Tenants, plans: o.Policy.Plans, unwritten: map[string]struct{}{},
	}
	if c.term = o.Term; c.term == nil {
		c.term = func(policy.Key) time.Time { return time.Time{} }
	}
	if c.maxBackOff <= 0 {
		c.maxBackOff = time.Minute
	}
	for product := range sources {
		c.asked[product] = make(chan struct{}, 1)
	}
	c.crew.opened = make(chan struct{})
	c.quotas = lookupQuotas(o.Policy.Products)
	c.reads.init()
	c.following.init()
	var registered []stored
	var err error
	if c.file, registered, err = openTenants(dir, now(), log); err != nil {
		return nil, err
	}
	if c.negatives, err = newNegatives(); err != nil {
		c.file.close()
		return nil, fmt.Errorf("make negative entries: %w", err)
	}
	if c.metrics, err = newMetrics(c, reg); err != nil {
		c.Close()
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	c.start(registered)
	return c, nil
}

// start makes the first snapshot: the disk copy, the tenants of the configuration, and
// of those that were registered the ones that it does not name.
func (c *Cache) start(registered []stored) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot.Store(newSnapshot())
	e := c.edit()
	copied := c.disk.load(c.now())
	c.restore(e, copied)
	now := c.now()
	tieFixed(e, c.fixed, copied.directs(), now)
	for _, t := range registered {
		if _, fixed := c.fixed[t.id]; !fixed {
			e.tie(t.id, t.tied, now)
		}
	}
	c.loseUnheld(e)
	c.publish(e)
}

// Close releases what New took. Run has returned before, or never ran.
func (c *Cache) Close() {
	c.negatives.close()
	c.file.close()
}

// Snapshot is what memory holds now.
func (c *Cache) Snapshot() *Snapshot { return c.snapshot.Load() }

// Run keeps the cache true until the context ends: it sweeps every product, reads
// again what has to be, and writes the disk copy and the pins that moved, the last time
// when it ends. The error is that of the last writes. A Cache runs once.
func (c *Cache) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	c.crew.open(ctx)
	for product := range c.sources {
		c.crew.run(func(ctx context.Context) { c.keepSwept(ctx, product) })
	}
	c.crew.run(c.keepCopied)
	c.crew.run(c.keepMoved)
	c.keepTime(ctx)
	cancel()
	c.crew.close()
	err := c.writeMoved()
	if late := c.save(); late != nil {
		err = errors.Join(err, fmt.Errorf("write entitlement copy: %w", late))
	}
	return err
}

// keepTime does what time alone asks for.
func (c *Cache) keepTime(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	highest := c.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := c.now(); highest.Sub(now) > stepBack {
			c.renewAll()
			highest = now
		} else {
			c.renewLapsed(now)
			highest = latest(highest, now)
		}
		c.followDue()
	}
}

// publish makes the edit's snapshot the present one. The caller holds mu.
func (c *Cache) publish(e *edit) {
	before, now := c.snapshot.Load(), c.now()
	next := e.finish(now)
	for key, r := range e.fresh {
		var awaited time.Time
		if old, ok := before.licenses.get(string(key)); ok {
			awaited = old.holding.Until
		}
		if until := r.holding.Until; !until.IsZero() && !until.Equal(awaited) {
			c.expiries.push(expiry{until, key})
		}
		c.watchExpiry(r.license, next.Confirmed(r.license.Product), now)
	}
	c.snapshot.Store(next)
	c.moved(e.moves)
}

// renewLapsed works out again the holdings that time changed.
func (c *Cache) renewLapsed(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var e *edit
	for key, until := range c.expiries.due(now) {
		r, ok := c.snapshot.Load().licenses.get(string(key))
		if !ok || !r.holding.Until.Equal(until) {
			continue // it was renewed, or ended, since
		}
		if e == nil {
			e = c.edit()
		}
		e.renew(r)
	}
	if e != nil {
		c.publish(e)
	}
}

// renewAll works every holding out again: AWS time went back, so what lapsed may not have.
func (c *Cache) renewAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.edit()
	for _, r := range c.snapshot.Load().licenses.all() {
		e.renew(r)
	}
	c.publish(e)
}

// due is an instant that is reached when either of the two clocks reaches it.
type due struct{ aws, local time.Time }

func (c *Cache) in(d time.Duration) due { return due{c.now().Add(d), time.Now().Add(d)} }

func (d due) passed(aws, local time.Time) bool { return !aws.Before(d.aws) || !local.Before(d.local) }

// crew owns the goroutines that work beside Run: none starts before it, and none
// outlives it.
type crew struct {
	mu     sync.Mutex
	ctx    context.Context // nil: not open
	wg     sync.WaitGroup
	opened chan struct{} // closed when it opens
}

func (w *crew) open(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx = ctx
	close(w.opened)
}

// run starts f; false when there is no Run to work beside.
func (w *crew) run(f func(context.Context)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil {
		return false
	}
	ctx := w.ctx
	w.wg.Go(func() { f(ctx) })
	return true
}

func (w *crew) close() {
	w.mu.Lock()
	w.ctx = nil
	w.mu.Unlock()
	w.wg.Wait()
}
