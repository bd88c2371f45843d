package emulator

import (
	"slices"
	"strings"
	"time"
)

// maxResults is the largest page of GetEntitlements, and the default.
const maxResults = 25

const badParameter = "InvalidParameterException"

// Filters of GetEntitlements: values of one are alternatives, filters must all hold.
const (
	filterCustomer  = "CUSTOMER_IDENTIFIER"
	filterAccount   = "CUSTOMER_AWS_ACCOUNT_ID"
	filterDimension = "DIMENSION"
	filterLicense   = "LICENSE_ARN"
)

// entitlementQuery is a GetEntitlements request, decoded.
type entitlementQuery struct {
	product *product
	filters map[string][]string
	page    int
	after   position // where the page before ended
	digest  string   // of product and filters: a token is good for one query only
}

// position is a place in a product's entitlements, which keep their order: license by license, as created.
type position struct{ license, entitlement int }

// getEntitlements shows what buyers of a product hold, a page at a time.
func (e *Emulator) getEntitlements(c *call) (object, error) {
	q, err := e.readQuery(newInput(c.in))
	if err != nil {
		return nil, err
	}
	if c.fault.emptiesPage() {
		return object{"Entitlements": []object{}, "NextToken": q.token(q.after)}, nil
	}
	now := e.clock.now()
	found := []object{}
	last := q.after
	for _, l := range e.candidates(q) {
		if l.number < q.after.license || !l.provisioned(now) || !q.admits(l) {
			continue
		}
		for i, held := range l.entitlements {
			at := position{l.number, i + 1}
			if l.number == q.after.license && at.entitlement <= q.after.entitlement || !q.allows(filterDimension, held.dimension) {
				continue
			}
			if len(found) == q.page {
				return object{"Entitlements": found, "NextToken": q.token(last)}, nil
			}
			found = append(found, entitlementShape(l, held))
			last = at
		}
	}
	return object{"Entitlements": found}, nil
}

// candidates is the shortest list of licenses that holds everything the query can find, in order of creation.
func (e *Emulator) candidates(q *entitlementQuery) []*license {
	var list []*license
	switch {
	case q.filters[filterLicense] != nil:
		for _, arn := range q.filters[filterLicense] {
			if l, ok := e.licenses.byKey[arn]; ok && l.product == q.product && !slices.Contains(list, l) {
				list = append(list, l)
			}
		}
	case q.filters[filterAccount] != nil:
		for _, account := range slices.Compact(slices.Sorted(slices.Values(q.filters[filterAccount]))) {
			list = append(list, e.licenses.byAccount[q.product.Code+"/"+account]...)
		}
	default:
		all := e.licenses.byProduct[q.product.Code]
		from, _ := slices.BinarySearchFunc(all, q.after.license, func(l *license, number int) int { return l.number - number })
		return all[from:]
	}
	slices.SortFunc(list, func(a, b *license) int { return a.number - b.number })
	return list
}

// admits is true of a license that passes every filter but that of dimensions.
func (q *entitlementQuery) admits(l *license) bool {
	return q.allows(filterLicense, l.arn) && q.allows(filterAccount, l.account) && q.allows(filterCustomer, l.customer)
}

func (q *entitlementQuery) allows(filter, value string) bool {
	values, given := q.filters[filter]
	return !given || slices.Contains(values, value)
}

func entitlementShape(l *license, held entitlement) object {
	out := object{
		"ProductCode":          l.product.Code,
		"Dimension":            held.dimension,
		"CustomerAWSAccountId": l.account,
		"Value":                held.value,
		"ExpirationDate":       epoch(held.expires),
	}
	addIfSet(out, "CustomerIdentifier", l.customer)
	addIfSet(out, "LicenseArn", l.arn)
	return out
}

// readQuery decodes and checks a request (service model 2017-01-11); every breach is InvalidParameterException, the
// only name that the model has for it.
func (e *Emulator) readQuery(in input) (*entitlementQuery, error) {
	var broken violations
	code := in.text("ProductCode")
	if broken.require(in, "productCode", "ProductCode") {
		broken.length("productCode", code, 1, 255)
	}
	q := &entitlementQuery{page: maxResults, filters: readFilters(in.structure("Filter"), &broken)}
	if in.has("MaxResults") {
		q.page = in.integer("MaxResults")
		broken.atLeast("maxResults", q.page, 1)
		broken.atMost("maxResults", q.page, maxResults)
	}
	next := in.text("NextToken")
	if in.has("NextToken") {
		broken.pattern("nextToken", next, `\S+`, next != "" && !strings.ContainsAny(next, " \t\r\n"))
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	if err := broken.err(badParameter); err != nil {
		return nil, err
	}
	if q.filters[filterCustomer] != nil && q.filters[filterAccount] != nil {
		return nil, refuse(badParameter, "%s and %s are mutually exclusive.", filterCustomer, filterAccount)
	}
	if q.product = e.products[code]; q.product == nil {
		return nil, refuse(badParameter, "The product code %s does not match a published product.", clip(code))
	}
	q.digest = queryDigest(q.product.Code, q.filters)
	if next == "" {
		return q, nil
	}
	return q, q.resume(next)
}

func readFilters(in input, broken *violations) map[string][]string {
	filters := map[string][]string{}
	for name := range in.members {
		switch name {
		case filterCustomer, filterAccount, filterDimension, filterLicense:
			values := in.texts(name)
			broken.count("filter."+name, len(values), 1, maxFilterValues)
			filters[name] = values
		default:
			broken.add("filter", name, "Map keys must satisfy constraint: Member must satisfy enum value set: ["+
				strings.Join([]string{filterCustomer, filterDimension, filterAccount, filterLicense}, ", ")+"]")
		}
	}
	return filters
}

// maxFilterValues bounds a filter; the model has no limit.
const maxFilterValues = 10_000

func (q *entitlementQuery) token(after position) string {
	return pageToken(q.digest, int64(after.license), int64(after.entitlement))
}

func (q *entitlementQuery) resume(token string) error {
	license, entitlement, ok := readPageToken(q.digest, token)
	if !ok {
		return refuse(badParameter, "The NextToken is invalid.")
	}
	q.after = position{int(license), int(entitlement)}
	return nil
}

// setEntitlements replaces what a license holds.
func (l *license) setEntitlements(list []entitlement) {
	l.entitlements = slices.Clone(list)
}

// setExpiry gives a date to each entitlement that has none.
func (l *license) setExpiry(list []entitlement) []entitlement {
	out := slices.Clone(list)
	for i := range out {
		if out[i].expires.IsZero() {
			out[i].expires = l.defaultExpiry()
		}
		out[i].expires = out[i].expires.UTC().Truncate(time.Second)
	}
	return out
}
