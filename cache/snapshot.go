package cache

import (
	"hash/maphash"
	"iter"
	"maps"
	"time"

	"github.com/weirhq/weir/policy"
)

// Snapshot is what memory holds at one instant. It is immutable: any number of
// goroutines read it without a lock.
type Snapshot struct {
	licenses  table[*record] // by license key, direct customers' among them
	accounts  table[*group]  // by AWS account id
	customers table[*group]  // by legacy customer identifier
	tenants   table[tied]    // by the seller's id
	pins      table[string]  // by license key: the tenant that it is pinned to
	products  map[string]sweepState
}

var _ policy.View = (*Snapshot)(nil)

// record is a license and what is known of how it was read.
type record struct {
	license *policy.License
	holding *policy.Holding // of this license alone
	behind  uint64          // number of the read behind it; 0: read by an earlier process
	changed time.Time       // when the last read that showed a change began, AWS time
}

// group is what one buyer holds, of all products.
type group struct {
	licenses []*policy.License
	holding  *policy.Holding
	free     *policy.Holding            // of what is pinned to no tenant; nil: nothing
	pinned   map[string]*policy.Holding // of what is pinned to a tenant, by its id
}

// sweepState is how far the sweeps of one product came.
type sweepState struct {
	confirmed time.Time // when the last complete one began, AWS time; zero: never
	number    uint64    // of that read; 0: it was another process's
}

func newSnapshot() *Snapshot {
	seed := maphash.MakeSeed()
	return &Snapshot{
		licenses: newTable[*record](seed), accounts: newTable[*group](seed),
		customers: newTable[*group](seed), tenants: newTable[tied](seed), pins: newTable[string](seed),
		products: map[string]sweepState{},
	}
}

// Find is what the subject holds for the product. Ended licenses count as held, so
// that their buyers are told that they ended.
func (s *Snapshot) Find(who policy.Subject, product string) (*policy.Holding, policy.Knowledge) {
	switch who.Kind {
	case policy.SubjectTenant:
		return s.findTenant(who.ID, product)
	case policy.SubjectAccount:
		return findGroup(s.accounts, who.ID, product)
	case policy.SubjectCustomer:
		return findGroup(s.customers, who.ID, product)
	case policy.SubjectLicense:
		return s.findLicense(policy.Key(who.ID), product)
	default:
		return nil, policy.Absent
	}
}

// findTenant is what the tenant holds: what is pinned to it where there is a pin of
// the product, else what its buyer holds and is pinned to no other tenant.
func (s *Snapshot) findTenant(id, product string) (*policy.Holding, policy.Knowledge) {
	t, ok := s.tenants.get(id)
	if !ok {
		return nil, policy.Absent
	}
	who, pinned := t.holder(product)
	if who.Kind == policy.SubjectNone {
		return nil, policy.Absent
	}
	if pinned {
		return s.findPinned(id, t, policy.Key(who.ID), product)
	}
	g, ok := s.buyer(who)
	switch {
	case !ok && who.Kind == policy.SubjectLicense:
		return s.findLicense(policy.Key(who.ID), product)
	case !ok:
		return nil, policy.Unknown
	case holds(g.free, product):
		return g.free, policy.Present
	case holds(g.holding, product):
		return nil, policy.Absent
	default:
		return nil, policy.Unknown
	}
}

// findPinned is what a tenant holds to which a license of the product is pinned.
func (s *Snapshot) findPinned(id string, t tied, key policy.Key, product string) (*policy.Holding, policy.Knowledge) {
	g, ok := s.buyer(t.buyer())
	switch {
	case !ok:
		return s.findLicense(key, product)
	case holds(g.pinned[id], product):
		return g.pinned[id], policy.Present
	default:
		return nil, policy.Unknown
	}
}

func findGroup(groups table[*group], id, product string) (*policy.Holding, policy.Knowledge) {
	if g, ok := groups.get(id); ok && holds(g.holding, product) {
		return g.holding, policy.Present
	}
	return nil, policy.Unknown
}

// holds tells whether a holding has a license of the product; nil has none.
func holds(h *policy.Holding, product string) bool {
	if h == nil {
		return false
	}
	for _, l := range h.Licenses {
		if l.Product == product {
			return true
		}
	}
	return false
}

// findLicense finds a license by its key. One of another product is certainly not
// one of this: no look-up would find it.
func (s *Snapshot) findLicense(key policy.Key, product string) (*policy.Holding, policy.Knowledge) {
	r, ok := s.licenses.get(string(key))
	switch {
	case !ok && key.Kind() == policy.KindDirect:
		return nil, policy.Absent
	case !ok:
		return nil, policy.Unknown
	case r.license.Product == product, r.license.Direct != "" && r.license.Product == "":
		return r.holding, policy.Present
	default:
		return nil, policy.Absent
	}
}

// Confirmed is when the last complete sweep of the product began, AWS time; zero: never.
func (s *Snapshot) Confirmed(product string) time.Time { return s.products[product].confirmed }

// License finds a license by its key.
func (s *Snapshot) License(key policy.Key) (*policy.License, bool) {
	r, ok := s.licenses.get(string(key))
	if !ok {
		return nil, false
	}
	return r.license, true
}

// Licenses yields every license, ended ones and those of direct customers among
// them, in no order.
func (s *Snapshot) Licenses() iter.Seq[*policy.License] {
	return func(yield func(*policy.License) bool) {
		for _, r := range s.licenses.all() {
			if !yield(r.license) {
				return
			}
		}
	}
}

// resolve is the subject that AWS knows: a tenant's buyer, or the license pinned to
// it, anyone else himself; nobody for tenants tied to none.
func (s *Snapshot) resolve(who policy.Subject, product string) policy.Subject {
	if who.Kind != policy.SubjectTenant {
		return who
	}
	t, _ := s.tenants.get(who.ID)
	who, _ = t.holder(product)
	return who
}

// buyer is the group of a buyer, an account or a customer.
func (s *Snapshot) buyer(who policy.Subject) (*group, bool) {
	switch who.Kind {
	case policy.SubjectAccount:
		return s.accounts.get(who.ID)
	case policy.SubjectCustomer:
		return s.customers.get(who.ID)
	default:
		return nil, false
	}
}

// withProduct is the same snapshot after a complete sweep of one product.
func (s *Snapshot) withProduct(name string, state sweepState) map[string]sweepState {
	next := maps.Clone(s.products)
	next[name] = state
	return next
}
