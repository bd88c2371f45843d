package cache

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// move is a pin that went from a license that ended to the one that took its place.
type move struct {
	tenant   string
	product  string
	from, to policy.Key
}

// movePins moves the pins of licenses that ended, of all buyers whom the edit touches,
// so that a pin moves in the very snapshot in which its license ends.
func (e *edit) movePins(now time.Time) {
	for _, who := range slices.Collect(maps.Keys(e.groups)) {
		for _, l := range e.endedPinned(who) {
			e.movePin(who, pin{l.Product, l.Key}, now)
		}
	}
}

// endedPinned are the licenses of a buyer that ended while they were pinned, the first
// that ended first.
func (e *edit) endedPinned(who policy.Subject) (ended []*policy.License) {
	for _, l := range e.groups[who].licenses {
		if l.Ended.IsZero() {
			continue
		}
		if _, pinned := e.pins.get(string(l.Key)); pinned {
			ended = append(ended, l)
		}
	}
	slices.SortFunc(ended, func(a, b *policy.License) int {
		return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.Key, b.Key))
	})
	return ended
}

// movePin moves the pin of a license that ended if exactly one license of its buyer can take its
// place.
func (e *edit) movePin(who policy.Subject, ended pin, now time.Time) {
	id, _ := e.pins.get(string(ended.license))
	before, _ := e.tenants.get(id)
	if before.buyer() != who {
		return // it is looked at with the buyer that the tenant is tied to
	}
	g, ok := e.table(who).get(who.ID)
	if !ok {
		return
	}
	free := candidates(g.licenses, ended.product, e.isPinned, e.stateAt(now))
	if len(free) != 1 {
		return
	}
	t := before.parts()
	t.unpin(func(p pin) bool { return p.license == ended.license })
	t.pin(ended.product, free[0])
	e.tie(id, t.tied(), now)
	e.moves = append(e.moves, move{id, ended.product, ended.license, free[0]})
}

// loseUnheld notes the pinned licenses of which memory knows nothing at the start: its copy was lost, and they may
// have ended since. What is pinned later, AWS has yet to show. The caller holds mu.
func (c *Cache) loseUnheld(e *edit) {
	for key := range e.pins.all() {
		if _, held := e.licenses.get(key); !held {
			c.lost[policy.Key(key)] = time.Time{}
		}
	}
}

// moveLost concludes what a complete read of everything, or of a buyer, says of pinned licenses that memory lost: one
// that two reads 30 s apart don't show has ended. The caller holds mu.
func (c *Cache) moveLost(e *edit, r *reading) {
	for key, since := range c.lost {
		id, pinned := e.pins.get(string(key))
		if _, held := e.licenses.get(string(key)); held || !pinned {
			delete(c.lost, key)
			continue
		}
		t, _ := e.tenants.get(id)
		who, p := t.buyer(), pin{r.product, key}
		if t.productOf(key) != r.product || r.subject.Kind != policy.SubjectNone && r.subject != who {
			continue
		}
		switch {
		case since.IsZero():
			c.lost[key] = r.began
			c.follow(followUp{target: target{r.product, who}, why: whyAbsent}, c.in(secondAfter))
		case r.began.Sub(since) >= secondAfter:
			e.movePin(who, p, c.now())
		}
	}
}

// isLost tells whether a pinned license of which memory knows nothing counts as ended.
func (c *Cache) isLost(key policy.Key, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := c.lost[key]
	return !since.IsZero() && now.Sub(since) >= secondAfter
}

func (e *edit) isPinned(key policy.Key) bool {
	_, pinned := e.pins.get(string(key))
	return pinned
}

func (e *edit) stateAt(now time.Time) func(*policy.License) policy.State {
	return func(l *policy.License) policy.State {
		return e.policy.LicenseState(l, e.products[l.Product].confirmed, now)
	}
}

// candidates are the active licenses of a product that are pinned to nobody.
func candidates(licenses []*policy.License, product string, pinned func(policy.Key) bool, state func(*policy.License) policy.State) (free []policy.Key) {
	for _, l := range licenses {
		if l.Product == product && !pinned(l.Key) && state(l) == policy.StateActive {
			free = append(free, l.Key)
		}
	}
	return free
}

// UnsettledPin is a pin whose license ended while several could take its place: only
// people can say which one should.
type UnsettledPin struct {
	Tenant     string
	License    policy.Key
	Candidates []policy.Key
}

// Pins lists the pins that have to be settled, by tenant and license.
func (c *Cache) Pins() []UnsettledPin {
	s, now := c.Snapshot(), c.now()
	pinned := func(key policy.Key) bool {
		_, ok := s.pins.get(string(key))
		return ok
	}
	state := func(l *policy.License) policy.State { return c.policy.LicenseState(l, s.Confirmed(l.Product), now) }
	var found []UnsettledPin
	for key, id := range s.pins.all() {
		key := policy.Key(key)
		if l, ok := s.License(key); ok && l.Ended.IsZero() || !ok && !c.isLost(key, now) {
			continue
		}
		t, _ := s.tenants.get(id)
		g, ok := s.buyer(t.buyer())
		if !ok {
			continue
		}
		if free := candidates(g.licenses, t.productOf(key), pinned, state); len(free) > 1 {
			found = append(found, UnsettledPin{id, key, free})
		}
	}
	slices.SortFunc(found, func(a, b UnsettledPin) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.License, b.License))
	})
	return found
}

// moved notes the pins that an edit moved. The caller holds mu; keepTime writes them.
func (c *Cache) moved(moves []move) {
	for _, m := range moves {
		c.unwritten[m.tenant] = struct{}{}
		c.metrics.pinMoves.Inc()
		c.log.Info("pin moved", "tenant", m.tenant, "product", m.product, "from", string(m.from), "to", string(m.to))
	}
}
