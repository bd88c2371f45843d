package cache

import (
	"cmp"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// reading is what one read showed.
type reading struct {
	target             // with the zero subject: a sweep
	number   uint64    // the order in which reads began
	began    time.Time // AWS time
	local    time.Time // local time of the same instant
	found    []policy.License
	complete bool // false: nothing is concluded from what is absent
}

// begin starts a reading, before the first byte of the request leaves.
func (c *Cache) begin(t target) *reading {
	return &reading{target: t, number: c.number.Add(1), began: c.now(), local: time.Now()}
}

// apply believes a reading as far as the rules for racing reads let it, and tells
// how many licenses it changed. A read of a buyer is applied whole: a license that
// took the place of another is there at the instant at which the other ends.
func (c *Cache) apply(r *reading) (changed int) {
	c.mu.Lock()
	e, touched := c.edit(), []*policy.License{}
	for i := range r.found {
		if c.replace(e, r, &r.found[i]) {
			touched = append(touched, &r.found[i])
		}
	}
	ended := 0
	if r.complete && r.subject.Kind != policy.SubjectNone {
		ended = c.concludeAbsent(e, r)
		c.moveLost(e, r)
	}
	if len(e.fresh) > 0 || len(e.moves) > 0 {
		c.publish(e)
	}
	c.mu.Unlock()
	for _, l := range touched {
		c.forget(r.product, l)
	}
	return len(touched) + ended
}

// forget drops what negative entries say of a license's key and buyers.
func (c *Cache) forget(product string, l *policy.License) {
	c.negatives.drop(target{product, policy.Subject{Kind: policy.SubjectLicense, ID: string(l.Key)}})
	for _, who := range buyers(l) {
		if who.Kind != policy.SubjectNone {
			c.negatives.drop(target{product, who})
		}
	}
}

// behind is the number of the read behind the present record: its own, or the last
// complete sweep that did not need to replace it.
func (e *edit) behind(r *record) uint64 {
	return max(r.behind, e.products[r.license.Product].number)
}

// replace puts the license that a read showed in the place of the one in memory,
// unless the read began before the one behind that. It tells whether it is another.
func (c *Cache) replace(e *edit, r *reading, found *policy.License) (changed bool) {
	if found.Key == "" || found.Key.Kind() == policy.KindDirect {
		return false
	}
	old, known := e.licenses.get(string(found.Key))
	if known && r.number <= e.behind(old) {
		return false
	}
	delete(c.absent, found.Key)
	next := normal(found, r)
	made := &record{license: next, behind: r.number, changed: r.began}
	if known {
		inherit(next, old.license, r.began)
		if sameLicense(next, old.license) {
			if r.subject.Kind == policy.SubjectNone {
				return false // the sweep's own date says that it was confirmed
			}
			made.changed = old.changed
			e.put(made)
			return false
		}
	} else {
		begun(next, r.began, c.term(next.Key))
	}
	e.put(made)
	return true
}

// normal is a copy of what a source gave, in the form in which licenses are compared.
func normal(found *policy.License, r *reading) *policy.License {
	next := *found
	next.Product, next.Read, next.Ended = r.product, r.began, time.Time{}
	next.Entitlements = slices.Clone(found.Entitlements)
	slices.SortFunc(next.Entitlements, func(a, b policy.Entitlement) int {
		return cmp.Or(cmp.Compare(a.Dimension, b.Dimension), a.Expires.Compare(b.Expires))
	})
	return &next
}

// begun dates a license that memory did not hold: AWS gives a start, or it began when
// weir first saw it (BILLING B10), which was before now where usage of its term was counted.
func begun(l *policy.License, now, term time.Time) {
	if l.Starts.IsZero() {
		l.Starts = now
		if !term.IsZero() && term.Before(now) {
			l.Starts = term
		}
	}
	l.TermStarts = l.Starts
}

// inherit dates a license that memory held. A term begins anew when the expiry moves
// later (BILLING B06), and everything does when it had ended.
func inherit(next, old *policy.License, now time.Time) {
	switch {
	case !old.Ended.IsZero():
		begun(next, now, time.Time{})
		if next.Trial == nil { // what was told before the end says nothing of what came after it
			next.Trial = &policy.Trial{Told: old.Ended}
		}
		return
	case next.Starts.IsZero():
		next.Starts = old.Starts
	}
	next.TermStarts = old.TermStarts
	if next.Trial == nil { // no read of entitlements tells of it
		next.Trial = old.Trial
	}
	ends, ended := next.LastExpiry(), old.LastExpiry()
	if ends.After(ended) && !ended.IsZero() {
		next.TermStarts = now
		if next.Trial != nil && next.Trial == old.Trial { // a trial does not renew
			next.Trial = &policy.Trial{Told: old.Trial.Told}
		}
	}
	if next.Renewal == policy.RenewalUnknown && ends.Equal(ended) { // it was asked of this very date
		next.Renewal = old.Renewal
	}
}

// sameLicense tells whether two reads showed the same, whenever they did.
func sameLicense(a, b *policy.License) bool {
	return a.Account == b.Account && a.Customer == b.Customer && a.Trial.Equal(b.Trial) && a.Suspended == b.Suspended && a.Renewal == b.Renewal &&
		a.Starts.Equal(b.Starts) && a.Ended.Equal(b.Ended) &&
		slices.EqualFunc(a.Entitlements, b.Entitlements, func(x, y policy.Entitlement) bool {
			return x.Dimension == y.Dimension && x.Value == y.Value && x.Expires.Equal(y.Expires)
		})
}
