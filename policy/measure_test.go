package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sources is a configuration with a route for each source of a quantity.
func sources() Config {
	c := acme()
	c.Routes = append(c.Routes, Route{
		Name: "checked", Match: Match{Path: "/q/checked"}, Mode: "enforce",
		Meter: &Meter{Feature: "apiCalls", Quantity: Quantity{Number: ptr(int64(7))}, When: WhenChecked},
	})
	for name, q := range map[string]Quantity{
		"number":   {Number: ptr(int64(7))},
		"header":   {Mapping: &QuantitySource{RequestHeader: "x-rows"}},
		"response": {Mapping: &QuantitySource{ResponseHeader: "x-used"}},
		"trailer":  {Mapping: &QuantitySource{ResponseTrailer: "x-sum"}},
		"in":       {Text: ptr(QuantityRequestBytes)},
		"out":      {Text: ptr(QuantityResponseBytes)},
	} {
		for suffix, reserve := range map[string]int64{"": 0, "-reserved": 40} {
			c.Routes = append(c.Routes, Route{
				Name: name + suffix, Match: Match{Path: "/q/" + name + suffix}, Mode: "enforce",
				Meter: &Meter{Feature: "apiCalls", Quantity: q, When: WhenServed, Reserve: reserve},
			})
		}
	}
	return c
}

func TestB04MeasureSaysWhereEachRoutesQuantityComesFrom(t *testing.T) {
	p := compile(t, sources())
	for route, want := range map[string]Measure{
		"checked":  {"apiCalls", KnownAtCheck, "", false},
		"number":   {"apiCalls", KnownAtCheck, "", true},
		"header":   {"apiCalls", KnownAtCheck, "", true},
		"response": {"apiCalls", FromResponseHeader, "x-used", true},
		"trailer":  {"apiCalls", FromResponseTrailer, "x-sum", true},
		"in":       {"apiCalls", FromRequestBytes, "", true},
		"out":      {"apiCalls", FromResponseBytes, "", true},
	} {
		got, ok := p.Measure(route)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("%s (-want +got), %t:\n%s", route, ok, diff)
		}
	}
	for _, route := range []string{"plain", "health", "nowhere"} {
		if got, ok := p.Measure(route); ok {
			t.Errorf("%s meters nothing, got %+v", route, got)
		}
	}
}

func TestB05NeedIsTheReserveElseWhatIsKnownElseOne(t *testing.T) {
	p := compile(t, sources())
	for route, want := range map[string]Taking{
		"number":            {Quantity: 7, Need: 7},
		"header":            {Quantity: 3, Need: 3},
		"response":          {Need: 1},
		"trailer":           {Need: 1},
		"in":                {Need: 1},
		"out":               {Need: 1},
		"number-reserved":   {Quantity: 7, Need: 40},
		"header-reserved":   {Quantity: 3, Need: 40},
		"response-reserved": {Need: 40},
		"out-reserved":      {Need: 40},
	} {
		got := takingOf(t, p, get("/q/"+route, "t"))
		if got.Quantity != want.Quantity || got.Need != want.Need || !got.Served {
			t.Errorf("%s: quantity %d, need %d, served %t; want %d, %d, true", route, got.Quantity, got.Need, got.Served, want.Quantity, want.Need)
		}
	}
}

func TestB04WhatNoAccessLogTellsCountsAtTheCheck(t *testing.T) {
	p := compile(t, sources())
	unlogged := get("/q/number", "t")
	unlogged.Unlogged = true
	for name, r := range map[string]*Request{"no log": unlogged, "when: checked": get("/q/checked", "t")} {
		if got := takingOf(t, p, r); got.Served || got.Quantity != 7 {
			t.Errorf("%s: %+v, want 7 units counted now", name, got)
		}
	}
}

// takingOf is what deciding a request asks of its license's Counter.
func takingOf(t *testing.T, p *Policy, r *Request) Taking {
	t.Helper()
	m := newMemory(p)
	l := license("s", "enterprise")
	m.hold("t", l)
	r.Attributes.(*attributes).headers["x-rows"] = []string{"3"}
	if d := p.Decide(r, m, now); !d.Allowed() {
		t.Fatalf("%s: %s", r.Path, d.Reason)
	}
	return m.counters[l.Key].last
}
