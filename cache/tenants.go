package cache

import (
	"time"

	"github.com/weirhq/weir/policy"
)

// tieFixed ties the tenants of the configuration to their buyers. Starts are when
// direct customers began, as the disk copy remembers it, so that a restart begins no
// new term.
func tieFixed(e *edit, tenants map[string]policy.Tenant, starts map[policy.Key]time.Time, now time.Time) {
	for id, t := range tenants {
		made := tenant{plan: t.Plan}
		switch {
		case t.Account != "":
			made.buyer = policy.Subject{Kind: policy.SubjectAccount, ID: t.Account}
		case t.Customer != "":
			made.buyer = policy.Subject{Kind: policy.SubjectCustomer, ID: t.Customer}
		case t.Plan != "":
			made.direct(id, starts[directKey(id)], now)
		}
		if t.Product != "" {
			made.products = []string{t.Product}
		}
		e.tie(id, made.tied(), now)
	}
}

func directKey(id string) policy.Key { return policy.Key(policy.DirectPrefix + id) }

// direct makes the tenant a direct customer, since the given instant, or since now
// where that is not known.
func (t *tenant) direct(id string, since, now time.Time) {
	t.buyer = policy.Subject{Kind: policy.SubjectLicense, ID: string(directKey(id))}
	t.since = since
	if since.IsZero() {
		t.since = now
	}
}

// license is the license of a direct customer.
func (t *tenant) license(id string, now time.Time) *policy.License {
	l := &policy.License{Key: directKey(id), Plan: t.plan, Direct: id, Starts: t.since, TermStarts: t.since, Read: now}
	if len(t.products) > 0 {
		l.Product = t.products[0]
	}
	return l
}

// tie ties a tenant to what next says, in the place of what it was tied to; to
// nothing when next is empty. The pins of next are nobody else's: the caller has seen to it.
func (e *edit) tie(id string, next tied, now time.Time) {
	before, _ := e.tenants.get(id)
	old, made := before.parts(), next.parts()
	for _, p := range old.pins {
		e.pins.del(string(p.license))
		e.touchBuyers(p.license)
	}
	for _, p := range made.pins {
		e.pins.set(string(p.license), id)
		e.touchBuyers(p.license)
	}
	if old.plan != "" && made.plan == "" {
		if r, ok := e.licenses.get(string(directKey(id))); ok {
			e.remove(r.license)
		}
	}
	if made.plan != "" {
		e.put(&record{license: made.license(id, now), changed: made.since})
	}
	if next == "" {
		e.tenants.del(id)
		return
	}
	e.tenants.set(id, next)
}

// touchBuyers asks for what the buyers of a license hold to be worked out again.
func (e *edit) touchBuyers(key policy.Key) {
	r, ok := e.licenses.get(string(key))
	if !ok {
		return
	}
	for _, who := range buyers(r.license) {
		if who.Kind == policy.SubjectNone {
			continue
		}
		if g, ok := e.table(who).get(who.ID); ok {
			e.setGroup(who, g.licenses)
		}
	}
}
