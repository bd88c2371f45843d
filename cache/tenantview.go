package cache

import (
	"cmp"
	"slices"

	"github.com/weirhq/weir/policy"
)

// Tenant is a tenant and what it holds.
type Tenant struct {
	ID string
	// Account or Customer is the buyer it is tied to, Plan that of a direct customer. All are
	// empty where a license without a buyer is pinned to it.
	Account, Customer, Plan string
	// Products are those of the tie; none: every one.
	Products []string
	// Fixed tells that it stands in the configuration.
	Fixed bool
	// Licenses are what it holds, by key: ended ones that are remembered among them.
	Licenses []TenantLicense
}

// TenantLicense is a license that a tenant holds.
type TenantLicense struct {
	License policy.Key
	Plan    string // name of its plan; empty: it only adds, or memory does not hold it yet
	Pinned  bool   // no other tenant holds it
	State   policy.State
}

// Tenant is the tenant of an id; false if it is tied to nothing.
func (c *Cache) Tenant(id string) (Tenant, bool) {
	s := c.Snapshot()
	t, ok := s.tenants.get(id)
	if !ok {
		return Tenant{}, false
	}
	return c.tenant(s, id, t), true
}

// Tenants lists at most limit tenants whose ids come after the given one, in the order
// of ids, and tells whether there are more.
func (c *Cache) Tenants(after string, limit int) (page []Tenant, more bool) {
	s := c.Snapshot()
	var ids []string
	for id := range s.tenants.all() {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if limit = max(limit, 0); len(ids) > limit {
		ids, more = ids[:limit], true
	}
	for _, id := range ids {
		t, _ := s.tenants.get(id)
		page = append(page, c.tenant(s, id, t))
	}
	return page, more
}

func (c *Cache) tenant(s *Snapshot, id string, t tied) Tenant {
	parts := t.parts()
	_, fixed := c.fixed[id]
	made := Tenant{ID: id, Plan: parts.plan, Products: parts.products, Fixed: fixed}
	switch parts.buyer.Kind {
	case policy.SubjectAccount:
		made.Account = parts.buyer.ID
	case policy.SubjectCustomer:
		made.Customer = parts.buyer.ID
	}
	for _, l := range heldBy(s, id, &parts) {
		made.Licenses = append(made.Licenses, c.tenantLicense(s, l))
	}
	for _, p := range parts.pins {
		if _, ok := s.License(p.license); !ok { // AWS has not shown it yet
			made.Licenses = append(made.Licenses, TenantLicense{License: p.license, Pinned: true})
		}
	}
	slices.SortFunc(made.Licenses, func(a, b TenantLicense) int { return cmp.Compare(a.License, b.License) })
	return made
}

// heldBy are the licenses in memory that a tenant holds: of a product with pins those,
// of any other what is pinned to nobody.
func heldBy(s *Snapshot, id string, t *tenant) (licenses []*policy.License) {
	if t.plan != "" {
		if l, ok := s.License(directKey(id)); ok {
			return []*policy.License{l}
		}
	}
	g, ok := s.buyer(t.buyer)
	if !ok {
		return nil
	}
	for _, l := range g.licenses {
		holder, pinned := s.pins.get(string(l.Key))
		if pinned && holder == id || !pinned && t.covers(l.Product) && !t.pinned(l.Product) {
			licenses = append(licenses, l)
		}
	}
	return licenses
}

func (c *Cache) tenantLicense(s *Snapshot, l *policy.License) TenantLicense {
	confirmed, now := s.Confirmed(l.Product), c.now()
	_, pinned := s.pins.get(string(l.Key))
	return TenantLicense{
		License: l.Key, Pinned: pinned,
		Plan: c.policy.PlanOf(l, confirmed, now), State: c.policy.LicenseState(l, confirmed, now),
	}
}
