package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/weirhq/weir/policy"
)

// Rules of sweeps.
const (
	sweepBatch = 256         // licenses applied at a time: a hint waits for no more
	minBackOff = time.Second // pause after the first failure
)

// keepSwept sweeps one product: at once, then as often as the configuration says, or
// when asked. It runs beside everything else: nothing waits for it.
func (c *Cache) keepSwept(ctx context.Context, product string) {
	var failing error
	pause := time.Duration(0)
	for {
		err := c.sweep(ctx, product)
		if ctx.Err() != nil {
			return
		}
		c.logSweep(product, failing, err)
		failing = err
		next := c.in(c.sweepEvery)
		if err != nil {
			c.metrics.failures.WithLabelValues(product).Inc()
			pause = min(max(2*pause, minBackOff), c.maxBackOff)
			next = due{aws: next.aws, local: time.Now().Add(jitter(pause))}
		} else {
			pause = 0
		}
		if !c.await(ctx, next, c.asked[product], err != nil) {
			return
		}
	}
}

// logSweep says once that sweeps fail, and once that they work again.
func (c *Cache) logSweep(product string, before, now error) {
	switch {
	case now != nil && before == nil:
		c.log.Warn("entitlements can't be read", "product", product, "error", now.Error())
	case now == nil && before != nil:
		c.log.Info("entitlements can be read again", "product", product)
	}
}

// await waits for an instant, or until asked; false when the context ended. While
// sweeps fail nobody can hurry them.
func (c *Cache) await(ctx context.Context, at due, asked <-chan struct{}, failing bool) bool {
	if failing {
		asked = nil
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-asked:
			return true
		case <-ticker.C:
			if at.passed(c.now(), time.Now()) {
				return true
			}
		}
	}
}

// askSweep asks for one sweep of the product, soon.
func (c *Cache) askSweep(product string) {
	select {
	case c.asked[product] <- struct{}{}:
	default: // one is asked for already
	}
}

// sweep reads everything that the product's buyers hold. Only a complete read says
// anything about what it did not show.
func (c *Cache) sweep(ctx context.Context, product string) error {
	r := c.begin(target{product: product})
	seen := map[policy.Key]struct{}{}
	lost := !c.Snapshot().Confirmed(product).IsZero() // what a later sweep changes, no notification told of
	flush := func() {
		if n := c.apply(r); lost {
			c.metrics.repairs.WithLabelValues(product).Add(float64(n))
		}
		r.found = r.found[:0]
	}
	for l, err := range c.sources[product].Licenses(ctx, policy.Subject{}) {
		if err != nil {
			flush()
			return fmt.Errorf("sweep product %s: %w", product, err)
		}
		seen[l.Key] = struct{}{}
		if r.found = append(r.found, l); len(r.found) == sweepBatch {
			flush()
		}
	}
	flush()
	for _, l := range c.finishSweep(r, seen) {
		c.follow(followUp{target: target{product, policy.Subject{Kind: policy.SubjectLicense, ID: string(l.Key)}}, why: whyAbsent}, c.in(0))
	}
	return nil
}

// finishSweep dates a complete sweep and gives the licenses that it should have shown
// and did not. What ended long ago is forgotten.
func (c *Cache) finishSweep(r *reading, seen map[policy.Key]struct{}) (missing []*policy.License) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, before := c.edit(), c.snapshot.Load()
	e.products = before.withProduct(r.product, sweepState{confirmed: r.began, number: r.number})
	for _, present := range before.licenses.all() {
		l := present.license
		if l.Product != r.product || l.Direct != "" {
			continue
		}
		_, shown := seen[l.Key]
		switch {
		case !l.Ended.IsZero():
			if r.began.Sub(l.Ended) > rememberEnded {
				e.remove(l)
			}
			continue
		case !shown && present.behind <= r.number:
			c.miss(l, before.Confirmed(r.product))
			missing = append(missing, l)
		}
		if !lapsed(l, before.Confirmed(r.product), c.now()).IsZero() {
			e.renew(present) // the sweep's date may tell that it was not renewed
		}
	}
	c.moveLost(e, r)
	c.publish(e)
	return missing
}

// miss notes that a sweep did not show a license, and when it was last shown.
func (c *Cache) miss(l *policy.License, confirmed time.Time) {
	if _, ok := c.absent[l.Key]; !ok {
		c.absent[l.Key] = absence{shown: latest(l.Read, confirmed), swept: true}
	}
}
