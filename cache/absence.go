package cache

import (
	"time"

	"github.com/weirhq/weir/policy"
)

// absence is a license that a read did not show and that has not ended yet.
type absence struct {
	shown  time.Time // when the last read that showed it began, AWS time
	once   bool      // whether a read of it, by itself, did not show it
	second due       // from when on a second read ends it; only if once
	swept  bool      // the sweep noticed it, and no notification did
}

// Rules of ends.
const (
	secondAfter   = 30 * time.Second    // between the two reads before a license has ended
	rememberEnded = 90 * 24 * time.Hour // how long buyers are told that their license ended
)

// concludeAbsent considers every license in memory that a complete read should have
// shown and did not, and tells how many ended.
func (c *Cache) concludeAbsent(e *edit, r *reading) (ended int) {
	shown := make(map[policy.Key]bool, len(r.found))
	for i := range r.found {
		shown[r.found[i].Key] = true
	}
	for _, l := range c.expected(r) {
		if !shown[l.Key] && c.conclude(e, r, l.Key) {
			ended++
		}
	}
	return ended
}

// expected are the licenses that a complete read of the reading's subject shows, as
// far as memory knows.
func (c *Cache) expected(r *reading) []*policy.License {
	s := c.snapshot.Load()
	if r.subject.Kind == policy.SubjectLicense {
		if l, ok := s.License(policy.Key(r.subject.ID)); ok && l.Product == r.product {
			return []*policy.License{l}
		}
		return nil
	}
	g, ok := s.buyer(r.subject)
	if !ok {
		return nil
	}
	var licenses []*policy.License
	for _, l := range g.licenses {
		if l.Product == r.product {
			licenses = append(licenses, l)
		}
	}
	return licenses
}

// conclude decides what it means that a read did not show a license: its end, if an
// event told of it or if an earlier read did not show it either; else a second
// read in 30 s. Only a read of all that the buyer holds ends it, so that what replaced it is seen with its
// end: after an event one is under way.
func (c *Cache) conclude(e *edit, r *reading, key policy.Key) (ended bool) {
	present, ok := e.licenses.get(string(key))
	if !ok || !e.mayEnd(present, r) {
		return false
	}
	at, told := c.told[key]
	a, missed := c.absent[key]
	if !missed {
		a.shown = latest(present.license.Read, e.products[r.product].confirmed)
	}
	buyer := c.buyerOf(present.license)
	switch whole := r.covers(buyer); {
	case whole && told:
		c.end(e, r, present, at, false)
		return true
	case whole && a.once && a.second.passed(r.began, r.local):
		c.end(e, r, present, a.shown, a.swept)
		return true
	case !a.once:
		a.once, a.second = true, c.in(secondAfter)
		c.absent[key] = a
		c.follow(followUp{target: buyer, why: whyAbsent}, a.second)
	}
	return false
}

// mayEnd tells whether a read that did not show a license says something of it.
func (e *edit) mayEnd(present *record, r *reading) bool {
	return present.license.Ended.IsZero() && present.license.Direct == "" && r.number > e.behind(present)
}

// covers tells whether the reading shows all that the buyer holds: a read of one license does only where
// AWS names nobody else.
func (r *reading) covers(buyer target) bool {
	return r.subject.Kind != policy.SubjectLicense || r.target == buyer
}

// end ends a license at the given instant (BILLING B15).
func (c *Cache) end(e *edit, r *reading, present *record, at time.Time, repaired bool) {
	next := *present.license
	next.Ended = at
	if at.IsZero() || at.After(r.began) {
		next.Ended = r.began
	}
	e.put(&record{license: &next, behind: r.number, changed: r.began})
	delete(c.absent, next.Key)
	delete(c.told, next.Key)
	if repaired {
		c.metrics.repairs.WithLabelValues(r.product).Inc()
	}
	c.log.Info("license ended", "product", r.product, "license", string(next.Key), "ended", next.Ended)
}

// buyerOf is the target that reads all that a license's buyer holds; where AWS gave
// no buyer, the license alone.
func (c *Cache) buyerOf(l *policy.License) target {
	for _, who := range buyers(l) {
		if who.Kind != policy.SubjectNone {
			return target{l.Product, who}
		}
	}
	return target{l.Product, policy.Subject{Kind: policy.SubjectLicense, ID: string(l.Key)}}
}

// latest is the later of two instants.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
