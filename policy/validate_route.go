package policy

import (
	"maps"
	"slices"
	"strings"
)

func (k *checker) checkRoutes() {
	names, claims := map[string]int{}, map[string]int{}
	for i, r := range k.Routes {
		path := []string{"routes", index(i)}
		if r.Name != "" {
			k.name(at(path, "name"), r.Name, false)
			if first, twice := names[r.Name]; twice {
				k.fail(at(path, "name"), "another name", "routes[%d] is called %q too", first, r.Name)
			} else {
				names[r.Name] = i
			}
		}
		if k.checkMatch(at(path, "match"), r.Match) {
			k.claim(at(path, "match"), i, r.Match, claims)
		}
		if r.Public {
			k.checkPublic(path, r)
			continue
		}
		k.checkRouteProduct(at(path, "product"), r)
		for _, feature := range slices.Sorted(maps.Keys(r.Requires)) {
			k.checkRequirement(at(path, "requires", feature), feature, r.Requires[feature])
		}
		if r.Meter != nil {
			k.checkMeter(at(path, "meter"), *r.Meter)
		}
		if after := r.Failure.Stale.After; after != nil {
			k.duration(*after, at(path, "failure", "stale", "after")...)
		}
	}
}

// checkPublic fails on what a route without a subject can't have.
func (k *checker) checkPublic(path []string, r Route) {
	const hint = "leave it out, or public: false"
	if len(r.Requires) > 0 {
		k.failKey(at(path, "requires"), hint, "a public route requires nothing")
	}
	if r.Meter != nil {
		k.failKey(at(path, "meter"), hint, "nothing is counted on a public route")
	}
	if r.Product != "" {
		k.failKey(at(path, "product"), hint, "a public route needs no license")
	}
}

func (k *checker) checkRouteProduct(path []string, r Route) {
	switch {
	case r.Product != "":
		k.known(path, "product", r.Product, k.products)
	case len(k.products) > 1:
		k.fail(path, "one of "+list(k.products), "with several products a route names the one whose license it needs")
	}
}

func (k *checker) checkRequirement(path []string, feature string, r Requirement) {
	if !k.known(path, "feature", feature, k.features) {
		k.errs[len(k.errs)-1].OnKey = true
		return
	}
	switch k.Features[feature].Type {
	case TypeBoolean:
		if r.Boolean == nil || !*r.Boolean {
			k.fail(path, "true", "feature %q is boolean, and only true can be required", feature)
		}
	case TypeNumber:
		k.checkNumber(path, feature, r.Number)
	case TypeText:
		k.checkText(path, feature, r.Text)
	case TypeMetered:
		k.failKey(path, "meter: {feature: "+feature+"}", "feature %q is metered: a route meters it", feature)
	}
}

func (k *checker) checkMeter(path []string, m Meter) {
	if m.Feature != "" {
		k.featureOf(at(path, "feature"), m.Feature, "a metered feature", TypeMetered)
	}
	k.checkQuantity(at(path, "quantity"), m.Quantity)
	if m.Quantity.OfResponse() && m.When == WhenChecked {
		k.fail(at(path, "when"), WhenServed, "the quantity is not known before the response")
	}
	switch reserve := at(path, "reserve"); {
	case m.Reserve < 0 || m.Reserve > maxQuantity:
		k.fail(reserve, "0 to 15 digits", "%d is out of range", m.Reserve)
	case m.Reserve > 0 && m.When == WhenChecked:
		k.failKey(reserve, "when: "+WhenServed, "nothing is held where the check counts")
	}
}

// The words of Meter.When, and of Meter.Quantity where it is one.
const (
	WhenServed  = "served"
	WhenChecked = "checked"

	QuantityRequestBytes  = "requestBytes"
	QuantityResponseBytes = "responseBytes"
)

// OfResponse tells whether the quantity is known only when the response is there: a
// request's body is passed on while it comes.
func (q Quantity) OfResponse() bool {
	return q.Text != nil || q.Mapping != nil && q.Mapping.RequestHeader == ""
}

func (k *checker) checkQuantity(path []string, q Quantity) {
	switch {
	case q.Number != nil && (*q.Number < 1 || *q.Number > maxQuantity):
		k.fail(path, "1 to 15 digits", "%d is out of range", *q.Number)
	case q.Text != nil && *q.Text != QuantityRequestBytes && *q.Text != QuantityResponseBytes:
		k.fail(path, k.quantityHint(*q.Text), "%q is no quantity", *q.Text)
	case q.Mapping != nil:
		m := q.Mapping
		if given := count(m.RequestHeader != "", m.ResponseHeader != "", m.ResponseTrailer != ""); given != 1 {
			k.fail(path, "exactly one of requestHeader, responseHeader, responseTrailer", "%d sources are given", given)
		}
		for _, source := range [][2]string{
			{"requestHeader", m.RequestHeader}, {"responseHeader", m.ResponseHeader}, {"responseTrailer", m.ResponseTrailer},
		} {
			if source[1] != "" {
				k.header(at(path, source[0]), source[1])
			}
		}
	}
}

func (k *checker) quantityHint(got string) string {
	if near := k.suggest(got, []string{QuantityRequestBytes, QuantityResponseBytes}); near != "" {
		return near
	}
	return "a number, requestBytes, responseBytes, {requestHeader: …}, {responseHeader: …} or {responseTrailer: …}"
}

// checkMatch reports whether the match can be compared with others.
func (k *checker) checkMatch(path []string, m Match) bool {
	before := len(k.errs)
	if m.Path != "" {
		if msg, hint := patternMistake(m.Path); msg != "" {
			k.fail(at(path, "path"), hint, "%s", msg)
		}
	}
	if m.Host != "" {
		k.checkHost(at(path, "host"), m.Host)
	}
	methods := at(path, "methods")
	if m.Methods != nil && len(m.Methods) == 0 {
		k.fail(methods, "leave it out for all methods", "no method is listed")
	}
	k.limit(len(m.Methods), maxMethods, methods...)
	for i, method := range m.Methods[:min(len(m.Methods), maxMethods)] {
		k.checkMethod(at(methods, index(i)), method, m.Methods[:i])
	}
	return m.Path != "" && len(k.errs) == before
}

func (k *checker) checkMethod(path []string, method string, earlier []string) {
	switch upper := strings.ToUpper(method); {
	case len(method) > 64 || !token(strings.ToLower(method)):
		k.fail(path, "such as GET or POST", "%q is no method", method)
	case method != upper:
		k.fail(path, upper, "methods are upper case")
	case slices.Contains(earlier, method):
		k.fail(path, "give each method once", "%s is listed twice", method)
	}
}

func (k *checker) checkHost(path []string, host string) {
	lower := strings.ToLower(host)
	name, ok := hostName(host)
	switch {
	case strings.Contains(host, "*"):
		k.fail(path, "a route for each host, or none for all", "hosts have no wildcards")
	case !ok || name == "" || len(host) > 253: // RFC 1035, 2.3.4, without the dot at the end
		k.fail(path, "a name such as api.example.com", "%q is no host", host)
	case host != lower:
		k.fail(path, lower, "hosts are lower case")
	case strings.HasSuffix(host, "."):
		k.fail(path, name, "hosts are without a dot at the end")
	case name != host:
		k.fail(path, name, "hosts are without port")
	}
}
