package policy

import (
	"testing"
	"time"
)

// now is the instant of all tests that don't say another: AWS time.
var now = time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func metered(included int64, every, then string) Grant {
	return Grant{Metered: &MeteredGrant{Included: Included{Number: &included}, Every: every, Then: then}}
}

// acme is a seller with one listing that uses everything a configuration can say.
func acme() Config {
	c := DefaultConfig()
	c.Products = map[string]Product{"acme": {
		Code: "code1", ID: "prod-1", Model: ModelContractWithConsumption,
		Agreements: AgreementsConcurrent, Quantities: QuantitiesInteger, URL: "https://example.test/acme",
		Dimensions: map[string]Dimension{
			"basic":       {Plan: "basic"},
			"enterprise":  {Plan: "enterprise"},
			"extra_seats": {Adds: "seats"},
			"extra_calls": {Adds: "apiCalls", Per: 1000},
			"calls_1k":    {Meters: "apiCalls", Per: 1000},
		},
	}}
	c.Features = map[string]Feature{
		"reports":  {Type: TypeBoolean},
		"sso":      {Type: TypeBoolean},
		"seats":    {Type: TypeNumber, Unit: "seat"},
		"support":  {Type: TypeText, Values: []string{"community", "business", "premium"}},
		"apiCalls": {Type: TypeMetered, Unit: "call"},
	}
	c.Plans = map[string]Plan{
		"basic": {Rank: 1, Grants: map[string]Grant{
			"reports": {Boolean: ptr(true)}, "seats": {Number: ptr(int64(5))}, "support": {Text: ptr("community")},
			"apiCalls": metered(100, "month", "deny"),
		}},
		"enterprise": {Rank: 2, Extends: "basic", Grants: map[string]Grant{
			"sso": {Boolean: ptr(true)}, "seats": {Number: ptr(int64(100))}, "support": {Text: ptr("premium")},
			"apiCalls": metered(1000, "month", "bill"),
		}},
	}
	c.Identity = []Extractor{
		{From: "jwt", Provider: "main", Claim: "org_id", As: "tenant"},
		{From: "metadata", Namespace: "acme.auth", Key: "account", As: "account"},
		{From: "peer", SAN: "uri", As: "tenant"},
		{From: "context", Key: "weir.tenant", As: "tenant"},
		{From: "header", Name: "x-license", As: "license"},
		{From: "header", Name: "x-tenant-id", As: "tenant"},
	}
	c.Tenants = map[string]Tenant{"bigcorp": {Plan: "enterprise"}}
	one := Quantity{Number: ptr(int64(1))}
	c.Routes = []Route{
		{Name: "health", Match: Match{Path: "/healthz"}, Public: true, Mode: "enforce"},
		{
			Name: "reports", Match: Match{Path: "/v1/reports/{id}"}, Requires: map[string]Requirement{"reports": {Boolean: ptr(true)}},
			Meter: &Meter{Feature: "apiCalls", Quantity: one, When: "served"}, Mode: "enforce",
		},
		{
			Name: "import", Match: Match{Path: "/v1/import", Methods: []string{"POST"}}, Mode: "enforce",
			Meter: &Meter{Feature: "apiCalls", Quantity: Quantity{Mapping: &QuantitySource{RequestHeader: "x-rows"}}, When: "served"},
		},
		{
			Name: "team", Match: Match{Path: "/v1/team/**"}, Mode: "enforce",
			Requires: map[string]Requirement{"support": {Text: ptr("business")}, "seats": {Number: ptr(int64(10))}},
		},
		{Name: "sso", Match: Match{Path: "/v1/sso"}, Mode: "enforce", Requires: map[string]Requirement{"sso": {Boolean: ptr(true)}}},
		{Name: "open", Match: Match{Path: "/v1/open"}, Mode: "enforce", Failure: RouteFailure{Unknown: "allow"}},
		{Name: "closed", Match: Match{Path: "/v1/closed"}, Mode: "enforce", Failure: RouteFailure{Unknown: "deny"}},
		{
			Name: "strict", Match: Match{Path: "/v1/strict"}, Mode: "enforce",
			Failure: RouteFailure{Stale: RouteStale{After: ptr(time.Hour), Then: "deny"}},
		},
		{
			Name: "beta", Match: Match{Path: "/v1/beta"}, Mode: "shadow", Requires: map[string]Requirement{"sso": {Boolean: ptr(true)}},
			Meter: &Meter{Feature: "apiCalls", Quantity: one, When: "served"},
		},
		{Name: "plain", Match: Match{Path: "/v1/plain"}, Mode: "enforce"},
	}
	return c
}

func compile(t testing.TB, c Config) *Policy {
	t.Helper()
	p, err := Compile(c)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return p
}

// tally is a Counter that keeps one sum for each feature and enforces ThenDeny.
type tally struct {
	used, shadow map[int]int64
	last         Taking
}

func (c *tally) Take(t Taking) Balance {
	c.last = t
	if c.used == nil {
		c.used, c.shadow = map[int]int64{}, map[int]int64{}
	}
	b := Balance{OK: true, Terms: t.Terms, Used: c.used[t.Feature]}
	b.Start, b.End = t.Terms.Every.Bounds(t.At, t.Terms.Since, t.Terms.Until)
	if t.Terms.Then == ThenDeny && t.Terms.Included != Unlimited && c.used[t.Feature]+t.Need > t.Terms.Included {
		b.OK = false
		return b
	}
	switch {
	case t.Look:
	case t.Shadow:
		c.shadow[t.Feature] += t.Quantity
	default:
		c.used[t.Feature] += t.Quantity
		b.Used = c.used[t.Feature]
	}
	return b
}

// memory is a View of one product with what a test puts in.
type memory struct {
	policy    *Policy
	licenses  map[Subject][]*License
	absent    map[Subject]bool
	silent    bool // look-ups are not answered
	confirmed time.Time
	counters  map[Key]*tally
	at        time.Time
}

func newMemory(p *Policy) *memory {
	return &memory{
		policy: p, licenses: map[Subject][]*License{}, absent: map[Subject]bool{},
		confirmed: now.Add(-time.Minute), counters: map[Key]*tally{}, at: now,
	}
}

func (m *memory) Confirmed(string) time.Time { return m.confirmed }

func (m *memory) Find(s Subject, _ string) (*Holding, Knowledge) {
	held, ok := m.licenses[s]
	switch {
	case ok:
		return m.policy.Hold(held, m.Confirmed, m.counter, m.at), Present
	case m.absent[s]:
		return nil, Absent
	case m.silent:
		return nil, Unanswered
	default:
		return nil, Unknown
	}
}

func (m *memory) counter(l *License) Counter {
	if m.counters[l.Key] == nil {
		m.counters[l.Key] = &tally{}
	}
	return m.counters[l.Key]
}

// hold gives a tenant licenses.
func (m *memory) hold(tenant string, licenses ...*License) {
	m.licenses[Subject{SubjectTenant, tenant}] = licenses
}

// license is an active one of acme, with a year to go and the given dimensions.
func license(id string, dimensions ...string) *License {
	l := &License{
		Key: Key("arn:aws:license-manager::294406891311:license:l-" + id), Product: "acme", Account: "111122223333",
		Starts: now.AddDate(-1, 0, 0), TermStarts: now.AddDate(-1, 0, 0), Read: now.Add(-time.Hour),
	}
	for _, d := range dimensions {
		l.Entitlements = append(l.Entitlements, Entitlement{Dimension: d, Value: Value{Kind: ValueInteger, Integer: 1}, Expires: now.AddDate(1, 0, 0)})
	}
	return l
}

// attributes are those of a request that only has headers.
type attributes struct {
	headers  map[string][]string
	metadata map[string]string // namespace/key/key
	context  map[string]string
	peer     string
	extra    int // further headers
}

func (a *attributes) Header(name string) (string, int) {
	v := a.headers[name]
	if len(v) == 0 {
		return "", 0
	}
	joined := v[0]
	for _, s := range v[1:] {
		joined += "," + s
	}
	return joined, len(v)
}

func (a *attributes) Headers() int { return len(a.headers) + a.extra }

func (a *attributes) Metadata(namespace string, path []string) (string, bool) {
	if a.metadata == nil {
		return "", false
	}
	key := namespace
	for _, p := range path {
		key += "/" + p
	}
	v, ok := a.metadata[key]
	return v, ok
}

func (a *attributes) Context(key string) (string, bool) { v, ok := a.context[key]; return v, ok }
func (a *attributes) PeerURI() (string, bool)           { return a.peer, a.peer != "" }

// get is a request of a tenant, named by header.
func get(path, tenant string) *Request {
	a := &attributes{headers: map[string][]string{}}
	if tenant != "" {
		a.headers["x-tenant-id"] = []string{tenant}
	}
	return &Request{Method: "GET", Host: "api.test", Path: path, Attributes: a}
}
