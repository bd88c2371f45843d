package cache

import (
	"context"
	"strings"

	"github.com/weirhq/weir/policy"
)

// Charge finds the license that reported usage of a feature counts for. The subject is a
// tenant or a license key. One that memory does not hold is looked up, within the budget of a
// check and the context.
func (g *Gate) Charge(ctx context.Context, subject, feature string) policy.Charge {
	now, s := g.now(), g.cache.Snapshot()
	who := g.whom(s, subject)
	if !who.Usable() {
		return policy.Charge{Result: policy.ChargeSubjectUnknown}
	}
	found := g.policy.Charge(s, who, feature, now)
	if found.Result != policy.ChargeUnknown {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, budget(ctx))
	defer cancel()
	view := answered{s, who, map[string]policy.Knowledge{}}
	for found.Result == policy.ChargeUnknown { // of one product after the other
		view.known[found.Product] = g.cache.LookUp(ctx, who, found.Product)
		view.Snapshot = g.cache.Snapshot()
		found = g.policy.Charge(view, who, feature, now)
	}
	return found
}

// whom is the subject that a usage event names: a tenant, where there is one of that name, else a license.
func (g *Gate) whom(s *Snapshot, subject string) policy.Subject {
	who := policy.Subject{Kind: policy.SubjectTenant, ID: subject}
	if _, ok := s.tenants.get(subject); ok {
		return who
	}
	_, held := s.licenses.get(subject)
	if held || policy.Key(subject).Kind() != policy.KindLegacy || g.cache.isLegacyKey(subject) {
		who.Kind = policy.SubjectLicense
	}
	return who
}

// isLegacyKey tells whether a text is the key of a legacy license: it begins with the product's code.
func (c *Cache) isLegacyKey(text string) bool {
	code, customer, _ := strings.Cut(text, "/")
	if customer == "" {
		return false
	}
	for _, p := range c.products {
		if p.Code == code && p.Agreements == policy.AgreementsLegacy {
			return true
		}
	}
	return false
}
