package policy

import (
	"maps"
	"slices"
	"strings"
)

// unlimitedWord is the word of Included for a quantity without end.
const unlimitedWord = "unlimited"

func (k *checker) checkPlans() {
	cyclic := k.cyclicPlans()
	for _, name := range k.plans {
		p, path := k.Plans[name], []string{"plans", name}
		k.name(path, name, true)
		if p.Extends != "" {
			k.known(at(path, "extends"), "plan", p.Extends, k.plans)
		}
		if cycle := cyclic[name]; cycle != "" {
			k.fail(at(path, "extends"), "a plan can't be its own parent", "plans extend each other: %s", cycle)
		}
		for _, feature := range slices.Sorted(maps.Keys(p.Grants)) {
			k.checkGrant(at(path, "grants", feature), feature, p.Grants[feature])
		}
	}
	k.checkBilled(cyclic)
}

// cyclicPlans tells for one plan of each cycle, the first by name, how the cycle runs.
func (k *checker) cyclicPlans() map[string]string {
	cyclic, done := map[string]string{}, map[string]bool{}
	for _, start := range k.plans {
		var chain []string
		for name := start; name != "" && !done[name]; name = k.Plans[name].Extends {
			if i := slices.Index(chain, name); i >= 0 {
				cycle := chain[i:]
				first := slices.Index(cycle, slices.Min(cycle))
				turned := slices.Concat(cycle[first:], cycle[:first+1])
				cyclic[turned[0]] = strings.Join(turned, " -> ")
				break
			}
			chain = append(chain, name)
		}
		for _, name := range chain {
			done[name] = true
		}
	}
	return cyclic
}

func (k *checker) checkGrant(path []string, feature string, g Grant) {
	if !k.known(path, "feature", feature, k.features) {
		k.errs[len(k.errs)-1].OnKey = true
		return
	}
	switch f := k.Features[feature]; f.Type {
	case TypeBoolean:
		if g.Boolean == nil {
			k.fail(path, "true", "feature %q is boolean", feature)
		}
	case TypeNumber:
		k.checkNumber(path, feature, g.Number)
	case TypeText:
		k.checkText(path, feature, g.Text)
	case TypeMetered:
		k.checkMetered(path, feature, g.Metered)
	}
}

func (k *checker) checkNumber(path []string, feature string, n *int64) {
	switch {
	case n == nil:
		k.fail(path, "a whole number", "feature %q is a number", feature)
	case *n < 0 || *n > maxQuantity:
		k.fail(path, "0 to 15 digits", "%d is out of range", *n)
	}
}

func (k *checker) checkText(path []string, feature string, text *string) {
	values := k.Features[feature].Values
	switch {
	case text == nil:
		k.fail(path, "one of "+list(values), "feature %q is text", feature)
	case !slices.Contains(values, *text):
		hint := k.suggest(*text, values)
		if hint == "" && len(values) > 0 {
			hint = "one of " + list(values)
		}
		k.fail(path, hint, "%q is no value of feature %q", *text, feature)
	}
}

// list writes a few words for people.
func list(words []string) string {
	if most := 12; len(words) > most {
		return strings.Join(words[:most], ", ") + ", …"
	}
	return strings.Join(words, ", ")
}

func (k *checker) checkMetered(path []string, feature string, g *MeteredGrant) {
	if g == nil {
		k.fail(path, "a quantity, such as {included: 1000, every: month, then: deny}", "feature %q is metered", feature)
		return
	}
	included := at(path, "included")
	if n := g.Included.Number; n != nil && (*n < 0 || *n > maxQuantity) {
		k.fail(included, "0 to 15 digits", "%d is out of range", *n)
	}
	if t := g.Included.Text; t != nil && *t != unlimitedWord {
		k.fail(included, unlimitedWord, "%q is no quantity", *t)
	}
}

// checkBilled sees to it that what a plan bills can be billed: every product
// whose licenses have the plan has a dimension that meters the feature; a plan
// of no product needs some product that does.
func (k *checker) checkBilled(cyclic map[string]string) {
	if len(cyclic) > 0 {
		return
	}
	sold := k.plansSold()
	for _, name := range k.plans {
		grants := k.Plans[name].Grants
		for _, feature := range slices.Sorted(maps.Keys(grants)) {
			g := grants[feature].Metered
			if g == nil || g.Then != "bill" || k.Features[feature].Type != TypeMetered {
				continue
			}
			path := []string{"plans", name, "grants", feature, "then"}
			hint := "a dimension with {meters: " + feature + "}, or then: deny"
			if product, ok := k.unmetered(name, feature, sold); !ok && product == "" {
				k.fail(path, hint, "no dimension meters feature %q", feature)
			} else if !ok {
				k.fail(path, hint, "no dimension of product %q meters feature %q", product, feature)
			}
		}
	}
}

// plansSold lists, for each plan, the products whose licenses can have it.
func (k *checker) plansSold() map[string][]string {
	sold := map[string][]string{}
	for _, name := range k.products {
		p := k.Products[name]
		plans := map[string]bool{p.Plan: true}
		for _, d := range p.Dimensions {
			plans[d.Plan] = true
		}
		for plan := range plans {
			sold[plan] = append(sold[plan], name)
		}
	}
	return sold
}

// unmetered finds a product that sells the plan, or one that inherits its grant
// of the feature, and has no dimension that meters the feature; ok where there is
// none. Where nothing sells the plan any product will do, and product is empty.
func (k *checker) unmetered(plan, feature string, sold map[string][]string) (product string, ok bool) {
	var products []string
	for name := range sold {
		if k.inherits(name, plan, feature) {
			products = append(products, sold[name]...)
		}
	}
	if len(products) == 0 {
		return "", slices.ContainsFunc(k.products, func(p string) bool { return k.meters(p, feature) })
	}
	slices.Sort(products)
	for _, p := range products {
		if !k.meters(p, feature) {
			return p, false
		}
	}
	return "", true
}

// inherits tells whether a plan's grant of the feature is the one that the ancestor gives.
func (k *checker) inherits(plan, ancestor, feature string) bool {
	for range len(k.plans) {
		if plan == ancestor {
			return true
		}
		p, known := k.Plans[plan]
		if _, own := p.Grants[feature]; own || !known {
			return false
		}
		plan = p.Extends
	}
	return false
}

func (k *checker) meters(product, feature string) bool {
	for _, d := range k.Products[product].Dimensions {
		if d.Meters == feature {
			return true
		}
	}
	return false
}
