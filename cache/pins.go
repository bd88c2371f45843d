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
			e.movePin(who, l, now)
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

// movePin moves the pin of a license that ended if exactly one license can take its
// place.
func (e *edit) movePin(who policy.Subject, ended *policy.License, now time.Time) {
	id, _ := e.pins.get(string(ended.Key))
	before, _ := e.tenants.get(id)
	if before.buyer() != who {
		return // it is looked at with the buyer that the tenant is tied to
	}
	free := candidates(e.groups[who].licenses, ended.Product, e.isPinned, e.stateAt(now))
	if len(free) != 1 {
		return
	}
	t := before.parts()
	t.unpin(func(p pin) bool { return p.license == ended.Key })
	t.pin(ended.Product, free[0])
	e.tie(id, t.tied(), now)
	e.moves = append(e.moves, move{id, ended.Product, ended.Key, free[0]})
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
		l, ok := s.License(policy.Key(key))
		if !ok || l.Ended.IsZero() {
			continue
		}
		t, _ := s.tenants.get(id)
		g, ok := s.buyer(t.buyer())
		if !ok {
			continue
		}
		if free := candidates(g.licenses, l.Product, pinned, state); len(free) > 1 {
			found = append(found, UnsettledPin{id, l.Key, free})
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
