package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/internal/listen/listentest"
	"github.com/weirhq/weir/policy"
)

// serving runs a server until the test ends and returns a client of it with its base URL.
func serving(t *testing.T, s interface{ Run(context.Context) error }, l *listen.Listener) (*http.Client, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	client := &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client, "http://127.0.0.1:" + listentest.Port(l)
}

// entitled is an EntitlementSource with one answer.
type entitled struct {
	found policy.Entitled
	known policy.Knowledge
	asked [2]string // tenant and product
}

func (e *entitled) Entitlements(_ context.Context, tenant, product string) (policy.Entitled, policy.Knowledge) {
	e.asked = [2]string{tenant, product}
	return e.found, e.known
}

// registry is a TenantSource that knows the tenants it holds.
type registry struct {
	held  []cache.Tenant
	more  bool
	err   error
	tied  cache.Tie
	id    string
	after string
	limit int
}

func (r *registry) Tie(_ context.Context, id string, t cache.Tie) (cache.Tenant, error) {
	r.id, r.tied = id, t
	return cache.Tenant{ID: id, Account: t.Account}, r.err
}

func (r *registry) Untie(_ context.Context, id string) error {
	r.id = id
	return r.err
}

func (r *registry) Tenant(id string) (cache.Tenant, bool) {
	for _, t := range r.held {
		if t.ID == id {
			return t, true
		}
	}
	return cache.Tenant{}, false
}

func (r *registry) Tenants(after string, limit int) ([]cache.Tenant, bool) {
	r.after, r.limit = after, limit
	return r.held, r.more
}

// globex is a tenant with a license.
func globex() cache.Tenant {
	return cache.Tenant{ID: "globex", Account: "123456789012", Products: []string{"acme"}, Licenses: []cache.TenantLicense{
		{License: "k", Plan: "team", Pinned: true, State: policy.StateActive},
	}}
}

const globexJSON = `{"tenant":"globex","account":"123456789012","products":["acme"],` +
	`"licenses":[{"license":"k","plan":"team","pinned":true,"state":"active"}]}`

// application serves listen.http on loopback; what s leaves out knows nothing.
func application(t *testing.T, s HTTPSources) (*http.Client, string) {
	t.Helper()
	return applicationOn(t, s, listentest.Open(t, "127.0.0.1:0", listen.Access{}))
}

func applicationOn(t *testing.T, s HTTPSources, l *listen.Listener) (*http.Client, string) {
	t.Helper()
	if s.Entitlements == nil {
		s.Entitlements = &entitled{}
	}
	if s.Explainer == nil {
		s.Explainer = empty().Explainer
	}
	if s.Tenants == nil {
		s.Tenants = &registry{}
	}
	if s.Claims == nil {
		s.Claims = openClaims(t, t.TempDir())
	}
	return serving(t, NewHTTP([]*listen.Listener{l}, s, slog.New(slog.DiscardHandler)), l)
}

func TestEntitlementsShowValuesAndQuotas(t *testing.T) {
	e := &entitled{known: policy.Present, found: policy.Entitled{
		License: &policy.License{Key: "k", Account: "123456789012"}, Plan: "team", Trial: true,
		Features: []policy.EntitledFeature{
			{Name: "sso", Type: policy.TypeBoolean},
			{Name: "seats", Type: policy.TypeNumber, Number: 5},
			{Name: "tier", Type: policy.TypeText, Text: "gold"},
			{Name: "calls", Type: "metered", Quota: policy.Balance{
				Terms: policy.Terms{Included: 10, Then: policy.ThenBill}, Used: 3, Held: 1, End: noon.In(time.FixedZone("", 3600)),
			}},
			{Name: "rows", Type: "metered", Quota: policy.Balance{Terms: policy.Terms{Included: policy.Unlimited}}},
		},
	}}
	c, base := application(t, HTTPSources{Entitlements: e})
	url := base + "/v1/tenants/a%2Fb/entitlements?product=acme"
	out, body := call(t, c, "GET", url, "")
	want := `{"tenant":"a/b","account":"123456789012","license":"k","plan":"team","trial":true,"features":{` +
		`"calls":{"type":"metered","limit":10,"used":3,"held":1,"resetsAt":"2026-03-10T12:00:00Z","then":"bill"},` +
		`"rows":{"type":"metered","limit":null,"used":0,"held":0,"then":"deny"},` +
		`"seats":{"type":"number","value":5},"sso":{"type":"boolean","value":false},"tier":{"type":"text","value":"gold"}}}`
	if diff := cmp.Diff(want, strings.TrimSpace(body)); diff != "" || out.StatusCode != http.StatusOK {
		t.Errorf("%d %s", out.StatusCode, diff)
	}
	if e.asked != [2]string{"a/b", "acme"} {
		t.Errorf("asked for %v", e.asked)
	}
	tag := out.Header.Get("ETag")
	for _, given := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		out, body := call(t, c, "GET", url, "", "If-None-Match", given)
		if out.StatusCode != http.StatusNotModified || body != "" || out.Header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %d %q", given, out.StatusCode, body)
		}
	}
	e.found.Plan = "other"
	if out, _ := call(t, c, "GET", url, "", "If-None-Match", tag); out.StatusCode != http.StatusOK || out.Header.Get("ETag") == tag {
		t.Errorf("after a change: %d, tag %s", out.StatusCode, out.Header.Get("ETag"))
	}
}

func TestEntitlementsOfNobodyAreAProblem(t *testing.T) {
	for known, want := range map[policy.Knowledge]struct {
		status int
		reason string
	}{
		policy.Absent: {404, "license_missing"}, policy.Present: {404, "license_missing"}, policy.Unanswered: {503, "entitlements_stale"},
	} {
		c, base := application(t, HTTPSources{Entitlements: &entitled{known: known}})
		out, body := call(t, c, "GET", base+"/v1/tenants/globex/entitlements", "")
		wantProblem(t, out, body, want.status, want.reason)
	}
}

func TestCheckDecidesForTheSubjectAtOnce(t *testing.T) {
	var asked *policy.Request
	c, base := application(t, HTTPSources{Explainer: explain(func(r *policy.Request, at time.Time) policy.Decision {
		if asked = r; !at.IsZero() {
			t.Errorf("asked for %s", at)
		}
		return policy.Decision{Effect: policy.Allow, Tenant: "globex", Plan: "team", Route: "reports"}
	})})
	for _, kind := range []string{"application/json", "application/vnd.x+json; charset=utf-8", form} {
		out, body := call(t, c, "POST", base+"/v1/check", `{"subject":{"tenant":"globex"},"method":"PUT","url":"https://h/p"}`, "Content-Type", kind)
		var got Answer
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if out.StatusCode != http.StatusOK || !got.Allowed || got.Status != 200 || got.Tenant != "globex" || got.Plan != "team" || got.Route != "reports" || got.Steps == nil {
			t.Errorf("%s: %d %s", kind, out.StatusCode, body)
		}
		if asked.Subject != (policy.Subject{Kind: policy.SubjectTenant, ID: "globex"}) || asked.Method != "PUT" || asked.Host != "h" || asked.Path != "/p" {
			t.Errorf("asked %+v", asked)
		}
	}
}

func TestBadRequestsToTheApplicationAreProblems(t *testing.T) {
	c, base := application(t, HTTPSources{})
	large := strings.Repeat(" ", maxBody+1)
	const who = `{"subject":{"tenant":"globex"},"url":"/"`
	tests := []struct {
		method, path, body, kind string
		status                   int
		reason                   string
	}{
		{"GET", "/", "", "", 404, "not_found"},
		{"GET", "/v1/tenants", "", "", 404, "not_found"},
		{"GET", "/v1/explain", "", "", 404, "not_found"},
		{"GET", "/v1/tenants/globex/licenses", "", "", 404, "not_found"},
		{"GET", "/v1/check", "", "", 405, "method_not_allowed"},
		{"POST", "/v1/tenants/globex/licenses", "", "", 405, "method_not_allowed"},
		{"PUT", "/v1/tenants/globex/entitlements", "", "", 405, "method_not_allowed"},
		{"POST", "/v1/check", large, "application/json", 413, "too_large"},
		{"PUT", "/v1/tenants/globex/licenses", large, "application/json", 413, "too_large"},
		{"POST", "/v1/check", who + "}", "text/plain", 415, "media_type"},
		{"PUT", "/v1/tenants/globex/licenses", "{}", "text/xml", 415, "media_type"},
		{"POST", "/v1/check", `{"url":"/"}`, "application/json", 400, "invalid"},
		{"POST", "/v1/check", who + `,"at":"2026-03-10T12:00:00Z"}`, "application/json", 400, "invalid"},
		{"POST", "/v1/check", `{"subject":{"tenant":"a","account":"b"},"url":"/"}`, "application/json", 400, "invalid"},
		{"POST", "/v1/check", who + "}{}", "application/json", 400, "invalid"},
		{"POST", "/v1/check", who + `,"x":1}`, "application/json", 400, "invalid"},
		{"PUT", "/v1/tenants/globex/licenses", "", "application/json", 400, "invalid"},
		{"PUT", "/v1/tenants/globex/licenses", `{"acount":"1"}`, "application/json", 400, "invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			out, body := call(t, c, tt.method, base+tt.path, tt.body, "Content-Type", tt.kind)
			wantProblem(t, out, body, tt.status, tt.reason)
		})
	}
}

func TestTenantsAreTiedShownAndUntied(t *testing.T) {
	r := &registry{held: []cache.Tenant{globex()}}
	claims := openClaims(t, t.TempDir())
	c, base := application(t, HTTPSources{Tenants: r, Claims: claims})
	url := base + "/v1/tenants/globex/licenses"
	if out, body := call(t, c, "GET", url, ""); out.StatusCode != http.StatusOK || strings.TrimSpace(body) != globexJSON {
		t.Errorf("%d %s", out.StatusCode, body)
	}
	claim := claims.Issue(buyer)
	read, err := claims.Read(claim)
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]cache.Tie{
		`{"account":"1"}`:                  {Account: "1"},
		`{"customer":"c","product":"p"}`:   {Customer: "c", Product: "p"},
		`{"license":"k"}`:                  {License: "k"},
		`{"plan":"team","product":"acme"}`: {Plan: "team", Product: "acme"},
		`{"claim":"` + claim + `"}`:        {Claim: &read},
	} {
		out, shown := call(t, c, "PUT", url, body)
		if out.StatusCode != http.StatusOK || !strings.Contains(shown, `"licenses":[]`) || r.id != "globex" {
			t.Errorf("%s: %d %s, tied %q", body, out.StatusCode, shown, r.id)
		}
		if diff := cmp.Diff(want, r.tied); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
	if out, body := call(t, c, "DELETE", base+"/v1/tenants/a%2Fb/licenses", ""); out.StatusCode != http.StatusNoContent || body != "" || r.id != "a/b" {
		t.Errorf("untied %q: %d %q", r.id, out.StatusCode, body)
	}
}

func TestTieThatIsRefusedSaysWhy(t *testing.T) {
	now := noon
	claims, err := OpenClaims(t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	old := claims.Issue(buyer)
	now = noon.Add(2 * claimLife)
	r := &registry{}
	c, base := application(t, HTTPSources{Tenants: r, Claims: claims})
	for _, tt := range []struct {
		err    error
		claim  string
		status int
		reason string
	}{
		{&cache.TieError{Msg: "Name one."}, "", 400, "invalid"},
		{nil, "forged", 422, "claim_invalid"},
		{nil, old, 422, "claim_expired"},
		{cache.ErrUnknownBuyer, "", 422, "license_missing"},
		{cache.ErrFixed, "", 409, "tenant_fixed"},
		{cache.ErrPinned, "", 409, "license_pinned"},
		{cache.ErrClaimUsed, "", 409, "claim_used"},
		{errors.Join(cache.ErrDisk, errors.New("on fire")), "", 503, "fault"},
		{errors.New("AWS on fire"), "", 503, "entitlements_stale"},
	} {
		r.err, r.id = tt.err, ""
		out, body := call(t, c, "PUT", base+"/v1/tenants/globex/licenses", `{"claim":"`+tt.claim+`"}`)
		wantProblem(t, out, body, tt.status, tt.reason)
		if strings.Contains(body, "fire") || tt.err == nil && r.id != "" {
			t.Errorf("%s: tied %q, %s", tt.reason, r.id, body)
		}
	}
	r.err = cache.ErrFixed
	out, body := call(t, c, "DELETE", base+"/v1/tenants/globex/licenses", "")
	wantProblem(t, out, body, 409, "tenant_fixed")
}

func TestApplicationOnAnAddressThatOthersReachShowsTheToken(t *testing.T) {
	r := &registry{held: []cache.Tenant{globex()}}
	c, base := applicationOn(t, HTTPSources{Tenants: r}, listentest.Open(t, "0.0.0.0:0", listen.Access{Token: "secret"}))
	for _, path := range []string{"/v1/tenants/globex/licenses", "/v1/tenants/globex/entitlements", "/v1/check", "/livez"} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
			out, body := call(t, c, method, base+path, "{}", "Authorization", "Bearer wrong")
			wantProblem(t, out, body, 401, "caller_unknown")
		}
	}
	if r.id != "" {
		t.Errorf("a stranger changed %q", r.id)
	}
	if out, body := call(t, c, "GET", base+"/v1/tenants/globex/licenses", "", "Authorization", "Bearer secret"); out.StatusCode != http.StatusOK {
		t.Errorf("with the token: %d %s", out.StatusCode, body)
	}
}

func TestOperatorsListTenantsByPage(t *testing.T) {
	r := &registry{held: []cache.Tenant{globex()}, more: true}
	s := empty()
	s.Tenants = r
	c, base := local(t, s)
	out, body := call(t, c, "GET", base+"/v1/tenants?after=acme&limit=1", "")
	if want := `{"tenants":[` + globexJSON + `],"next":"globex"}`; out.StatusCode != http.StatusOK || strings.TrimSpace(body) != want {
		t.Errorf("%d %s, want %s", out.StatusCode, body, want)
	}
	if r.after != "acme" || r.limit != 1 {
		t.Errorf("asked for %d after %q", r.limit, r.after)
	}
	r.held, r.more = nil, false
	if out, body = call(t, c, "GET", base+"/v1/tenants", ""); out.StatusCode != http.StatusOK || strings.TrimSpace(body) != `{"tenants":[]}` {
		t.Errorf("%d %s", out.StatusCode, body)
	}
	out, body = call(t, c, "GET", base+"/v1/tenants?limit=0", "")
	wantProblem(t, out, body, 400, "invalid")
	out, body = call(t, c, "PUT", base+"/v1/tenants/globex/licenses", "{}", "Content-Type", "text/plain")
	wantProblem(t, out, body, 415, "media_type")
}

func TestChecksOfProxiesAreAnsweredAsTheyAreAsked(t *testing.T) {
	var asked string
	c, base := application(t, HTTPSources{Checks: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.RequestURI
		w.WriteHeader(http.StatusPaymentRequired)
	})})
	for _, want := range []string{"GET /check/path//a/../b?c", "PUT /check/path/a%2Fb/./c", "PATCH /check/forwarded", "TRACE /check/other"} {
		method, path, _ := strings.Cut(want, " ")
		out, _ := call(t, c, method, base+path, "")
		if out.StatusCode != http.StatusPaymentRequired || asked != want {
			t.Errorf("%s: %d, asked %q", want, out.StatusCode, asked)
		}
	}
	asked = ""
	for _, path := range []string{"/check", "/checks/x", "/v1/../check/forwarded"} {
		if out, _ := call(t, c, "GET", base+path, ""); asked != "" || out.StatusCode == http.StatusOK {
			t.Errorf("%s: %d, asked %q", path, out.StatusCode, asked)
		}
	}
	out, body := call(t, c, "POST", base+"/check/forwarded", strings.Repeat(" ", maxBody+1))
	wantProblem(t, out, body, 413, "too_large")
}

func TestProxyOnAnAddressThatOthersReachShowsTheTokenInAHeaderOfItsOwn(t *testing.T) {
	asked := 0
	c, base := applicationOn(t, HTTPSources{Checks: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ })},
		listentest.Open(t, "0.0.0.0:0", listen.Access{Token: "secret"}))
	for _, shown := range [][]string{
		nil, {"Authorization", "Bearer secret"}, {"X-Weir-Caller", "wrong"}, {"X-Weir-Caller", ""}, {"X-Weir-Caller", "Bearer secret"},
	} {
		out, body := call(t, c, "GET", base+"/check/path/x", "", shown...)
		wantProblem(t, out, body, 401, "caller_unknown")
	}
	if asked != 0 {
		t.Errorf("strangers were answered %d times", asked)
	}
	if out, _ := call(t, c, "GET", base+"/check/path/x", "", "X-Weir-Caller", "secret"); out.StatusCode != http.StatusOK || asked != 1 {
		t.Errorf("with the token: %d", out.StatusCode)
	}
	out, body := call(t, c, "POST", base+"/v1/check", "{}", "X-Weir-Caller", "secret")
	wantProblem(t, out, body, 401, "caller_unknown")
}
