package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestZeroDecisionDenies(t *testing.T) {
	var d Decision
	if d.Allowed() || d.Reason != Fault || d.Reason.Status() != 503 {
		t.Errorf("zero decision: %+v", d)
	}
}

func TestDecideFollowsTheTable(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	ended, expired := license("ended", "basic"), license("expired", "basic")
	ended.Ended = now.Add(-time.Hour)
	expired.Entitlements[0].Expires = now.Add(-time.Hour)
	expired.Read = now.Add(-30 * time.Minute)
	m.hold("basic", license("b", "basic"))
	m.hold("enterprise", license("e", "enterprise"))
	m.hold("ended", ended)
	m.hold("expired", expired)
	m.hold("nothing")
	m.absent[Subject{SubjectTenant, "stranger"}] = true

	post := func(r *Request) *Request { r.Method = "POST"; return r }
	with := func(r *Request, name string, values ...string) *Request {
		r.Attributes.(*attributes).headers[name] = values
		return r
	}
	many := get("/v1/plain", "basic")
	many.Attributes.(*attributes).extra = 100
	named := get("/nowhere", "basic")
	named.Route = "plain"
	misnamed := get("/v1/plain", "basic")
	misnamed.Route = "plan"

	for _, tt := range []struct {
		name string
		r    *Request
		want Reason
		mode Mode
	}{
		{"a granted route is allowed", get("/v1/reports/7", "basic"), Allowed, Enforce},
		{"a public route needs nobody", get("/healthz", ""), Public, Enforce},
		{"more than 100 headers", many, HeadersTooMany, Enforce},
		{"a path with two readings", get("/v1/plain/..%2f..%2fhealthz", "basic"), PathAmbiguous, Enforce},
		{"no route", get("/nowhere", "basic"), RouteUnmatched, Enforce},
		{"the proxy names the route", named, Allowed, Enforce},
		{"the proxy names a route that is not there", misnamed, Fault, Enforce},
		{"nobody asks", get("/v1/plain", ""), IdentityMissing, Enforce},
		{"an unusable name", get("/v1/plain", "caf!"), IdentityMissing, Enforce},
		{"an unknown tenant", get("/v1/plain", "stranger"), LicenseMissing, Enforce},
		{"a tenant without licenses", get("/v1/plain", "nothing"), LicenseMissing, Enforce},
		{"an expired license", get("/v1/plain", "expired"), LicenseExpired, Enforce},
		{"an ended license", get("/v1/plain", "ended"), LicenseEnded, Enforce},
		{"a feature that the plan lacks", get("/v1/sso", "basic"), FeatureMissing, Enforce},
		{"a feature that the plan has", get("/v1/sso", "enterprise"), Allowed, Enforce},
		{"text and number that are enough", get("/v1/team/x", "enterprise"), Allowed, Enforce},
		{"a number that is not", get("/v1/team/x", "basic"), FeatureMissing, Enforce},
		{"a quantity in a header", with(post(get("/v1/import", "basic")), "x-rows", "7"), Allowed, Enforce},
		{"no quantity", post(get("/v1/import", "basic")), QuantityInvalid, Enforce},
		{"a signed quantity", with(post(get("/v1/import", "basic")), "x-rows", "+7"), QuantityInvalid, Enforce},
		{"a quantity of 16 digits", with(post(get("/v1/import", "basic")), "x-rows", "1234567890123456"), QuantityInvalid, Enforce},
		{"two quantities", with(post(get("/v1/import", "basic")), "x-rows", "7", "8"), QuantityInvalid, Enforce},
		{"more than is included", with(post(get("/v1/import", "basic")), "x-rows", "101"), QuotaExhausted, Enforce},
		{"more than is included, billed", with(post(get("/v1/import", "enterprise")), "x-rows", "9999"), Allowed, Enforce},
		{"a shadow route that would deny", get("/v1/beta", "basic"), FeatureMissing, Shadow},
		{"a shadow route that allows", get("/v1/beta", "enterprise"), Allowed, Shadow},
		{"a shadow route without anybody", get("/v1/beta", ""), IdentityMissing, Shadow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(tt.r, m, now)
			if d.Reason != tt.want || d.Mode != tt.mode {
				t.Errorf("got %s in mode %s, want %s in mode %s", d.Reason, d.Mode, tt.want, tt.mode)
			}
			want := tt.mode != Enforce || tt.want == Allowed || tt.want == Public
			if d.Allowed() != want {
				t.Errorf("allowed: got %v, want %v", d.Allowed(), want)
			}
		})
	}
}

func TestUnknownSubjectsFollowTheFailurePolicy(t *testing.T) {
	p := compile(t, acme())
	byAccount := func(path, account string) *Request {
		r := get(path, "")
		r.Attributes.(*attributes).metadata = map[string]string{"acme.auth/account": account}
		return r
	}
	const stranger = "999988887777"
	for _, tt := range []struct {
		name, path, account string
		silent, never       bool
		want                Reason
		mode                Mode
		lookup              bool
	}{
		{name: "is looked up", path: "/v1/plain", account: stranger, want: EntitlementsStale, lookup: true},
		{name: "no answer in time", path: "/v1/plain", account: stranger, silent: true, want: EntitlementsStale},
		{name: "deny", path: "/v1/closed", account: stranger, want: LicenseMissing},
		{name: "deny, but weir has never read anything", path: "/v1/closed", account: stranger, never: true, want: EntitlementsStale},
		{name: "allow", path: "/v1/open", account: stranger, want: LicenseMissing, mode: Open},
		{name: "what AWS can't know is not looked up", path: "/v1/plain", account: "12", want: LicenseMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(p)
			m.silent = tt.silent
			if tt.never {
				m.confirmed = time.Time{}
			}
			d := p.Decide(byAccount(tt.path, tt.account), m, now)
			if d.Reason != tt.want || d.Mode != tt.mode || d.Allowed() != (tt.mode == Open) {
				t.Errorf("got %s, mode %s, allowed %v; want %s, mode %s", d.Reason, d.Mode, d.Allowed(), tt.want, tt.mode)
			}
			if got := d.Lookup.Kind != SubjectNone; got != tt.lookup {
				t.Errorf("look-up: got %v, want %v", got, tt.lookup)
			}
		})
	}
}

func TestUnmatchedAndFaultsFollowTheFailurePolicy(t *testing.T) {
	c := acme()
	c.Failure.Unmatched, c.Failure.Fault = "allow", "allow"
	p := compile(t, c)
	d := p.Decide(get("/nowhere", ""), newMemory(p), now)
	if !d.Allowed() || d.Annotation() != "open; cause=unmatched" || d.Reason != RouteUnmatched {
		t.Errorf("unmatched: %+v", d)
	}
	if d = p.Fault(get("/v1/plain", "")); !d.Allowed() || d.Annotation() != "open; cause=fault" {
		t.Errorf("fault: %+v", d)
	}
	misnamed := get("/v1/plain", "")
	misnamed.Route = "nope"
	if d = p.Decide(misnamed, newMemory(p), now); d.Allowed() {
		t.Error("a route name that is not there was let through by failure.fault")
	}
	p = compile(t, acme())
	if d = p.Fault(get("/v1/plain", "")); d.Allowed() {
		t.Error("a fault is allowed by default")
	}
}

func TestStaleEntitlementsFollowTheRoutesFailurePolicy(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("basic", license("b", "basic"))
	m.hold("bigcorp", &License{Key: "direct:bigcorp", Direct: "bigcorp", Plan: "enterprise"})
	m.confirmed = now.Add(-2 * time.Hour)
	m.licenses[Subject{SubjectTenant, "basic"}][0].Read = now.Add(-3 * time.Hour)

	if d := p.Decide(get("/v1/strict", "basic"), m, now); d.Reason != EntitlementsStale || d.Allowed() {
		t.Errorf("2 h old, 1 h allowed: got %s, allowed %v", d.Reason, d.Allowed())
	}
	if d := p.Decide(get("/v1/plain", "basic"), m, now); d.Reason != Allowed {
		t.Errorf("2 h old, 24 h allowed: got %s", d.Reason)
	}
	later := now.Add(30 * time.Hour)
	d := p.Decide(get("/v1/plain", "basic"), m, later)
	if !d.Allowed() || d.Annotation() != "open; cause=stale" || d.Reason != EntitlementsStale || d.License == "" {
		t.Errorf("32 h old, allowed by failure.stale: %+v", d)
	}
	if d := p.Decide(get("/v1/sso", "basic"), m, later); d.Reason != FeatureMissing {
		t.Errorf("stale data still decide: got %s", d.Reason)
	}
	if d := p.Decide(get("/v1/strict", "bigcorp"), m, later); d.Reason != Allowed || d.Mode != Enforce {
		t.Errorf("a direct customer is never stale: got %s, mode %s", d.Reason, d.Mode)
	}
	m.licenses[Subject{SubjectTenant, "basic"}][0].Read = now.Add(-time.Minute)
	if d := p.Decide(get("/v1/strict", "basic"), m, now); d.Reason != Allowed {
		t.Errorf("a license that was read by itself is fresh: got %s", d.Reason)
	}
}

func TestIdentityIsTheFirstExtractorThatFindsAValue(t *testing.T) {
	p := compile(t, acme())
	for _, tt := range []struct {
		name string
		a    attributes
		want Subject
	}{
		{"jwt", attributes{metadata: map[string]string{jwtNamespace + "/main/org_id": "a", "acme.auth/account": "111122223333"}}, Subject{SubjectTenant, "a"}},
		{"metadata", attributes{metadata: map[string]string{"acme.auth/account": "111122223333"}, peer: "spiffe://x/y"}, Subject{SubjectAccount, "111122223333"}},
		{"peer", attributes{peer: "spiffe://x/y", context: map[string]string{"weir.tenant": "c"}}, Subject{SubjectTenant, "spiffe://x/y"}},
		{"context", attributes{context: map[string]string{"weir.tenant": "c"}}, Subject{SubjectTenant, "c"}},
		{"header", attributes{headers: map[string][]string{"x-tenant-id": {"d"}}}, Subject{SubjectTenant, "d"}},
		{"none", attributes{}, Subject{}},
		{"a present but unusable value does not fall through", attributes{context: map[string]string{"weir.tenant": "a b"}, headers: map[string][]string{"x-tenant-id": {"d"}}}, Subject{}},
		{"an empty value does not fall through", attributes{context: map[string]string{"weir.tenant": ""}, headers: map[string][]string{"x-tenant-id": {"d"}}}, Subject{}},
		{"a header given twice", attributes{headers: map[string][]string{"x-tenant-id": {"d", "d"}}}, Subject{}},
		{"256 characters", attributes{headers: map[string][]string{"x-tenant-id": {strings.Repeat("a", 256)}}}, Subject{SubjectTenant, strings.Repeat("a", 256)}},
		{"257 characters", attributes{headers: map[string][]string{"x-tenant-id": {strings.Repeat("a", 257)}}}, Subject{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.identify(&tt.a); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestB04WhatIsLetThroughInShadowHasAReceiptWhateverWasDecided(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		path   string
		tenant string
		want   ReceiptKind
	}{
		"a feature that the plan lacks":           {nil, "/v1/beta", "basic", Uncounted},
		"an ended license":                        {nil, "/v1/beta", "ended", Uncounted},
		"more than is included":                   {shadowed("import"), "/v1/import", "basic", Uncounted},
		"no quantity":                             {shadowed("import"), "/v1/import", "enterprise", Uncounted},
		"nobody":                                  {nil, "/v1/beta", "", NoReceipt},
		"a route that meters nothing":             {shadowed("sso"), "/v1/sso", "basic", NoReceipt},
		"a feature that the plan lacks, enforced": {enforced("beta"), "/v1/beta", "basic", NoReceipt},
	} {
		c := acme()
		if tt.change != nil {
			tt.change(&c)
		}
		m := newMemory(compile(t, c))
		ended := license("ended", "enterprise")
		ended.Ended = now.Add(-time.Hour)
		m.hold("basic", license("b", "basic"))
		m.hold("enterprise", license("e", "enterprise"))
		m.hold("ended", ended)
		r := get(tt.path, tt.tenant)
		r.Method = "POST"
		if tt.tenant == "basic" {
			r.Attributes.(*attributes).headers["x-rows"] = []string{"101"}
		}
		if d := m.policy.Decide(r, m, now); d.Reason == Allowed || d.Quota.Receipt.Kind != tt.want {
			t.Errorf("%s: %s, receipt %d, want %d", name, d.Reason, d.Quota.Receipt.Kind, tt.want)
		}
	}
}

// shadowed puts a route in shadow mode, enforced out of it.
func shadowed(route string) func(*Config) { return mode(route, "shadow") }
func enforced(route string) func(*Config) { return mode(route, "enforce") }

func mode(route, mode string) func(*Config) {
	return func(c *Config) {
		i := slices.IndexFunc(c.Routes, func(r Route) bool { return r.Name == route })
		c.Routes[i].Mode = mode
	}
}

func TestExplainOnlyLooks(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("basic", license("b", "basic"))
	r := get("/v1/reports/1", "basic")
	r.Steps = &Steps{}
	if d := p.Decide(r, m, now); !d.Allowed() {
		t.Fatalf("got %s", d.Reason)
	}
	if used := m.counters["arn:aws:license-manager::294406891311:license:l-b"].used[p.featureIndex["apiCalls"]]; used != 0 {
		t.Errorf("%d units were counted", used)
	}
	if got := strings.Join(r.Steps.Lines, "\n"); !strings.Contains(got, "matches route reports") || !strings.Contains(got, "plan basic") {
		t.Errorf("steps:\n%s", got)
	}
}

func TestAnAllowedDecisionDoesNotAllocate(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("basic", license("b", "basic"))
	h, _ := m.Find(Subject{SubjectTenant, "basic"}, "acme")
	v := fixed{h, m.confirmed}
	m.counters["arn:aws:license-manager::294406891311:license:l-b"].used = map[int]int64{}
	r := get("/v1/plain", "basic")
	metered := get("/v1/reports/1", "basic")
	for _, r := range []*Request{r, metered} {
		if n := testing.AllocsPerRun(50, func() { p.Decide(r, &v, now) }); n != 0 {
			t.Errorf("%s: %v allocations", r.Path, n)
		}
	}
}

// fixed is a View that always finds the same.
type fixed struct {
	h         *Holding
	confirmed time.Time
}

func (f *fixed) Find(Subject, string) (*Holding, Knowledge) { return f.h, Present }
func (f *fixed) Confirmed(string) time.Time                 { return f.confirmed }

// counted counts what is asked of a View.
type counted struct {
	View
	finds, confirmations int
}

func (c *counted) Find(s Subject, product string) (*Holding, Knowledge) {
	c.finds++
	return c.View.Find(s, product)
}

func (c *counted) Confirmed(product string) time.Time {
	c.confirmations++
	return c.View.Confirmed(product)
}

func TestADecisionAsksAsLittleOfManyLicensesAsOfFew(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	for _, licenses := range []int{10, 1000, 100_000} {
		for i := len(m.licenses); i < licenses; i++ {
			m.hold(fmt.Sprintf("t%d", i), license(fmt.Sprint(i), "basic"))
		}
		v := &counted{View: m}
		if d := p.Decide(get("/v1/plain", "t7"), v, now); !d.Allowed() {
			t.Fatal(d.Reason)
		}
		if v.finds != 1 || v.confirmations != 1 {
			t.Errorf("%d licenses: %d look-ups, %d confirmations; want one of each", licenses, v.finds, v.confirmations)
		}
	}
}
