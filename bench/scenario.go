package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

// weirConfig is the configuration of weir in all scenarios.
//
//go:embed weir.yaml.tmpl
var weirConfig string

// shape is what weir has to decide about.
type shape struct {
	Licenses int
	// Direct customers have licenses that no emulator is asked for: reading 100,000 takes minutes at
	// AWS's rates. To a check they are the same.
	Direct bool
	Routes int
	// Path is that of the requests: metered, plain or denied.
	Path   string
	Denied bool
	Socket string // path of the socket that weir listens on; empty: TCP
}

// The paths of the scenarios' requests.
const (
	metered = "/v1/reports/"
	plain   = "/v1/plain/"
	denied  = "/v1/sso/"
)

// base is the case that all others differ from in one thing.
func base() shape { return shape{Licenses: 1000, Routes: 10, Path: metered} }

// Tenant, Account and license are the i-th buyer's.
func (shape) Tenant(i int) string  { return fmt.Sprintf("tenant-%06d", i) }
func (shape) Account(i int) string { return fmt.Sprintf("5%011d", i) }
func license(i int) string {
	return fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i)
}

// Tenants and OtherRoutes are for the template.
func (s shape) Tenants() []int { return upTo(s.Licenses) }

// OtherRoutes are the routes beside the three of the scenarios.
func (s shape) OtherRoutes() []int { return upTo(s.Routes - 3) }

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// plan is the stage that the shape needs.
func (s shape) plan(dir, weir string) (stage.Plan, error) {
	t, err := template.New("weir.yaml").Parse(weirConfig)
	if err != nil {
		return stage.Plan{}, fmt.Errorf("read configuration: %w", err)
	}
	var config, market strings.Builder
	if err := t.Execute(&config, s); err != nil {
		return stage.Plan{}, fmt.Errorf("make configuration: %w", err)
	}
	market.WriteString("- PUT products/8h6sexykx0r2ei8dxc94vajj8: {id: prod-wa4ddxl7e7ktw, dimensions: [{key: enterprise, types: [Entitled]}, {key: calls, types: [ExternallyMetered]}]}\n")
	if !s.Direct {
		for i := range s.Licenses {
			fmt.Fprintf(&market, "- POST licenses: {product: 8h6sexykx0r2ei8dxc94vajj8, account: %q, licenseArn: %q, entitlements: [{dimension: enterprise, value: 1}]}\n",
				s.Account(i), license(i))
		}
	}
	return stage.Plan{Dir: dir, Weir: weir, Config: config.String(), Marketplace: market.String()}, nil
}

// pace is how the load comes.
type pace struct {
	name        string
	what        string
	connections int
	inFlight    int     // on each connection
	rate        float64 // requests a second on each connection
}

// paces are those of the base case.
func paces() []pace {
	return []pace{
		{name: "sat1", what: "saturated, 64 in flight on one connection", connections: 1, inFlight: 64},
		{name: "sat2", what: "saturated, 32 in flight on each of two", connections: 2, inFlight: 32},
		{name: "lat1", what: "one in flight", connections: 1, inFlight: 1},
		{name: "r1k1", what: "1,000 requests a second", connections: 1, rate: 1000},
		{name: "r5k1", what: "5,000 requests a second", connections: 1, rate: 5000},
	}
}

// pacesOf are those of a list of names.
func pacesOf(names string) (some []pace, err error) {
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(paces(), func(p pace) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no pace is named %q: there are sat1, sat2, lat1, r1k1 and r5k1", name)
		}
		some = append(some, paces()[i])
	}
	return some, nil
}

// saturated and lone are the paces at which one thing is changed at a time.
func saturated() pace { return paces()[0] }
func lone() pace      { return paces()[2] }

// effort is how long everything is measured.
type effort struct {
	rounds       int
	warm, window time.Duration
}
