package policy

import (
	"fmt"
	"strings"
	"testing"
)

func TestSuggestFindsTheNearestName(t *testing.T) {
	known := []string{"apiCalls", "enterprise", "seats", "contract", "contractWithConsumption", "support"}
	for got, want := range map[string]string{
		"apiCall":                   "apiCalls",
		"APICALLS":                  "apiCalls",
		"entreprise":                "enterprise", // two neighbours changed places
		"saets":                     "seats",
		"contract-with-consumption": "contractWithConsumption",
		"supp":                      "support", // cut short
		"xyz":                       "",
		"":                          "",
		"se":                        "",
		"seats":                     "", // it is known: the mistake is another one
		strings.Repeat("seats", 20): "",
	} {
		if hint := Suggest(got, known); hint != want {
			t.Errorf("Suggest(%q) = %q, want %q", got, hint, want)
		}
	}
}

func TestSuggestTakesTheFirstOfNamesThatAreEquallyNear(t *testing.T) {
	for _, known := range [][]string{{"abd", "abc"}, {"abc", "abd"}} {
		if got := Suggest("abx", known); got != "abc" {
			t.Errorf("Suggest among %v = %q", known, got)
		}
	}
}

func TestValidateTakesAConfigurationThatSaysNothing(t *testing.T) {
	c := DefaultConfig()
	if errs := c.Validate(); len(errs) > 0 {
		t.Errorf("got %v", errs)
	}
}

func TestValidateBoundsHowMuchAConfigurationHolds(t *testing.T) {
	c := DefaultConfig()
	c.Routes = make([]Route, maxRoutes+1)
	c.Features = map[string]Feature{}
	for i := range maxFeatures + 1 {
		c.Features[fmt.Sprint(i)] = Feature{Type: TypeBoolean}
	}
	errs := c.Validate()
	if len(errs) != 2 || errs[0].Path[0] != "features" || errs[1].Path[0] != "routes" {
		t.Errorf("got %v", errs)
	}
}

// A plan that inherits a grant bills by it: the product that sells the child needs
// the dimension, unless the child has a grant of its own.
func TestThenBillNeedsADimensionOfEveryProductThatSellsTheGrant(t *testing.T) {
	bill := Grant{Metered: &MeteredGrant{Then: "bill"}}
	deny := Grant{Metered: &MeteredGrant{Then: "deny"}}
	for name, test := range map[string]struct {
		child Grant
		own   bool
		want  int
	}{
		"inherited": {want: 1},
		"replaced":  {child: deny, own: true, want: 0},
	} {
		child := Plan{Extends: "parent", Grants: map[string]Grant{}}
		if test.own {
			child.Grants["calls"] = test.child
		}
		c := Config{
			Features: map[string]Feature{"calls": {Type: TypeMetered}},
			Plans:    map[string]Plan{"parent": {Grants: map[string]Grant{"calls": bill}}, "child": child},
			Products: map[string]Product{
				"with":    {Dimensions: map[string]Dimension{"p": {Plan: "parent"}, "m": {Meters: "calls"}}},
				"without": {Dimensions: map[string]Dimension{"p": {Plan: "child"}}},
			},
		}
		if errs := c.Validate(); len(errs) != test.want {
			t.Errorf("%s: got %v", name, errs)
		}
	}
}

func FuzzSuggest(f *testing.F) {
	f.Add("apiCall", "apiCalls")
	f.Fuzz(func(t *testing.T, a, b string) {
		if got := Suggest(a, []string{b}); got != "" && got != b {
			t.Errorf("Suggest(%q, %q) = %q", a, b, got)
		}
		if x, y := editDistance(a, b), editDistance(b, a); len(a)+len(b) < 200 && x != y {
			t.Errorf("distance %d one way, %d the other", x, y)
		}
	})
}
