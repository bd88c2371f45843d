package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/policy"
)

// target is what one read reads: a license, or all that a buyer holds of a product.
type target struct {
	product string
	subject policy.Subject
}

// reads makes sure that each target is read once at a time. Whoever needs a read
// that begins from now on waits for a further one, all of them for the same. A look-up
// is beside that: the read that a notification caused may wait long for its turn in a
// burst of them, and a request can't.
type reads struct {
	mu      sync.Mutex
	running map[target]*call
	waiting map[target]*call
	lookUps map[target]*call
}

// call is one read and all who wait for it. No caller's context ends it.
type call struct {
	target  target
	lookUp  bool        // a request waits for it
	named   atomic.Bool // a notification named the target: that nothing is found must not be remembered
	done    chan struct{}
	changed bool
	found   int // how many licenses the read showed
	err     error
}

// Bounds of one read.
const (
	readTimeout = 30 * time.Second // AWS answers within a second; the rest is for its quota and retries
	maxHeld     = 10_000           // licenses of one buyer (AWS: 100 active agreements per resource and account)
)

// errIdle is what a read gets when there is no Run to do it.
var errIdle = errors.New("the cache does not run")

func (r *reads) init() {
	r.running, r.waiting, r.lookUps = map[target]*call{}, map[target]*call{}, map[target]*call{}
}

// joinOrLookUp joins the look-up of the target that there is, or starts one if allow says
// so; else it joins a read of it; nil where there is none.
func (c *Cache) joinOrLookUp(t target, allow func() bool) (*call, error) {
	c.reads.mu.Lock()
	defer c.reads.mu.Unlock()
	if same, ok := c.reads.lookUps[t]; ok {
		return same, nil
	}
	running := c.reads.running[t]
	if !allow() {
		return running, nil
	}
	made := newCall(t, running != nil && running.named.Load())
	made.lookUp = true
	started := c.crew.run(func(ctx context.Context) {
		c.perform(ctx, made)
		c.reads.mu.Lock()
		defer c.reads.mu.Unlock()
		delete(c.reads.lookUps, t)
		close(made.done)
	})
	if !started {
		return nil, errIdle
	}
	c.reads.lookUps[t] = made
	return made, nil
}

// readFrom reads the target by a read that begins from now on.
func (c *Cache) readFrom(t target, named bool) (*call, error) {
	c.reads.mu.Lock()
	defer c.reads.mu.Unlock()
	if w, ok := c.reads.waiting[t]; ok {
		return w, nil
	}
	if _, busy := c.reads.running[t]; busy {
		w := newCall(t, named)
		c.reads.waiting[t] = w
		return w, nil
	}
	return c.startRead(newCall(t, named))
}

func newCall(t target, named bool) *call {
	made := &call{target: t, done: make(chan struct{})}
	made.named.Store(named)
	return made
}

// startRead starts a read of a target that none is running of. The caller holds reads.mu.
func (c *Cache) startRead(first *call) (*call, error) {
	started := c.crew.run(func(ctx context.Context) {
		for next := first; next != nil; next = c.finishRead(next) {
			c.perform(ctx, next)
		}
	})
	if !started {
		return nil, errIdle
	}
	c.reads.running[first.target] = first
	return first, nil
}

// finishRead tells those who wait, and says which read of the target comes next.
func (c *Cache) finishRead(done *call) (next *call) {
	c.reads.mu.Lock()
	defer c.reads.mu.Unlock()
	if next = c.reads.waiting[done.target]; next != nil {
		delete(c.reads.waiting, done.target)
		c.reads.running[done.target] = next
	} else {
		delete(c.reads.running, done.target)
	}
	close(done.done)
	return next
}

// perform reads a target and believes what the rules let it believe.
func (c *Cache) perform(ctx context.Context, do *call) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if do.lookUp {
		ctx = ForLookUp(ctx)
	}
	r := c.begin(do.target)
	r.found, do.err = c.fetch(ctx, do.target)
	r.complete, do.found = do.err == nil, len(r.found)
	do.changed = c.apply(r) > 0
	if _, known := c.Snapshot().Find(do.target.subject, do.target.product); r.complete && known == policy.Unknown && !do.named.Load() {
		c.negatives.put(do.target, c.in(negativeFor))
	}
}

// lookUpKey is where the context of a read says that a request waits for it.
type lookUpKey struct{}

// ForLookUp is the context of a read that is a look-up.
func ForLookUp(ctx context.Context) context.Context { return context.WithValue(ctx, lookUpKey{}, true) }

// IsLookUp tells a Source that a read is a look-up: a request of a subject that memory does not hold waits for
// it, and at most a quarter of what AWS allows is for such.
func IsLookUp(ctx context.Context) bool { return ctx.Value(lookUpKey{}) != nil }

// fetch asks the source. What came before an error is given too.
func (c *Cache) fetch(ctx context.Context, t target) ([]policy.License, error) {
	source := c.sources[t.product]
	if t.subject.Kind == policy.SubjectLicense {
		l, err := source.License(ctx, policy.Key(t.subject.ID))
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("read license %s: %w", t.subject.ID, err)
		default:
			return []policy.License{l}, nil
		}
	}
	var found []policy.License
	for l, err := range source.Licenses(ctx, t.subject) {
		if err != nil {
			return found, fmt.Errorf("read %s %s: %w", t.subject.Kind, t.subject.ID, err)
		}
		if len(found) == maxHeld {
			return found, fmt.Errorf("read %s %s: more than %d licenses", t.subject.Kind, t.subject.ID, maxHeld)
		}
		found = append(found, l)
	}
	return found, nil
}

// wait waits for a read, but no longer than the caller's context.
func (w *call) wait(ctx context.Context) (changed bool, err error) {
	select {
	case <-w.done:
		return w.changed, w.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// name notes on reads under way that a notification named their target.
func (c *Cache) name(t target) {
	c.reads.mu.Lock()
	defer c.reads.mu.Unlock()
	for _, under := range []map[target]*call{c.reads.running, c.reads.waiting, c.reads.lookUps} {
		if read, ok := under[t]; ok {
			read.named.Store(true)
		}
	}
}
