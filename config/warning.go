package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/policy"
)

// Warning is something that may be meant, and often is not.
type Warning struct {
	Line, Column int
	Path         string
	Msg          string
	Hint         string
}

// Text writes a warning on one line, as weir.yaml:12:5: path: what.
func (w Warning) Text(name string) string {
	return position(name, w.Line, w.Column, w.Path, w.Msg)
}

// Warnings lists what is no mistake and still worth a look, in the order of lines.
func (c *Config) Warnings() []Warning {
	w := &warner{Config: c}
	for _, key := range c.Unproven() {
		w.warn("set WEIR_TOKEN where weir serves, or listen.tls.clientCA; or listen on loopback or a socket",
			"other machines can reach this address: without a token weir does not start", "listen", key)
	}
	if len(w.Updates.SNS.Topics) > 0 && w.Listen.Public == "" {
		w.warn("set listen.public, where SNS can reach it; or remove the topics: those of a queue need not be listed",
			"SNS can post nowhere: /sns is served on listen.public alone", "updates", "sns", "topics")
	}
	w.unpricedRoutes()
	w.unusedPlans()
	w.manyZeros()
	slices.SortStableFunc(w.found, func(a, b Warning) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	return w.found
}

// Unproven lists the listeners under listen that other machines can reach although
// no client certificate is asked of them: with these, serve needs WEIR_TOKEN.
func (c *Config) Unproven() []string {
	var keys []string
	for _, l := range c.Listen.each() {
		address, err := listen.Parse(l.address)
		if err == nil && l.proven && !address.Local() && c.Listen.TLS.ClientCA == "" {
			keys = append(keys, l.key)
		}
	}
	return keys
}

type warner struct {
	*Config
	found []Warning
}

func (w *warner) warn(hint, msg string, path ...string) {
	line, column := w.Position(path...)
	w.found = append(w.found, Warning{line, column, policy.JoinPath(path), msg, hint})
}

// unpricedRoutes finds routes that count what no dimension of their product bills.
func (w *warner) unpricedRoutes() {
	for i, r := range w.Policy.Routes {
		name := r.Product
		if name == "" && len(w.Policy.Products) == 1 {
			for only := range w.Policy.Products {
				name = only
			}
		}
		product, known := w.Policy.Products[name]
		if r.Meter == nil || !known || product.Model == policy.ModelContract {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(product.Dimensions)), func(d policy.Dimension) bool {
			return d.Meters == r.Meter.Feature
		}) {
			w.warn(fmt.Sprintf("a dimension with {meters: %s}, where it is to be billed", r.Meter.Feature),
				fmt.Sprintf("no dimension of product %q meters feature %q: it is counted and never billed", name, r.Meter.Feature),
				"routes", fmt.Sprintf("[%d]", i), "meter", "feature")
		}
	}
}

// unusedPlans finds plans that nobody can have.
func (w *warner) unusedPlans() {
	used := map[string]bool{}
	for _, p := range w.Policy.Products {
		used[p.Plan] = true
		for _, d := range p.Dimensions {
			used[d.Plan] = true
		}
	}
	for _, t := range w.Policy.Tenants {
		used[t.Plan] = true
	}
	for _, p := range w.Policy.Plans {
		used[p.Extends] = true
	}
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(w.Policy.Plans)) {
		if !used[name] {
			unused = append(unused, name)
		}
	}
	for _, name := range unused {
		w.warn("a dimension with {plan: "+name+"}; or remove it", "no product, plan or tenant has this plan", "plans", name)
	}
}

// The bounds of records of 0: half of what AWS takes in an hour, which is 10 calls a second of 25 records, and
// the number of licenses that weir is built for. The file does not say how many licenses there are.
const (
	maxZeros    = 450_000
	maxLicenses = 100_000
)

// manyZeros finds products of which records of 0 could fill more than half of AWS's quota (BILLING B16).
func (w *warner) manyZeros() {
	if !w.Metering.Zero || !w.Metering.Send {
		return
	}
	name, most := "", 0
	metering := w.Policy.Metering()
	for _, product := range slices.Sorted(maps.Keys(metering)) {
		if n := len(metering[product]); n > most {
			name, most = product, n
		}
	}
	if most*maxLicenses > maxZeros {
		w.warn("metering.zero: false, or fewer dimensions that meter",
			fmt.Sprintf("product %q has %d dimensions that meter: with more than %d licenses its records of 0 are over 450,000 an hour, half of what AWS takes of all records",
				name, most, maxZeros/most),
			"metering", "zero")
	}
}

// Position is the line and column, from 1, of the value at a path such as
// "routes", "[3]", "meter"; of its nearest parent where the file does not give it.
// Without a file it is 1:1.
func (c *Config) Position(path ...string) (line, column int) {
	if c.root == nil {
		return 1, 1
	}
	n := locate(c.root, path, false)
	return max(1, n.Line), max(1, n.Column)
}
