package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The most that one configuration may hold. They are far above what anyone sells
// and keep the time that a load takes bounded.
const (
	maxProducts   = 100
	maxDimensions = 400 // AWS Catalog API: 200 entitled and 200 metered dimensions a product
	maxFeatures   = 1000
	maxPlans      = 1000
	maxAncestors  = 32
	maxExtractors = 16
	maxTenants    = 100_000
	maxRoutes     = 10_000
	maxValues     = 100
	maxMethods    = 32

	// maxSuggestions bounds how many names are searched for a near one: each
	// search compares with every known name.
	maxSuggestions = 200
)

// Validate finds every mistake that the types can't exclude: names that lead
// nowhere, and combinations that mean nothing. Paths begin at Config.
func (c *Config) Validate() []*FieldError {
	k := &checker{
		Config:   c,
		products: slices.Sorted(maps.Keys(c.Products)),
		features: slices.Sorted(maps.Keys(c.Features)),
		plans:    slices.Sorted(maps.Keys(c.Plans)),
	}
	k.limit(len(c.Products), maxProducts, "products")
	k.limit(len(c.Features), maxFeatures, "features")
	k.limit(len(c.Plans), maxPlans, "plans")
	k.limit(len(c.Tenants), maxTenants, "tenants")
	k.limit(len(c.Identity), maxExtractors, "identity")
	k.limit(len(c.Routes), maxRoutes, "routes")
	if len(k.errs) > 0 {
		return k.errs
	}
	k.checkProducts()
	k.checkFeatures()
	k.checkPlans()
	k.checkIdentity()
	k.checkTenants()
	k.checkRoutes()
	k.checkFailure()
	return k.errs
}

// checker collects the mistakes of one Config.
type checker struct {
	*Config
	products, features, plans []string // the defined names, sorted

	errs     []*FieldError
	searches int // suggestions looked for so far
}

// fail reports a mistake of the value at path; hint may be empty.
func (k *checker) fail(path []string, hint, format string, args ...any) {
	k.errs = append(k.errs, &FieldError{Path: path, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// failKey reports a mistake of the key at path.
func (k *checker) failKey(path []string, hint, format string, args ...any) {
	k.fail(path, hint, format, args...)
	k.errs[len(k.errs)-1].OnKey = true
}

func (k *checker) limit(n, most int, path ...string) {
	if n > most {
		k.fail(path, fmt.Sprintf("%d or fewer", most), "%d are more than weir takes, %d", n, most)
	}
}

// suggest is Suggest within the bound of one Validate.
func (k *checker) suggest(got string, known []string) string {
	if k.searches++; k.searches > maxSuggestions {
		return ""
	}
	return Suggest(got, known)
}

// known reports whether name, of the given kind, is defined, and fails where it is not.
func (k *checker) known(path []string, kind, name string, names []string) bool {
	if _, ok := slices.BinarySearch(names, name); ok {
		return true
	}
	hint := k.suggest(name, names)
	if hint == "" {
		hint = "define it under " + kind + "s"
	}
	k.fail(path, hint, "no %s %q", kind, name)
	return false
}

// name checks a name that becomes a metric label and header text; it is the key
// at path, or its value.
func (k *checker) name(path []string, name string, isKey bool) {
	if !plainName(name) {
		k.fail(path, "1 to 64 of A-Z a-z 0-9 . _ -", "%q is not a usable name", name)
		k.errs[len(k.errs)-1].OnKey = isKey
	}
}

func plainName(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && onlyPlain(s)
}

func onlyPlain(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && !strings.ContainsRune("._-", rune(s[i])) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// at makes a path. It copies, so that paths never share memory.
func at(path []string, more ...string) []string {
	return slices.Concat(path, more)
}

// index is the element of a path that leads into a list.
func index(i int) string { return fmt.Sprintf("[%d]", i) }

func (k *checker) checkFailure() {
	k.duration(k.Failure.Grace, "failure", "grace")
	k.duration(k.Failure.Stale.After, "failure", "stale", "after")
}

func (k *checker) duration(d time.Duration, path ...string) {
	if d < 0 {
		k.fail(path, "0 or more", "%s is negative", d)
	}
}
