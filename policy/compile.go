package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Policy is a compiled Config: names are indexes, plans are whole, routes are
// matched by a trie. It is immutable and safe for any number of goroutines.
type Policy struct {
	products     []product // by name
	productIndex map[string]int
	features     []feature // by name
	featureIndex map[string]int
	plans        []*plan // by rank, then name
	planIndex    map[string]*plan
	routes       []route // as configured
	routeIndex   map[string]int
	router       *router
	identity     []extractor
	unmatched    bool // an unmatched request is allowed
	faults       bool // a fault is allowed
	grace        time.Duration
}

type product struct {
	name       string
	url        string
	plan       *plan // of every subscriber; nil: dimensions choose
	dimensions map[string]dimension
	meters     []metering // by feature index
	sells      []*plan    // plans that a license can have, by rank
}

// dimension is what holding it means: a plan, or an addition to a feature.
type dimension struct {
	plan *plan
	adds int // feature index; -1: adds nothing
	per  int64
}

// metering is the dimension that bills a feature, if there is one.
type metering struct {
	dimension string
	per       int64
}

type feature struct {
	name   string
	kind   string
	unit   string
	values []string
}

type plan struct {
	name   string
	rank   int64
	grants []grant // by feature index
}

// grant is what a plan gives of one feature; the feature's type says which member counts.
type grant struct {
	given   bool
	boolean bool
	number  int64 // of a text feature: the index of its value
	every   Period
	then    Then
	// included is of a metered feature: units in a period, or Unlimited.
	included int64
}

type route struct {
	name     string
	public   bool
	product  int
	requires []requirement // by feature name
	meter    *meter
	shadow   bool
	unknown  string
	stale    time.Duration
	staleOK  bool // stale entitlements are used
	faults   bool
}

type requirement struct {
	feature int
	number  int64 // the least number, or the least index of a text's value
}

// Compile turns a configuration into a Policy. The error joins every FieldError
// that Validate finds.
func Compile(c Config) (*Policy, error) {
	if mistakes := c.Validate(); len(mistakes) > 0 {
		errs := make([]error, len(mistakes))
		for i, m := range mistakes {
			errs[i] = m
		}
		return nil, errors.Join(errs...)
	}
	p := &Policy{
		unmatched: c.Failure.Unmatched == wordAllow,
		faults:    c.Failure.Fault == wordAllow,
		grace:     c.Failure.Grace,
	}
	p.compileFeatures(c.Features)
	p.compilePlans(c.Plans)
	p.compileProducts(c.Products)
	for _, e := range c.Identity {
		p.identity = append(p.identity, compileExtractor(e))
	}
	p.compileRoutes(c)
	var err error
	if p.router, err = newRouter(c.Routes); err != nil {
		return nil, fmt.Errorf("compile routes: %w", err)
	}
	return p, nil
}

// wordAllow is the word of weir.yaml for letting a request through.
const wordAllow = "allow"

func (p *Policy) compileFeatures(c map[string]Feature) {
	p.featureIndex = make(map[string]int, len(c))
	for i, name := range slices.Sorted(maps.Keys(c)) {
		f := c[name]
		p.features = append(p.features, feature{name: name, kind: f.Type, unit: f.Unit, values: f.Values})
		p.featureIndex[name] = i
	}
}

func (p *Policy) compilePlans(c map[string]Plan) {
	p.planIndex = make(map[string]*plan, len(c))
	for name, pl := range c {
		made := &plan{name: name, rank: pl.Rank, grants: make([]grant, len(p.features))}
		for feature, g := range grantsOf(c, name) {
			i := p.featureIndex[feature]
			made.grants[i] = compileGrant(p.features[i], g)
		}
		p.plans = append(p.plans, made)
		p.planIndex[name] = made
	}
	slices.SortFunc(p.plans, func(a, b *plan) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
	})
}

// grantsOf is what a plan grants with all that it extends; a child's grant
// replaces its parent's whole grant of that feature.
func grantsOf(plans map[string]Plan, name string) map[string]Grant {
	all := map[string]Grant{}
	for name != "" {
		for feature, g := range plans[name].Grants {
			if _, ok := all[feature]; !ok {
				all[feature] = g
			}
		}
		name = plans[name].Extends
	}
	return all
}

func compileGrant(f feature, g Grant) grant {
	made := grant{given: true}
	switch {
	case g.Boolean != nil:
		made.boolean = *g.Boolean
	case g.Number != nil:
		made.number = *g.Number
	case g.Text != nil:
		made.number = int64(slices.Index(f.values, *g.Text))
	case g.Metered != nil:
		made.every, made.then = periodOf(g.Metered.Every), ThenDeny
		if g.Metered.Then == ThenBill.String() {
			made.then = ThenBill
		}
		switch included := g.Metered.Included; {
		case included.Text != nil:
			made.included = Unlimited
		case included.Number != nil:
			made.included = *included.Number
		}
	}
	return made
}

func periodOf(word string) Period {
	for p := range Periods {
		if p.String() == word {
			return p
		}
	}
	return Month
}

func (p *Policy) compileProducts(c map[string]Product) {
	p.productIndex = make(map[string]int, len(c))
	for i, name := range slices.Sorted(maps.Keys(c)) {
		pr := c[name]
		made := product{
			name: name, url: pr.URL, plan: p.planIndex[pr.Plan],
			dimensions: make(map[string]dimension, len(pr.Dimensions)),
			meters:     make([]metering, len(p.features)),
		}
		for key, d := range pr.Dimensions {
			compiled := dimension{plan: p.planIndex[d.Plan], adds: -1, per: max(d.Per, 1)}
			if j, ok := p.featureIndex[d.Adds]; ok {
				compiled.adds = j
			}
			if j, ok := p.featureIndex[d.Meters]; ok {
				made.meters[j] = metering{dimension: key, per: max(d.Per, 1)}
			}
			made.dimensions[key] = compiled
		}
		for _, pl := range p.plans {
			if pl == made.plan || made.chooses(pl) {
				made.sells = append(made.sells, pl)
			}
		}
		p.products = append(p.products, made)
		p.productIndex[name] = i
	}
}

// chooses tells whether a dimension of the product chooses the plan.
func (pr *product) chooses(pl *plan) bool {
	for _, d := range pr.dimensions {
		if d.plan == pl {
			return true
		}
	}
	return false
}

func (p *Policy) compileRoutes(c Config) {
	p.routeIndex = make(map[string]int, len(c.Routes))
	for i, r := range c.Routes {
		f := c.Failure
		made := route{
			name: r.Name, public: r.Public, product: -1, shadow: r.Mode == Shadow.String(),
			unknown: cmp.Or(r.Failure.Unknown, f.Unknown),
			stale:   f.Stale.After,
			staleOK: cmp.Or(r.Failure.Stale.Then, f.Stale.Then) == wordAllow,
			faults:  cmp.Or(r.Failure.Fault, f.Fault) == wordAllow,
		}
		if r.Failure.Stale.After != nil {
			made.stale = *r.Failure.Stale.After
		}
		if j, ok := p.productIndex[r.Product]; ok {
			made.product = j
		} else if len(p.products) == 1 && !r.Public {
			made.product = 0
		}
		for _, name := range slices.Sorted(maps.Keys(r.Requires)) {
			made.requires = append(made.requires, p.compileRequirement(name, r.Requires[name]))
		}
		if r.Meter != nil {
			made.meter = p.compileMeter(r.Meter)
		}
		p.routes = append(p.routes, made)
		p.routeIndex[r.Name] = i
	}
}

func (p *Policy) compileRequirement(name string, r Requirement) requirement {
	made := requirement{feature: p.featureIndex[name]}
	switch {
	case r.Number != nil:
		made.number = *r.Number
	case r.Text != nil:
		made.number = int64(slices.Index(p.features[made.feature].values, *r.Text))
	}
	return made
}

// Features are the names of all features; a Taking's Feature is an index into it.
func (p *Policy) Features() []string {
	names := make([]string, len(p.features))
	for i, f := range p.features {
		names[i] = f.name
	}
	return names
}

// RouteNames are the names of all routes, as configured.
func (p *Policy) RouteNames() []string {
	names := make([]string, len(p.routes))
	for i, r := range p.routes {
		names[i] = r.name
	}
	return names
}
