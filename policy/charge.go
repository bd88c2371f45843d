package policy

import (
	"cmp"
	"time"
)

// Charge is the license that usage counts for which the application reports by itself.
type Charge struct {
	Result  ChargeResult
	License *License // of ChargeFound
	Terms   Terms    // of ChargeFound
	Product string   // of ChargeUnknown: where the subject may hold something
}

// ChargeResult says whether there is such a license, and why not.
type ChargeResult uint8

// The results. The zero result charges nobody.
const (
	ChargeUnanswered     ChargeResult = iota // AWS has not said what the subject holds
	ChargeUnknown                            // memory does not know what it holds: it may be looked up
	ChargeSubjectUnknown                     // the subject holds no license
	ChargeFeatureUnknown                     // there is no metered feature of this name
	ChargeFeatureMissing                     // no license of the subject grants the feature
	ChargeFound
)

// Charge finds the license that reported usage of a feature counts for: the one that a request
// of the subject would use, of whatever product: rank, key, the first that grants the feature.
// Where none lets requests through it is the one that ended last: its last hour may be open
// still. Quotas and staleness refuse nothing: what is reported was used (BILLING B06).
func (p *Policy) Charge(v View, who Subject, feature string, now time.Time) Charge {
	index, ok := p.featureIndex[feature]
	if !ok || p.features[index].kind != TypeMetered {
		return Charge{Result: ChargeFeatureUnknown}
	}
	c := charging{feature: index, result: ChargeSubjectUnknown}
	for i := range p.products {
		h, known := v.Find(who, p.products[i].name)
		if known != Present {
			c.missed(known, p.products[i].name)
			continue
		}
		if !h.Until.IsZero() && !now.Before(h.Until) {
			h = p.Hold(h.Licenses, v.Confirmed, h.counter, now)
		}
		c.look(p, i, &h.bundles[i])
	}
	if c.found == nil {
		return Charge{Result: c.result, Product: c.product}
	}
	return Charge{Result: ChargeFound, License: c.found.license, Terms: p.terms(c.of, index, c.found, c.adds)}
}

// charging is how far the search for a license came.
type charging struct {
	feature int

	found   *asked
	of      int          // the product of found
	adds    []int64      // to the features of that product
	result  ChargeResult // where none is found
	product string       // that may be looked up
}

// missed notes a product of which memory holds nothing. What may be looked up matters most.
func (c *charging) missed(known Knowledge, product string) {
	switch {
	case known == Unknown && c.result != ChargeUnknown:
		c.result, c.product = ChargeUnknown, product
	case known == Unanswered && c.result != ChargeUnknown:
		c.result = ChargeUnanswered
	}
}

// look looks at what is held of one product.
func (c *charging) look(p *Policy, product int, b *bundle) {
	if c.result == ChargeSubjectUnknown && len(b.asked) > 0 {
		c.result = ChargeFeatureMissing
	}
	for i := range b.asked {
		a := &b.asked[i]
		if a.plan == nil || !a.plan.grants[c.feature].given {
			continue
		}
		if c.found == nil || c.before(p, a, product) {
			c.found, c.of, c.adds = a, product, b.adds
		}
	}
}

// before tells whether a license is charged rather than the one that was found. A direct
// customer's may be one and the same for several products: it is charged where a dimension meters.
func (c *charging) before(p *Policy, a *asked, product int) bool {
	f := c.found
	if order := cmp.Or(cmp.Compare(class(f), class(a)), f.license.Ended.Compare(a.license.Ended), inAskingOrder(*a, *f)); order != 0 {
		return order < 0
	}
	metered := func(product int) bool { return p.products[product].meters[c.feature].dimension != "" }
	return metered(product) && !metered(c.of)
}
