package cache

import (
	"context"
	"time"

	"github.com/weirhq/weir/policy"
)

// Rules of the disk copy.
const (
	copyEvery = time.Second // at most this often
	copyShare = 20          // and at most this part of the time is spent on writing
)

// restore puts what the disk copy holds into memory: of products that are still
// configured, with the same product code.
func (c *Cache) restore(e *edit, from copied) {
	products := map[string]sweepState{}
	for _, p := range from.products {
		if now, ok := c.products[p.name]; ok && now.Code == p.code {
			products[p.name] = sweepState{confirmed: p.confirmed}
		}
	}
	e.products = products
	for _, l := range from.licenses {
		if _, ok := products[l.license.Product]; ok && l.license.Direct == "" {
			e.put(&record{license: l.license, changed: l.changed})
		}
	}
}

// directs are when the licenses of direct customers began.
func (c copied) directs() map[policy.Key]time.Time {
	starts := map[policy.Key]time.Time{}
	for _, l := range c.licenses {
		if l.license.Direct != "" {
			starts[l.license.Key] = l.license.Starts
		}
	}
	return starts
}

// keepCopied writes the copy after changes.
func (c *Cache) keepCopied(ctx context.Context) {
	var failing bool
	pause := copyEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		err := c.save()
		pause = max(copyEvery, copyShare*time.Since(began))
		switch {
		case err != nil && !failing:
			c.log.Error("entitlement copy can't be written", "error", err.Error())
		case err == nil && failing:
			c.log.Info("entitlement copy can be written again")
		}
		failing = err != nil
	}
}

// save writes the copy if there is anything to write. Only Run's goroutines call it,
// one at a time.
func (c *Cache) save() error {
	s := c.Snapshot()
	if s == c.saved {
		return nil
	}
	if err := c.disk.store(encode(c.copyOf(s))); err != nil {
		return err
	}
	c.saved = s
	return nil
}

func (c *Cache) copyOf(s *Snapshot) copied {
	var made copied
	for name, state := range s.products {
		made.products = append(made.products, copiedProduct{name, c.products[name].Code, state.confirmed})
	}
	made.licenses = make([]copiedLicense, 0, s.licenses.len())
	for _, r := range s.licenses.all() {
		made.licenses = append(made.licenses, copiedLicense{r.license, r.changed})
	}
	return made
}
