package policy

import (
	"cmp"
	"slices"
	"time"
)

// Holding is what one subject holds, worked out once for many requests: its
// licenses of each product in the order in which they are asked. It is
// immutable, and right until Until.
type Holding struct {
	Licenses []*License
	// Until is the next instant at which time alone changes the Holding; zero: never.
	Until time.Time

	bundles []bundle // by product index
	counter func(*License) Counter
}

// bundle is the part of a Holding for one product.
type bundle struct {
	asked []asked // in the order in which they are asked
	adds  []int64 // by feature index: what all licenses add; nil: nothing
}

// asked is one license that a request is decided against.
type asked struct {
	license *License
	state   State
	plan    *plan // nil: the license only adds
	counter Counter
	ends    time.Time // the latest expiry; zero: none
}

// live tells whether the license lets requests through.
func (a *asked) live() bool { return a.state >= StateSuspended }

// confirmation is how long after an expiry a read has to begin so that AWS has had
// the time to renew: its showing the old date then says that nothing was renewed.
const confirmation = 5 * time.Minute

// Hold works out what the licenses grant together at an instant. Confirmed says
// when the last complete read of a product began, counter where a license's usage
// is counted; nil counts nothing.
func (p *Policy) Hold(licenses []*License, confirmed func(product string) time.Time, counter func(*License) Counter, now time.Time) *Holding {
	h := &Holding{Licenses: licenses, bundles: make([]bundle, len(p.products)), counter: counter}
	for i := range p.products {
		p.holdProduct(h, i, confirmed(p.products[i].name), now)
	}
	return h
}

func (p *Policy) holdProduct(h *Holding, index int, confirmed, now time.Time) {
	pr, b := &p.products[index], &h.bundles[index]
	for _, l := range h.Licenses {
		if l.Product != pr.name && (l.Product != "" || l.Direct == "") {
			continue
		}
		s := p.standing(pr, l, confirmed, now)
		if !s.next.IsZero() && (h.Until.IsZero() || s.next.Before(h.Until)) {
			h.Until = s.next
		}
		a := asked{license: l, state: s.state, plan: s.plan, ends: s.ends}
		if h.counter != nil {
			a.counter = h.counter(l)
		}
		if a.live() {
			b.adds = p.add(b.adds, pr, l, confirmed, now)
		}
		b.asked = append(b.asked, a)
	}
	slices.SortStableFunc(b.asked, inAskingOrder)
}

// inAskingOrder puts licenses that let requests through first, then plan rank
// descending, those without a plan last, then the key.
func inAskingOrder(a, b asked) int {
	return cmp.Or(
		cmp.Compare(class(&b), class(&a)),
		cmp.Compare(rank(b.plan), rank(a.plan)),
		cmp.Compare(a.license.Key, b.license.Key),
	)
}

// class ranks live licenses with a plan before those that only add, and these
// before expired and ended ones.
func class(a *asked) int {
	switch {
	case a.live() && a.plan != nil:
		return 3
	case a.live():
		return 2
	case a.state == StateExpired:
		return 1
	default:
		return 0
	}
}

func rank(p *plan) int64 {
	if p == nil {
		return -1 << 62
	}
	return p.rank
}

// standing is where a license stands at an instant.
type standing struct {
	state State
	plan  *plan
	ends  time.Time // the latest expiry; zero: none
	next  time.Time // when time alone changes this; zero: never
}

// standing works out state and plan. Each entitlement expires by itself: the
// license goes on with what is left, and is expired when nothing is. The plan of
// a license that is over is the one that it had.
func (p *Policy) standing(pr *product, l *License, confirmed, now time.Time) standing {
	if l.Direct != "" {
		return standing{state: StateActive, plan: p.planIndex[l.Plan]}
	}
	s := standing{state: StateActive, plan: pr.plan}
	read := later(l.Read, confirmed)
	var last *plan // of all entitlements, expired ones included
	best := StateExpired
	for i := range l.Entitlements {
		e := &l.Entitlements[i]
		state, next := p.lapse(e, l.Renewal, read, now)
		best = max(best, state)
		s.next = earlier(s.next, next)
		s.ends = later(s.ends, e.Expires)
		chosen := pr.dimensions[e.Dimension].plan
		if chosen == nil || !e.Value.Held() {
			continue
		}
		last = higher(last, chosen)
		if state != StateExpired {
			s.plan = higher(s.plan, chosen)
		}
	}
	if len(l.Entitlements) > 0 {
		s.state = best
	}
	switch {
	case !l.Ended.IsZero():
		s = standing{state: StateEnded, plan: higher(pr.plan, last), ends: s.ends}
	case s.state == StateExpired:
		s.plan = higher(pr.plan, last)
	case l.Suspended:
		s.state = StateSuspended
	}
	return s
}

// lapse tells how an entitlement stands: its expiry is a minimum (AWS:
// GetEntitlements, ExpirationDate), so it is expired only when a read begun well
// after still shows the date, or when the grace ran out. Where AWS says that it will
// renew, the date in such a read only says that it has not done so yet.
func (p *Policy) lapse(e *Entitlement, renewal Renewal, read, now time.Time) (State, time.Time) {
	confirmed := renewal != RenewalDue && !read.Before(e.Expires.Add(confirmation))
	switch {
	case e.Expires.IsZero():
		return StateActive, time.Time{}
	case now.Before(e.Expires):
		return StateActive, e.Expires
	case confirmed, !now.Before(e.Expires.Add(p.grace)):
		return StateExpired, time.Time{}
	default:
		return StateGrace, e.Expires.Add(p.grace)
	}
}

// add adds to the sums what one license adds to features.
func (p *Policy) add(sums []int64, pr *product, l *License, confirmed, now time.Time) []int64 {
	read := later(l.Read, confirmed)
	for i := range l.Entitlements {
		e := &l.Entitlements[i]
		d, ok := pr.dimensions[e.Dimension]
		if !ok || d.adds < 0 || !e.Value.Held() {
			continue
		}
		if state, _ := p.lapse(e, l.Renewal, read, now); state == StateExpired {
			continue
		}
		if sums == nil {
			sums = make([]int64, len(p.features))
		}
		n := e.Value.Quantity()
		if p.features[d.adds].kind == TypeMetered {
			n = min(n, maxQuantity/d.per) * d.per
		}
		sums[d.adds] = min(sums[d.adds]+n, maxQuantity)
	}
	return sums
}

// LicenseState is where a license stands, given when the last complete read of its product began.
func (p *Policy) LicenseState(l *License, confirmed, now time.Time) State {
	s := p.standingOf(l, confirmed, now)
	return s.state
}

// PlanOf is the name of the plan that a license has, or had; empty for none.
func (p *Policy) PlanOf(l *License, confirmed, now time.Time) string {
	if s := p.standingOf(l, confirmed, now); s.plan != nil {
		return s.plan.name
	}
	return ""
}

func (p *Policy) standingOf(l *License, confirmed, now time.Time) standing {
	pr := &product{}
	if i, ok := p.productIndex[l.Product]; ok {
		pr = &p.products[i]
	}
	return p.standing(pr, l, confirmed, now)
}

func higher(a, b *plan) *plan {
	if a == nil || b != nil && b.rank > a.rank {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earlier is the earlier of two instants; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
