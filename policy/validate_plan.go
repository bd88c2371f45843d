package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// unlimitedWord is the word of Included for a quantity without end.
const unlimitedWord = "unlimited"

func (k *checker) checkPlans() {
	for _, name := range k.plans {
		p, path := k.Plans[name], []string{"plans", name}
		k.name(path, name, true)
		if p.Extends != "" {
			k.known(at(path, "extends"), "plan", p.Extends, k.plans)
		}
		for _, feature := range slices.Sorted(maps.Keys(p.Grants)) {
			k.checkGrant(at(path, "grants", feature), feature, p.Grants[feature])
		}
	}
	if k.checkAncestors() {
		k.checkBilled()
	}
}

// checkAncestors reports whether every plan's ancestors come to an end soon.
func (k *checker) checkAncestors() bool {
	cycles := k.cyclicPlans()
	for _, name := range slices.Sorted(maps.Keys(cycles)) {
		k.fail([]string{"plans", name, "extends"}, "a plan can't be its own parent", "plans extend each other: %s", cycles[name])
	}
	if len(cycles) > 0 {
		return false
	}
	for _, name := range k.plans {
		depth := 0
		for plan := name; plan != ""; plan = k.Plans[plan].Extends {
			depth++
		}
		if depth > maxAncestors {
			k.fail([]string{"plans", name, "extends"}, "", "more than %d plans stand above it", maxAncestors)
			return false
		}
	}
	return true
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
		k.fail(included, includedHint(*t), "%q is no quantity", *t)
	}
}

// includedHint tells what to write in the place of a text: a number may have been quoted.
func includedHint(got string) string {
	if _, err := strconv.ParseUint(got, 10, 64); err == nil {
		return got + ", without quotes"
	}
	return unlimitedWord
}

// checkBilled sees to it that what a plan bills can be billed: every product
// whose licenses have the grant has a dimension that meters the feature; a grant
// of no product needs some product that does.
func (k *checker) checkBilled() {
	sellers, meters := k.sellers(), k.metersByProduct()
	for _, name := range k.plans {
		grants := k.Plans[name].Grants
		for _, feature := range slices.Sorted(maps.Keys(grants)) {
			g := grants[feature].Metered
			if g == nil || g.Then != ThenBill.String() || k.Features[feature].Type != TypeMetered {
				continue
			}
			path := []string{"plans", name, "grants", feature, "then"}
			hint := "a dimension with {meters: " + feature + "}, or then: deny"
			without := func(product string) bool { return !meters[product][feature] }
			sold := slices.Sorted(maps.Keys(sellers[grantOf{name, feature}]))
			if i := slices.IndexFunc(sold, without); i >= 0 {
				k.fail(path, hint, "no dimension of product %q meters feature %q", sold[i], feature)
			} else if len(sold) == 0 && !slices.ContainsFunc(k.products, func(p string) bool { return !without(p) }) {
				k.fail(path, hint, "no dimension meters feature %q", feature)
			}
		}
	}
}

// grantOf names the grant of one feature that stands in one plan.
type grantOf struct{ plan, feature string }

// sellers are, for each grant, the products whose licenses can have it: by the plan
// that it stands in, or by one that inherits it.
func (k *checker) sellers() map[grantOf]map[string]bool {
	found := map[grantOf]map[string]bool{}
	for plan, products := range k.plansSold() {
		given := map[string]bool{}
		for name := plan; name != ""; name = k.Plans[name].Extends {
			for feature := range k.Plans[name].Grants {
				if given[feature] {
					continue // a grant of the child replaces it
				}
				given[feature] = true
				g := grantOf{name, feature}
				if found[g] == nil {
					found[g] = map[string]bool{}
				}
				maps.Copy(found[g], products)
			}
		}
	}
	return found
}

// plansSold are, for each plan, the products that name it.
func (k *checker) plansSold() map[string]map[string]bool {
	sold := map[string]map[string]bool{}
	add := func(plan, product string) {
		if sold[plan] == nil {
			sold[plan] = map[string]bool{}
		}
		sold[plan][product] = true
	}
	for name, p := range k.Products {
		add(p.Plan, name)
		for _, d := range p.Dimensions {
			add(d.Plan, name)
		}
	}
	delete(sold, "")
	return sold
}

// metersByProduct are the features that dimensions of each product meter.
func (k *checker) metersByProduct() map[string]map[string]bool {
	meters := map[string]map[string]bool{}
	for name, p := range k.Products {
		meters[name] = map[string]bool{}
		for _, d := range p.Dimensions {
			meters[name][d.Meters] = true
		}
	}
	return meters
}
