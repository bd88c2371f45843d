package cache

import (
	"context"
	"maps"
	"slices"

	"github.com/weirhq/weir/policy"
)

// Entitlements is what a tenant may use of a product, and how sure that is; of the
// first product by name of which it holds a license that lets requests through where
// none is named. Quotas are only looked at. A buyer whom memory does not hold is looked
// up within the budget of a check.
func (g *Gate) Entitlements(ctx context.Context, tenant, product string) (policy.Entitled, policy.Knowledge) {
	if product != "" {
		return g.entitled(ctx, tenant, product)
	}
	sure := policy.Absent
	for _, name := range slices.Sorted(maps.Keys(g.cache.products)) {
		found, known := g.entitled(ctx, tenant, name)
		switch {
		case found.License != nil:
			return found, known
		case known == policy.Unanswered:
			sure = known
		}
	}
	return policy.Entitled{}, sure
}

func (g *Gate) entitled(ctx context.Context, tenant, product string) (policy.Entitled, policy.Knowledge) {
	who, now := policy.Subject{Kind: policy.SubjectTenant, ID: tenant}, g.now()
	found, known := g.policy.Entitled(g.cache.Snapshot(), who, product, now)
	if known != policy.Unknown {
		return found, known
	}
	ctx, cancel := context.WithTimeout(ctx, budget(ctx))
	defer cancel()
	said := map[string]policy.Knowledge{product: g.cache.LookUp(ctx, who, product)}
	answer := answered{g.cache.Snapshot(), who, said}
	return g.policy.Entitled(answer, who, product, now)
}
