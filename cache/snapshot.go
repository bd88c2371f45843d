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
	tenants   table[*tenant] // by the seller's id
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
}

// tenant is what a tenant is tied to.
type tenant struct {
	buyer   policy.Subject // an account or a customer; none for a direct customer
	direct  policy.Key     // the license of a direct customer; empty otherwise
	product string         // the only product of the tie; empty: every one
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
		customers: newTable[*group](seed), tenants: newTable[*tenant](seed),
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

func (s *Snapshot) findTenant(id, product string) (*policy.Holding, policy.Knowledge) {
	t, ok := s.tenants.get(id)
	switch {
	case !ok, t.product != "" && t.product != product:
		return nil, policy.Absent
	case t.direct != "":
		return s.findLicense(t.direct, product)
	default:
		return s.Find(t.buyer, product)
	}
}

func findGroup(groups table[*group], id, product string) (*policy.Holding, policy.Knowledge) {
	g, ok := groups.get(id)
	if !ok {
		return nil, policy.Unknown
	}
	for _, l := range g.licenses {
		if l.Product == product {
			return g.holding, policy.Present
		}
	}
	return nil, policy.Unknown
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

// resolve is the subject that AWS knows: a tenant's buyer, anyone else himself;
// nobody for tenants tied to none.
func (s *Snapshot) resolve(who policy.Subject) policy.Subject {
	if who.Kind != policy.SubjectTenant {
		return who
	}
	if t, ok := s.tenants.get(who.ID); ok {
		return t.buyer
	}
	return policy.Subject{}
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
