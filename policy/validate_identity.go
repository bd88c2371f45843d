package policy

import (
	"maps"
	"slices"
	"strings"
)

// extractorKey is a key of an extractor that these kinds of `from` need, and no
// other takes.
type extractorKey struct {
	key, value string
	from       []string
}

func extractorKeys(e Extractor) []extractorKey {
	return []extractorKey{
		{"provider", e.Provider, []string{"jwt"}},
		{"claim", e.Claim, []string{"jwt"}},
		{"namespace", e.Namespace, []string{"metadata"}},
		{"key", e.Key, []string{"metadata", "context"}},
		{"san", e.SAN, []string{"peer"}},
		{"name", e.Name, []string{"header"}},
	}
}

func (k *checker) checkIdentity() {
	for i, e := range k.Identity {
		if e.From != "" { // else it could not be read
			k.checkExtractor([]string{"identity", index(i)}, e)
		}
	}
}

func (k *checker) checkExtractor(path []string, e Extractor) {
	for _, x := range extractorKeys(e) {
		needed := slices.Contains(x.from, e.From)
		switch path := at(path, x.key); {
		case needed && x.value == "":
			k.fail(path, "add "+x.key+", with its value", "from: %s needs %s", e.From, x.key)
		case !needed && x.value != "":
			k.failKey(path, "from: "+strings.Join(x.from, " or "), "from: %s has no %s", e.From, x.key)
		case x.value == "":
		case x.key == "name":
			k.header(path, x.value)
		case len(x.value) > maxIdentity || !printable(x.value):
			k.fail(path, "1 to 256 visible ASCII characters", "%q can't be found in a request", x.value)
		}
	}
}

// header checks the name of a header or trailer that weir reads.
func (k *checker) header(path []string, name string) {
	switch {
	case len(name) > 256 || !token(strings.ToLower(name)):
		k.fail(path, "letters, digits and -", "%q is no header name", name)
	case name != strings.ToLower(name):
		k.fail(path, strings.ToLower(name), "header names are lower case")
	case strings.HasPrefix(name, "x-weir-"):
		k.fail(path, "another name", "weir removes x-weir-* headers from requests")
	}
}

// token tells whether a text is a header name in lower case (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func (k *checker) checkTenants() {
	for _, id := range slices.Sorted(maps.Keys(k.Tenants)) {
		t, path := k.Tenants[id], []string{"tenants", id}
		if !usable(id) {
			k.failKey(path, "1 to 256 of A-Z a-z 0-9 . _ : @ / + = -", "%q can't be the id of a tenant", id)
		}
		if given := count(t.Account != "", t.Customer != "", t.Plan != ""); given != 1 {
			k.fail(path, "exactly one of account, customer, plan", "%d of account, customer, plan are given", given)
		}
		if t.Account != "" && (len(t.Account) != accountDigits || !allDigits(t.Account)) {
			k.fail(at(path, "account"), `12 digits, such as "111122223333"`, "%q is no AWS account id", t.Account)
		}
		if t.Customer != "" && !usable(t.Customer) {
			k.fail(at(path, "customer"), "1 to 256 of A-Z a-z 0-9 . _ : @ / + = -", "%q can't be a customer identifier", t.Customer)
		}
		if t.Plan != "" {
			k.known(at(path, "plan"), "plan", t.Plan, k.plans)
		}
		if t.Product != "" {
			k.known(at(path, "product"), "product", t.Product, k.products)
		}
	}
}

func count(facts ...bool) int {
	n := 0
	for _, fact := range facts {
		if fact {
			n++
		}
	}
	return n
}
