package policy

import (
	"maps"
	"net/url"
	"slices"
)

func (k *checker) checkProducts() {
	codes, ids := map[string]string{}, map[string]string{}
	for _, name := range k.products {
		p, path := k.Products[name], []string{"products", name}
		k.name(path, name, true)
		k.awsID(at(path, "code"), p.Code, codes, name)
		k.awsID(at(path, "id"), p.ID, ids, name)
		if p.Quantities == QuantitiesDecimal {
			k.fail(at(path, "quantities"), QuantitiesInteger, "decimal: not yet")
		}
		if p.URL != "" && !webAddress(p.URL) {
			k.fail(at(path, "url"), "https://aws.amazon.com/marketplace/pp/…", "%q is no web address", p.URL)
		}
		k.checkProductPlan(path, p)
		k.checkDimensions(at(path, "dimensions"), p)
	}
}

// awsID checks a code or id of AWS's and that only one product has it.
func (k *checker) awsID(path []string, id string, seen map[string]string, product string) {
	switch other, twice := seen[id]; {
	case id == "":
	case len(id) > 255 || !printable(id):
		k.fail(path, "copy it from the listing", "%q is not one of AWS's", id)
	case twice:
		k.fail(path, "one listing is one product", "product %q has it too", other)
	default:
		seen[id] = product
	}
}

// printable tells whether a text is visible ASCII without blanks.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func webAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

func (k *checker) checkProductPlan(path []string, p Product) {
	path = at(path, "plan")
	switch {
	case p.Model == ModelSubscription && p.Plan == "":
		k.fail(path, "name the plan that every subscriber has", "a subscription listing needs a plan")
	case p.Model != ModelSubscription && p.Model != "" && p.Plan != "":
		k.fail(path, "give its dimensions plans", "only a subscription listing has one plan")
	case p.Plan != "":
		k.known(path, "plan", p.Plan, k.plans)
	}
}

func (k *checker) checkDimensions(path []string, p Product) {
	k.limit(len(p.Dimensions), maxDimensions, path...)
	meters := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(p.Dimensions)) {
		d, path := p.Dimensions[key], at(path, key)
		// AWS Catalog API: a dimension's key has at most 100 of these characters.
		if key == "" || len(key) > 100 || !onlyPlain(key) {
			k.failKey(path, "1 to 100 of A-Z a-z 0-9 . _ -", "%q is no dimension's key", key)
		}
		if given := count(d.Plan != "", d.Adds != "", d.Meters != ""); given != 1 {
			k.fail(path, "exactly one of plan, adds, meters", "%d of plan, adds, meters are given", given)
			continue
		}
		k.checkDimension(path, p, d)
		if other, twice := meters[d.Meters]; twice {
			k.fail(at(path, "meters"), "one dimension of a product meters a feature", "dimension %q meters %q too", other, d.Meters)
		} else if d.Meters != "" {
			meters[d.Meters] = key
		}
	}
}

func (k *checker) checkDimension(path []string, p Product, d Dimension) {
	if d.Plan != "" {
		k.entitled(at(path, "plan"), p)
		k.known(at(path, "plan"), "plan", d.Plan, k.plans)
	}
	adds, meters := Feature{}, Feature{}
	if d.Adds != "" {
		k.entitled(at(path, "adds"), p)
		adds = k.featureOf(at(path, "adds"), d.Adds, "a number or metered feature", TypeNumber, TypeMetered)
	}
	if d.Meters != "" {
		if p.Model == ModelContract {
			k.fail(at(path, "meters"), "model: "+ModelContractWithConsumption, "a contract listing has no metered dimensions")
		}
		meters = k.featureOf(at(path, "meters"), d.Meters, "a metered feature", TypeMetered)
	}
	k.checkPer(at(path, "per"), d, adds, meters)
}

// entitled fails where a listing sells nothing that a license could hold.
func (k *checker) entitled(path []string, p Product) {
	if p.Model == ModelSubscription {
		k.fail(path, "plan of the product, or another model", "a subscription listing has no entitled dimensions")
	}
}

// featureOf finds a feature of one of the types. Where it has none of them, or no
// known one, the mistake is reported and the feature is zero.
func (k *checker) featureOf(path []string, name, wanted string, types ...string) Feature {
	if !k.known(path, "feature", name, k.features) {
		return Feature{}
	}
	f := k.Features[name]
	if f.Type != "" && !slices.Contains(types, f.Type) {
		k.fail(path, wanted, "feature %q is a %s feature", name, f.Type)
		return Feature{}
	}
	return f
}

func (k *checker) checkPer(path []string, d Dimension, adds, meters Feature) {
	switch {
	case d.Per == 0:
	case d.Plan != "" || adds.Type == TypeNumber:
		k.fail(path, "leave it out", "per means something only where the feature is metered")
	case d.Per < 1:
		k.fail(path, "1 or more", "%d is too small", d.Per)
	case d.Per > maxQuantity && meters.Type+adds.Type != "":
		k.fail(path, "at most 15 digits", "%d is too large", d.Per)
	}
}

func (k *checker) checkFeatures() {
	for _, name := range k.features {
		f, path := k.Features[name], []string{"features", name}
		k.name(path, name, true)
		values := at(path, "values")
		switch {
		case f.Type == TypeText && len(f.Values) == 0:
			k.fail(values, "list them in rising order", "a text feature needs values")
		case f.Type != TypeText && f.Type != "" && len(f.Values) > 0:
			k.fail(values, "type: text", "a %s feature has no values", f.Type)
		}
		k.limit(len(f.Values), maxValues, values...)
		for i, v := range f.Values[:min(len(f.Values), maxValues)] {
			if v == "" || len(v) > 256 {
				k.fail(at(values, index(i)), "1 to 256 characters", "a value has %d characters", len(v))
			} else if slices.Index(f.Values, v) < i {
				k.fail(at(values, index(i)), "give each value once", "%q is listed twice", v)
			}
		}
	}
}
