package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weirhq/weir/policy"
)

// followUp is a read that will be made later.
type followUp struct {
	target
	why     why
	told    []toldEnd // by its hints
	at      due
	after   []due         // the reads after this one, as long as none shows a change
	pause   time.Duration // since the last failure; 0: none
	running bool
}

// why tells what a follow-up is made for: a target has at most one of each.
type why uint8

const (
	whyHint   why = iota // the read after a hint showed no change
	whyAbsent            // a license was not shown
	whyExpiry            // an entitlement's date has passed
)

// Rules of follow-ups.
const (
	// confirmation is how long after an expiry a read has to begin to tell that AWS has not renewed.
	confirmation = 5 * time.Minute
	// expiryJitter spreads the reads of licenses that expire at the same instant.
	expiryJitter = 2 * time.Second
	// maxFollowing bounds memory; what finds no place is left to a sweep.
	maxFollowing = 10_000
	// followingAtOnce is how many are read at once, so that many of them leave AWS's quota to hints.
	followingAtOnce = 4
)

// hintSteps are when a target is read again after a hint whose read showed no change.
func (c *Cache) hintSteps() []due {
	return []due{c.in(2 * time.Second), c.in(10 * time.Second), c.in(time.Minute)}
}

// following are the follow-ups that wait or run.
type following struct {
	mu    sync.Mutex
	all   map[followKey]*followUp
	slots chan struct{}
}

type followKey struct {
	target
	why why
}

func (f *following) init() {
	f.all, f.slots = map[followKey]*followUp{}, make(chan struct{}, followingAtOnce)
}

// follow has a target read at the given instant. A later call for the same replaces
// the earlier, except that an expiry is followed once.
func (c *Cache) follow(f followUp, at due) {
	f.at = at
	key := followKey{f.target, f.why}
	c.following.mu.Lock()
	defer c.following.mu.Unlock()
	present, ok := c.following.all[key]
	switch {
	case ok && f.why == whyExpiry:
		return
	case !ok && len(c.following.all) >= maxFollowing:
		if f.why == whyHint { // what else there is, the next sweep finds again
			c.askSweep(f.product)
		}
		return
	case ok:
		f.told = append(present.told, f.told...)
	}
	c.following.all[key] = &f
}

// followDue starts the follow-ups whose time has come, as many as there are slots.
func (c *Cache) followDue() {
	aws, local := c.now(), time.Now()
	c.following.mu.Lock()
	defer c.following.mu.Unlock()
	for _, f := range c.following.all {
		if f.running || !f.at.passed(aws, local) {
			continue
		}
		select {
		case c.following.slots <- struct{}{}:
		default:
			return
		}
		f.running = c.crew.run(func(ctx context.Context) {
			defer func() { <-c.following.slots }()
			c.followNow(ctx, f)
		})
		if !f.running {
			<-c.following.slots
		}
	}
}

// followNow makes one follow-up's read and decides what follows it.
func (c *Cache) followNow(ctx context.Context, f *followUp) {
	changed, err := c.readAndWait(ctx, f.target)
	if over := c.followOn(f, changed, err); over {
		c.untell(f.told...)
	}
}

// followOn says when the next read is, and whether there is none.
func (c *Cache) followOn(f *followUp, changed bool, err error) (over bool) {
	c.following.mu.Lock()
	defer c.following.mu.Unlock()
	f.running = false
	key := followKey{f.target, f.why}
	switch {
	case c.following.all[key] != f:
		return false // a later one took its place
	case err != nil:
		f.pause = min(max(2*f.pause, minBackOff), c.maxBackOff)
		f.at = c.in(jitter(f.pause))
		return false
	case !changed && len(f.after) > 0:
		f.at, f.after, f.pause = f.after[0], f.after[1:], 0
		return false
	default:
		delete(c.following.all, key)
		return true
	}
}

func (c *Cache) readAndWait(ctx context.Context, t target) (changed bool, err error) {
	read, err := c.readFrom(t, true)
	if err != nil {
		return false, err
	}
	return read.wait(ctx)
}

// watchExpiry has a license read again at the expiry of an entitlement and once more
// when a read can tell that AWS did not renew. The caller holds mu.
func (c *Cache) watchExpiry(l *policy.License, confirmed, now time.Time) {
	expired := lapsed(l, confirmed, now)
	if expired.IsZero() || c.sources[l.Product] == nil {
		return
	}
	f := followUp{target: target{l.Product, policy.Subject{Kind: policy.SubjectLicense, ID: string(l.Key)}}, why: whyExpiry}
	if again := expired.Add(confirmation).Sub(now); again > 0 {
		f.after = []due{c.in(again + jitter(expiryJitter))}
	}
	c.follow(f, c.in(jitter(expiryJitter)))
}

// lapsed is the latest expiry that has passed and that no read begun long enough
// after has confirmed; zero: none.
func lapsed(l *policy.License, confirmed, now time.Time) (expired time.Time) {
	if !l.Ended.IsZero() {
		return time.Time{}
	}
	read := latest(l.Read, confirmed)
	for i := range l.Entitlements {
		at := l.Entitlements[i].Expires
		if !at.IsZero() && !now.Before(at) && read.Before(at.Add(confirmation)) {
			expired = latest(expired, at)
		}
	}
	return expired
}

// jitter is a random part of a duration, at least half of it.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
