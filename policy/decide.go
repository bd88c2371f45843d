package policy

import (
	"strconv"
	"time"
)

// maxHeaders is how many headers a client may send: Envoy counts its own and the
// check's added headers against its limit and fails a request that weir has
// already counted (Envoy: max_headers_count).
const maxHeaders = 100

// Decide decides one request with what the view knows at an instant (AWS time). The
// order of the reasons is the order of the code. Where Decision.Lookup is set,
// memory does not know the subject: look it up and decide again with a view that does.
//
// The request's units are counted where it is allowed; with Request.Steps set
// everything is only looked at.
func (p *Policy) Decide(r *Request, v View, now time.Time) (d Decision) {
	if r.Attributes.Headers() > maxHeaders {
		p.deny(r, &d, HeadersTooMany)
		return d
	}
	index, reason := p.route(r)
	switch {
	case reason == RouteUnmatched && p.unmatched:
		d.Cause = CauseUnmatched
		p.open(r, &d, RouteUnmatched)
		return d
	case reason != Allowed:
		p.deny(r, &d, reason)
		return d
	}
	rt := &p.routes[index]
	d.Route = rt.name
	if rt.public {
		d.Effect, d.Reason = Allow, Public
		if r.Steps.on() {
			r.Steps.add("route %s is public: no identity is needed, nothing is counted", rt.name)
		}
		return d
	}
	p.decideRoute(r, v, now, rt, &d)
	if rt.shadow {
		d.Effect, d.Mode = Allow, Shadow
		if r := &d.Quota.Receipt; rt.meter != nil && d.License != "" && r.Kind == NoReceipt {
			r.Kind = Uncounted
		}
		if r.Steps.on() {
			r.Steps.add("route %s is in shadow mode: allowed whatever was decided", rt.name)
		}
	}
	return d
}

// route finds the route of a request; the reason is Allowed where there is one.
func (p *Policy) route(r *Request) (int, Reason) {
	if r.Route != "" {
		i, ok := p.routeIndex[r.Route]
		if !ok {
			r.Steps.add("the proxy names route %q, which the configuration does not know", r.Route)
			return 0, Fault
		}
		if r.Steps.on() {
			r.Steps.add("the proxy names route %s", r.Route)
		}
		return i, Allowed
	}
	i, result := p.router.match(r.Method, r.Host, r.Path)
	if r.Steps.on() {
		p.explainMatch(r, i, result)
	}
	switch result {
	case matched:
		return i, Allowed
	case none:
		return 0, RouteUnmatched
	default:
		return 0, PathAmbiguous
	}
}

func (p *Policy) explainMatch(r *Request, i int, result matchResult) {
	switch result {
	case matched:
		r.Steps.add("%s %s%s matches route %s", r.Method, r.Host, r.Path, p.routes[i].name)
	case none:
		r.Steps.add("%s %s%s matches no route", r.Method, r.Host, r.Path)
	default:
		r.Steps.add("%s %s%s can be read in more than one way: %s", r.Method, r.Host, r.Path, p.router.why(r.Method, r.Host, r.Path))
	}
}

// decideRoute decides a request of a route that is not public.
func (p *Policy) decideRoute(r *Request, v View, now time.Time, rt *route, d *Decision) {
	pr := &p.products[rt.product]
	d.Product = pr.name
	subject := r.Subject
	if subject.Kind == SubjectNone {
		subject = p.identify(r.Attributes)
	}
	if subject.Kind == SubjectNone {
		p.deny(r, d, IdentityMissing)
		return
	}
	if subject.Kind == SubjectTenant {
		d.Tenant = subject.ID
	}
	if r.Steps.on() {
		r.Steps.add("the subject is %s %s", subject.Kind, subject.ID)
	}
	h, known := v.Find(subject, pr.name)
	if known != Present {
		p.decideUnheld(r, v, rt, d, subject, known)
		return
	}
	confirmed := v.Confirmed(pr.name)
	if !h.Until.IsZero() && !now.Before(h.Until) {
		h = p.Hold(h.Licenses, v.Confirmed, h.counter, now)
	}
	p.decideHolding(r, now, rt, d, &h.bundles[rt.product], confirmed)
}

// decideUnheld decides for a subject of whom memory holds nothing.
func (p *Policy) decideUnheld(r *Request, v View, rt *route, d *Decision, s Subject, known Knowledge) {
	switch {
	case known == Absent || !s.knowable():
		d.Plans = p.plansFor(rt, 0)
		p.deny(r, d, LicenseMissing)
	case rt.unknown == wordAllow:
		d.Cause = CauseUnknown
		p.open(r, d, LicenseMissing)
	case known == Unanswered, rt.unknown == "deny" && v.Confirmed(d.Product).IsZero():
		p.deny(r, d, EntitlementsStale)
	case rt.unknown == "deny":
		d.Plans = p.plansFor(rt, 0)
		p.deny(r, d, LicenseMissing)
	default:
		if r.Steps.on() {
			r.Steps.add("%s %s is not in memory: it is looked up", s.Kind, s.ID)
		}
		d.Lookup = s
		d.Reason = EntitlementsStale
	}
}

// decideHolding asks one license after the other; the first that allows takes the
// usage whole, and if none does the first one's denial is given.
func (p *Policy) decideHolding(r *Request, now time.Time, rt *route, d *Decision, b *bundle, confirmed time.Time) {
	if len(b.asked) == 0 {
		d.Plans = p.plansFor(rt, 0)
		p.deny(r, d, LicenseMissing)
		return
	}
	for i := range b.asked {
		answer := d
		if i > 0 { // the first one's denial is kept
			answer = &Decision{Tenant: d.Tenant, Route: d.Route, Product: d.Product}
		}
		p.ask(r, now, rt, answer, &b.asked[i], b.adds, confirmed)
		if answer.Effect == Allow {
			if answer != d {
				*d = *answer
			}
			return
		}
	}
	p.describe(d, rt)
	p.deny(r, d, d.Reason)
}

// ask decides a request against one license.
func (p *Policy) ask(r *Request, now time.Time, rt *route, d *Decision, a *asked, adds []int64, confirmed time.Time) {
	d.License, d.Account = a.license.Key, a.license.Account
	if a.plan != nil {
		d.Plan = a.plan.name
	}
	if r.Steps.on() {
		r.Steps.add("license %s is %s, plan %s", a.license.Key, a.state, orNone(d.Plan))
	}
	stale := a.stale(r, now, rt, confirmed)
	d.Reason, d.Feature = p.covers(rt, a, adds, stale)
	if d.Reason == Allowed && rt.meter != nil {
		p.count(r, now, rt, d, a, adds)
	}
	if d.Reason != Allowed {
		return
	}
	d.Effect = Allow
	if stale {
		d.Reason, d.Mode, d.Cause = EntitlementsStale, Open, CauseStale
	}
}

// covers tells whether the license covers the route, quotas apart: Allowed, or the
// reason why not and the feature that it is about.
func (p *Policy) covers(rt *route, a *asked, adds []int64, stale bool) (Reason, string) {
	switch {
	case a.state == StateExpired:
		return LicenseExpired, ""
	case a.state == StateEnded:
		return LicenseEnded, ""
	case stale && !rt.staleOK:
		return EntitlementsStale, ""
	}
	feature, ok := p.missing(rt, a.plan, adds)
	switch {
	case ok:
		return Allowed, ""
	case feature == "":
		return LicenseMissing, ""
	default:
		return FeatureMissing, feature
	}
}

// stale tells whether the license was last confirmed longer ago than the route takes.
// A direct customer's needs no confirmation.
func (a *asked) stale(r *Request, now time.Time, rt *route, confirmed time.Time) bool {
	if a.license.Direct != "" {
		return false
	}
	if now.Sub(confirmed) <= rt.stale { // what usually is later than the license's own read
		return false
	}
	age := now.Sub(later(a.license.Read, confirmed))
	if age <= rt.stale {
		return false
	}
	if r.Steps.on() {
		r.Steps.add("entitlements were confirmed last %s ago", age.Round(time.Second))
	}
	return true
}

// missing is the first feature, by name, that the route requires, or else meters,
// and the plan does not grant, or not enough of it. A license without a plan
// grants nothing: it only adds to others.
func (p *Policy) missing(rt *route, pl *plan, adds []int64) (feature string, ok bool) {
	for _, need := range rt.requires {
		if pl == nil || !p.grants(pl, need, adds) {
			return p.features[need.feature].name, false
		}
	}
	if rt.meter != nil && (pl == nil || !pl.grants[rt.meter.feature].given) {
		return p.features[rt.meter.feature].name, false
	}
	return "", pl != nil
}

// grants tells whether a plan, with what licenses add, meets a requirement.
func (p *Policy) grants(pl *plan, need requirement, adds []int64) bool {
	g := &pl.grants[need.feature]
	switch p.features[need.feature].kind {
	case TypeBoolean:
		return g.given && g.boolean
	case TypeText:
		return g.given && g.number >= need.number
	default:
		return sum(g.number, need.feature, adds) >= need.number
	}
}

func sum(n int64, feature int, adds []int64) int64 {
	if adds == nil {
		return n
	}
	return n + adds[feature]
}

// count takes the request's units from the license's quota.
func (p *Policy) count(r *Request, now time.Time, rt *route, d *Decision, a *asked, adds []int64) {
	m := rt.meter
	units, ok := m.quantity(r.Attributes)
	d.Feature = p.features[m.feature].name
	if !ok {
		d.Reason = QuantityInvalid
		return
	}
	t := Taking{
		Feature: m.feature, Quantity: units, Need: m.need(units), ID: r.ID, At: now,
		Terms: p.terms(rt.product, m.feature, a, adds), Served: m.served && !r.Unlogged,
		Look: r.Steps.on(), Shadow: rt.shadow,
	}
	if a.counter == nil {
		d.Reason = Fault
		return
	}
	d.Quota = a.counter.Take(t)
	d.Counted = d.Quota.OK
	if r.Steps.on() {
		r.Steps.add("%s: %d used of %s included this %s", d.Feature, d.Quota.Used, included(t.Terms.Included), t.Terms.Every)
	}
	d.Reason = Allowed
	if !d.Quota.OK {
		d.Reason = QuotaExhausted
	}
}

// terms are the conditions under which a license counts a feature.
func (p *Policy) terms(product, feature int, a *asked, adds []int64) Terms {
	g := &a.plan.grants[feature]
	by := p.products[product].meters[feature]
	t := Terms{
		Included: g.included, Every: g.every, Then: g.then,
		Since: a.license.TermStarts, Dimension: by.dimension, Per: max(by.per, 1),
	}
	if t.Included != Unlimited {
		t.Included = sum(t.Included, feature, adds)
	}
	if t.Every == Term {
		t.Until = a.ends
	}
	return t
}

// deny finishes a denial.
func (p *Policy) deny(r *Request, d *Decision, reason Reason) {
	d.Effect, d.Reason = Deny, reason
	p.addURL(d)
	if r.Steps.on() {
		r.Steps.add("denied: %s", reason)
	}
}

// open lets a request through that a failure policy is responsible for.
func (p *Policy) open(r *Request, d *Decision, reason Reason) {
	d.Effect, d.Reason, d.Mode = Allow, reason, Open
	if r.Steps.on() {
		r.Steps.add("let through by failure.%s, although %s", d.Cause, reason)
	}
}

// Fault is the decision for a request that weir itself failed to decide.
func (p *Policy) Fault(r *Request) (d Decision) {
	allow := p.faults
	if i, ok := p.routeIndex[r.Route]; ok {
		d.Route, allow = p.routes[i].name, p.routes[i].faults // a metric keeps the name: r.Route may be a view
	}
	if allow {
		d.Cause = CauseFault
		p.open(r, &d, Fault)
	} else {
		p.deny(r, &d, Fault)
	}
	return d
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func included(n int64) string {
	if n == Unlimited {
		return "unlimited"
	}
	return strconv.FormatInt(n, 10)
}
