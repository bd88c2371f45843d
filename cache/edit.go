package cache

import (
	"cmp"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// edit makes the next snapshot out of the present one. What it does not touch is
// shared by both. Only the holder of Cache.mu makes edits.
type edit struct {
	policy   *policy.Policy
	counter  func(*policy.License) policy.Counter
	products map[string]sweepState

	licenses  *tableEdit[*record]
	accounts  *tableEdit[*group]
	customers *tableEdit[*group]
	tenants   *tableEdit[tied]
	pins      *tableEdit[string]

	fresh  map[policy.Key]*record    // those whose holding has to be worked out
	groups map[policy.Subject]*group // those whose holding has to be worked out
	moves  []move                    // pins that finish moved
}

func (c *Cache) edit() *edit {
	s := c.snapshot.Load()
	return &edit{
		policy: c.policy, counter: c.counter, products: s.products,
		licenses: editTable(s.licenses), accounts: editTable(s.accounts),
		customers: editTable(s.customers), tenants: editTable(s.tenants), pins: editTable(s.pins),
		fresh: map[policy.Key]*record{}, groups: map[policy.Subject]*group{},
	}
}

// put adds or replaces a record.
func (e *edit) put(r *record) {
	key := string(r.license.Key)
	if old, ok := e.licenses.get(key); ok {
		e.leave(old.license, r.license)
	}
	e.licenses.set(key, r)
	e.fresh[r.license.Key] = r
	e.join(r.license)
}

// remove forgets a license.
func (e *edit) remove(l *policy.License) {
	e.leave(l, &policy.License{})
	e.licenses.del(string(l.Key))
	delete(e.fresh, l.Key)
}

// buyers are the subjects that hold a license.
func buyers(l *policy.License) [2]policy.Subject {
	var b [2]policy.Subject
	if l.Account != "" {
		b[0] = policy.Subject{Kind: policy.SubjectAccount, ID: l.Account}
	}
	if l.Customer != "" {
		b[1] = policy.Subject{Kind: policy.SubjectCustomer, ID: l.Customer}
	}
	return b
}

func (e *edit) table(who policy.Subject) *tableEdit[*group] {
	if who.Kind == policy.SubjectAccount {
		return e.accounts
	}
	return e.customers
}

// leave takes a license from the buyers that its successor does not name.
func (e *edit) leave(old, next *policy.License) {
	stay := buyers(next)
	for i, who := range buyers(old) {
		if who.Kind == policy.SubjectNone || who == stay[i] {
			continue
		}
		g, ok := e.table(who).get(who.ID)
		if !ok {
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(g.licenses), func(l *policy.License) bool { return l.Key == old.Key })
		e.setGroup(who, kept)
	}
}

// join gives a license to its buyers, in the place of what they held under its key.
func (e *edit) join(l *policy.License) {
	for _, who := range buyers(l) {
		if who.Kind == policy.SubjectNone {
			continue
		}
		var licenses []*policy.License
		if g, ok := e.table(who).get(who.ID); ok {
			licenses = slices.Clone(g.licenses)
		}
		at, found := slices.BinarySearchFunc(licenses, l.Key, func(a *policy.License, key policy.Key) int { return cmp.Compare(a.Key, key) })
		if found {
			licenses[at] = l
		} else {
			licenses = slices.Insert(licenses, at, l)
		}
		e.setGroup(who, licenses)
	}
}

func (e *edit) setGroup(who policy.Subject, licenses []*policy.License) {
	g := &group{licenses: licenses}
	e.table(who).set(who.ID, g)
	e.groups[who] = g
}

// renew asks for the license's holdings to be worked out again, because time or a
// sweep changed what they are.
func (e *edit) renew(r *record) {
	again := *r
	e.put(&again)
}

// finish moves pins, works out every holding that the edit touched and makes the snapshot.
func (e *edit) finish(now time.Time) *Snapshot {
	s := &Snapshot{products: e.products}
	e.movePins(now)
	for _, r := range e.fresh {
		r.holding = e.policy.Hold([]*policy.License{r.license}, s.Confirmed, e.counter, now)
	}
	for who, g := range e.groups {
		e.finishGroup(who, g, s, now)
	}
	s.licenses, s.accounts = e.licenses.table, e.accounts.table
	s.customers, s.tenants, s.pins = e.customers.table, e.tenants.table, e.pins.table
	return s
}

// finishGroup works out what one buyer holds, and what of it is pinned to whom.
func (e *edit) finishGroup(who policy.Subject, g *group, s *Snapshot, now time.Time) {
	if len(g.licenses) == 0 {
		e.table(who).del(who.ID)
		return
	}
	g.holding = e.hold(g.licenses, s, now)
	free, pinned := e.split(g.licenses)
	if pinned == nil {
		g.free = g.holding
		return
	}
	if len(free) > 0 {
		g.free = e.hold(free, s, now)
	}
	g.pinned = make(map[string]*policy.Holding, len(pinned))
	for id, licenses := range pinned {
		g.pinned[id] = e.hold(licenses, s, now)
	}
}

// split tells the licenses that are pinned to a tenant, by its id, from those that are
// free; without pins there are only those, and no map.
func (e *edit) split(licenses []*policy.License) (free []*policy.License, pinned map[string][]*policy.License) {
	for i, l := range licenses {
		id, ok := e.pins.get(string(l.Key))
		switch {
		case ok && pinned == nil:
			free, pinned = slices.Clone(licenses[:i]), map[string][]*policy.License{id: {l}}
		case ok:
			pinned[id] = append(pinned[id], l)
		case pinned != nil:
			free = append(free, l)
		}
	}
	return free, pinned
}

// hold is the holding of licenses; of a single one it is the same as what the license is.
func (e *edit) hold(licenses []*policy.License, s *Snapshot, now time.Time) *policy.Holding {
	if len(licenses) == 1 {
		r, _ := e.licenses.get(string(licenses[0].Key))
		return r.holding
	}
	return e.policy.Hold(licenses, s.Confirmed, e.counter, now)
}
