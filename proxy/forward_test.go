package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policy"
)

// client is what a client sends: header lines are "name: value".
type client struct {
	method, host, path string
	headers            []string
}

// endpoints are the ways to ask over HTTP: what a proxy sends for a client's request.
func endpoints() map[string]func(client) string {
	return map[string]func(client) string{
		"forwarded": func(c client) string {
			return lines("GET /check/forwarded HTTP/1.1", "Host: weir", c.headers, "X-Forwarded-Method: "+c.method,
				"X-Forwarded-Proto: https", "X-Forwarded-Host: "+c.host, "X-Forwarded-Uri: "+c.path)
		},
		"original": func(c client) string {
			return lines("GET /check/original HTTP/1.0", "Host: weir", c.headers, "X-Original-Method: "+c.method,
				"X-Original-URL: https://"+c.host+c.path)
		},
		"path": func(c client) string {
			return lines(c.method+" /check/path"+c.path+" HTTP/1.1", "Host: "+c.host, c.headers, "Content-Length: 0")
		},
	}
}

// lines is the text of an HTTP request without a body.
func lines(request, host string, headers []string, more ...string) string {
	return strings.Join(slices.Concat([]string{request, host}, headers, more, []string{"", ""}), "\r\n")
}

// envoys is the same request as Envoy asks about it over gRPC.
func envoys(c client) *authv3.CheckRequest {
	headers := map[string]string{}
	for _, h := range c.headers {
		name, value, _ := strings.Cut(strings.ToLower(h), ": ")
		if before, ok := headers[name]; ok {
			value = before + "," + value
		}
		headers[name] = value
	}
	in := checkOf(headers)
	in.Attributes.ContextExtensions = nil
	in.Attributes.Source = nil
	http := in.Attributes.Request.Http
	http.Id, http.Method, http.Host, http.Path = "", c.method, c.host, c.path
	return in
}

// overHTTP lets a handler answer a request that came as this text.
func overHTTP(t *testing.T, h http.Handler, text string) *httptest.ResponseRecorder {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(t.Context()))
	return w
}

// answered is an answer, over gRPC and over HTTP.
type answered struct {
	Status  int
	Body    string
	Headers map[string]string
}

func ofEnvoy(out *authv3.CheckResponse) answered {
	if denied := out.GetDeniedResponse(); denied != nil {
		return answered{int(denied.GetStatus().GetCode()), denied.GetBody(), pairs(denied.GetHeaders())}
	}
	ok := out.GetOkResponse()
	return answered{http.StatusOK, "", pairs(slices.Concat(ok.GetHeaders(), ok.GetResponseHeadersToAdd()))}
}

func ofHTTP(w *httptest.ResponseRecorder) answered {
	a := answered{w.Code, w.Body.String(), map[string]string{}}
	for name, values := range w.Header() {
		a.Headers[strings.ToLower(name)] = strings.Join(values, "")
	}
	return a
}

func TestForwardAuthAnswersWhatExtAuthzAnswers(t *testing.T) {
	shadow, open, stale, quota := allowed(), allowed(), policy.Decision{Reason: policy.EntitlementsStale}, allowed()
	shadow.Mode, shadow.Reason = policy.Shadow, policy.FeatureMissing
	open.Mode, open.Cause = policy.Open, policy.CauseStale
	quota.Feature, quota.Quota = exhausted().Feature, exhausted().Quota
	quota.Quota.Used, quota.Quota.OK = 3, true
	decisions := map[string]policy.Decision{
		"allowed": allowed(), "shadow": shadow, "open": open, "stale": stale, "quota": quota, "exhausted": exhausted(),
		"public": {Effect: policy.Allow, Reason: policy.Public},
		"broken": {Reason: policy.Allowed}, // a denial with the reason of a permission
	}
	for _, r := range policy.Reasons() {
		if r.Status() != http.StatusOK {
			decisions[r.String()] = policy.Decision{Reason: r, Plan: "basic", Feature: "sso", Plans: []string{"enterprise"}, URL: "https://shop.example"}
		}
	}
	for name, d := range decisions {
		for _, kind := range []string{"text/plain", "application/grpc", "application/grpc+proto", "application/grpc-web"} {
			a := newAuthorization(t, func(context.Context, *policy.Request) policy.Decision { return d })
			c := client{"POST", "api.acme.example", "/v1/x", []string{"content-type: " + kind, "x-weir-tenant: globex", "x-weir-plan: gold"}}
			out, err := a.Check(t.Context(), envoys(c))
			if err != nil {
				t.Fatal(err)
			}
			for endpoint, asks := range endpoints() {
				want, got := ofEnvoy(out), ofHTTP(overHTTP(t, &forward{a}, asks(c)))
				if endpoint == "original" && want.Status != http.StatusOK { // nginx can't pass a body on
					want.Headers["x-weir-reason"] = fields(out)["reason"]
				}
				if kind != "text/plain" && kind != "application/grpc-web" && want.Status != http.StatusOK { // Envoy says so by itself
					want.Headers["content-type"] = "text/plain; charset=utf-8"
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %s at %s (-gRPC +HTTP):\n%s", name, kind, endpoint, diff)
				}
			}
		}
	}
}

// shop is a policy that decides without knowing any license.
func shop(t *testing.T) *policy.Policy {
	t.Helper()
	c := policy.DefaultConfig()
	c.Products = map[string]policy.Product{"acme": {Code: "a", ID: "prod-a", Model: policy.ModelContract, Dimensions: map[string]policy.Dimension{"basic": {Plan: "basic"}}}}
	c.Plans = map[string]policy.Plan{"basic": {}}
	c.Identity = []policy.Extractor{
		{From: "jwt", Provider: "p", Claim: "sub", As: "tenant"},
		{From: "context", Key: "k", As: "tenant"},
		{From: "peer", SAN: "uri", As: "tenant"},
		{From: "header", Name: "x-tenant-id", As: "tenant"},
	}
	c.Routes = []policy.Route{
		{Name: "public", Match: policy.Match{Path: "/open/**"}, Public: true},
		{Name: "host", Match: policy.Match{Host: "api.acme.example", Path: "/v1/host/{id}"}, Public: true},
		{Name: "get", Match: policy.Match{Path: "/v1/get/{id}", Methods: []string{"GET"}}, Public: true},
		{Name: "held", Match: policy.Match{Path: "/v1/held/**"}},
	}
	p, err := policy.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// nobody is a View in which nobody holds anything.
type nobody struct{}

func (nobody) Find(policy.Subject, string) (*policy.Holding, policy.Knowledge) {
	return nil, policy.Absent
}

func (nobody) Confirmed(string) time.Time { return noon }

// many are header lines of different names.
func many(n int) (headers []string) {
	for i := range n {
		headers = append(headers, fmt.Sprintf("x-h-%d: 1", i))
	}
	return headers
}

func TestForwardAuthDecidesAsExtAuthz(t *testing.T) {
	p := shop(t)
	tenant := []string{"x-tenant-id: initech"}
	for _, tt := range []struct {
		client
		want string // reason, route and tenant
	}{
		{client{"GET", "api.acme.example", "/open/a?b=/../c", nil}, "public public "},
		{client{"DELETE", "api.acme.example:8443", "/v1/host/7", nil}, "public host "},
		{client{"GET", "API.acme.example.", "/v1/host/7", nil}, "public host "},
		{client{"GET", "other.example", "/v1/host/7", nil}, "route_unmatched  "},
		{client{"HEAD", "h", "/v1/get/7", nil}, "public get "},
		{client{"POST", "h", "/v1/get/7", nil}, "route_unmatched  "},
		{client{"GET", "h", "/v1/held", nil}, "identity_missing held "},
		{client{"GET", "h", "/v1/held", tenant}, "license_missing held initech"},
		{client{"GET", "h", "/v1/held/", tenant}, "license_missing held initech"},
		{client{"GET", "h", "/v1/held/%61", tenant}, "license_missing held initech"},
		{client{"GET", "h", "/v1/./held//x", tenant}, "license_missing held initech"},
		{client{"GET", "h", "/open/../v1/held/x", tenant}, "license_missing held initech"},
		{client{"GET", "h", "//v1/held/x", tenant}, "license_missing held initech"},
		{client{"GET", "h", "/open/..;/v1/held/x", tenant}, "path_ambiguous  "},
		{client{"GET", "h", "/open/..%2fv1/held/x", tenant}, "path_ambiguous  "},
		{client{"GET", "h", "/open/..%252fv1/held/x", tenant}, "path_ambiguous  "},
		{client{"GET", "h", `/open\..\v1\held\x`, tenant}, "path_ambiguous  "},
		{client{"GET", "a,b", "/open/x", nil}, "path_ambiguous  "},
		{client{"GET", "h", "/v1/held", append(tenant, "x-tenant-id: globex")}, "identity_missing held "},
		{client{"GET", "h", "/v1/held", []string{"x-tenant-id: a b"}}, "identity_missing held "},
		{client{"GET", "h", "/v1/held", []string{"x-tenant-id: "}}, "identity_missing held "},
		{client{"GET", "h", "/v1/held", []string{"x-weir-tenant: initech", "weir.route: public"}}, "identity_missing held "},
		{client{"GET", "h", "/open/x", many(100)}, "public public "},
		{client{"GET", "h", "/open/x", many(101)}, "headers_too_many  "},
		{client{"GET", "h", "/open/x", append(many(100), "x-request-id: 1", "x-forwarded-for: 2")}, "public public "},
	} {
		var said []string
		a := newAuthorization(t, func(_ context.Context, r *policy.Request) policy.Decision {
			d := p.Decide(r, nobody{}, noon)
			said = append(said, fmt.Sprintf("%s %s %s", d.Reason, d.Route, d.Tenant))
			if r.Unlogged != (len(said) > 1) {
				t.Errorf("only what is asked over gRPC can be logged: %v", r.Unlogged)
			}
			return d
		})
		if _, err := a.Check(t.Context(), envoys(tt.client)); err != nil {
			t.Fatal(err)
		}
		for _, asks := range endpoints() {
			overHTTP(t, &forward{a}, asks(tt.client))
		}
		if want := slices.Repeat([]string{tt.want}, 4); !slices.Equal(said, want) {
			t.Errorf("%s %s%s: got %q, want %q", tt.method, tt.host, tt.path, said, tt.want)
		}
	}
}

func TestEachEndpointReadsItsOwnHeadersAlone(t *testing.T) {
	const forwarded = "X-Forwarded-Method: PUT|X-Forwarded-Proto: https|X-Forwarded-Host: h:1|X-Forwarded-Uri: /f?x=1"
	const original = "X-Original-Method: PATCH|X-Original-URL: http://o/o?x=1"
	without := func(headers, name string) string {
		return strings.Join(slices.DeleteFunc(strings.Split(headers, "|"), func(h string) bool { return strings.HasPrefix(h, name) }), "|")
	}
	tests := []struct{ target, headers, want string }{ // method, host and path, or the status
		{"/check/forwarded?x=2", forwarded + "|" + original, "PUT h:1 /f?x=1"},
		{"/check/original", forwarded + "|" + original, "PATCH o /o?x=1"},
		{"/check/path/p?x=1", forwarded + "|" + original, "GET weir /p?x=1"},
		{"/check/path//p/..", "", "GET weir //p/.."},
		{"/check/path", "", "GET weir /"},
		{"/check/path?x", "", "GET weir /?x"},
		{"/check/forwarded", without(forwarded, "X-Forwarded-Uri") + "|X-Forwarded-Uri: HTTPS://H./a", "PUT h:1 /a"},
		{"/check/forwarded", without(forwarded, "X-Forwarded-Uri") + "|X-Forwarded-Uri: https://other/a", "PUT h:1,other /a"},
		{"/check/original", without(original, "X-Original-URL") + "|X-Original-URL: /a", "PATCH  /a"},
		{"/check/original", without(original, "X-Original-URL") + "|X-Original-URL: https://o", "PATCH o /"},
		{"/check/original", without(original, "X-Original-URL") + "|X-Original-URL: https://o?x", "PATCH o /?x"},
		{"/check/original", without(original, "X-Original-URL") + "|X-Original-URL: https:///a", "PATCH  https:///a"},
		{"/check/original", without(original, "X-Original-URL") + "|X-Original-URL: ftp://o/a", "PATCH  ftp://o/a"},
		{"/check/original", without(original, "X-Original-URL") + "|X-Original-URL: *", "PATCH  *"},
		{"/check/forwarded", original, "400"},
		{"/check/original", forwarded, "400"},
		{"/check/other", forwarded, "404"},
		{"/check/pathology", forwarded, "404"},
		{"/check/", forwarded, "404"},
	}
	for _, headers := range []string{forwarded, original} {
		endpoint := "/check/" + map[bool]string{true: "forwarded", false: "original"}[headers == forwarded]
		for _, h := range strings.Split(headers, "|") {
			name, _, _ := strings.Cut(h, ":")
			tests = append(tests, []struct{ target, headers, want string }{
				{endpoint, without(headers, name), "400"}, {endpoint, without(headers, name) + "|" + name + ":", "400"}, {endpoint, headers + "|" + h, "400"},
			}...)
		}
	}
	for _, tt := range tests {
		var got string
		a := newAuthorization(t, func(_ context.Context, r *policy.Request) policy.Decision {
			got = r.Method + " " + r.Host + " " + r.Path
			return allowed()
		})
		w := overHTTP(t, &forward{a}, lines("GET "+tt.target+" HTTP/1.1", "Host: weir", strings.Split(strings.Trim(tt.headers, "|"), "|")))
		if w.Code != http.StatusOK {
			got = fmt.Sprint(w.Code)
			var p policy.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || w.Header().Get("Content-Type") != policy.ProblemType {
				t.Errorf("%s %s: %v, %v %s", tt.target, tt.headers, err, w.Header(), w.Body)
			}
		}
		if got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.target, tt.headers, got, tt.want)
		}
	}
}

func TestForwardAuthAnswersEveryMethod(t *testing.T) {
	a := newAuthorization(t, allowAll)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		w := overHTTP(t, &forward{a}, lines(method+" /check/original HTTP/1.1", "Host: weir", nil, "X-Original-Method: GET", "X-Original-URL: http://h/"))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

func TestRequestIDNamesAForwardedRequestOnlyWhereItIsTrusted(t *testing.T) {
	var got string
	a := newAuthorization(t, func(_ context.Context, r *policy.Request) policy.Decision {
		got = r.ID
		return allowed()
	})
	for trusted, want := range map[bool]string{false: "", true: "r-1"} {
		a.trustRequestID = trusted
		overHTTP(t, &forward{a}, lines("GET /check/path/x HTTP/1.1", "Host: h", nil, "X-Request-Id: r-1"))
		if got != want {
			t.Errorf("trusted %v: id %q, want %q", trusted, got, want)
		}
	}
}

func TestForwardAuthIsNoPermissionForACallerWhoWentAwayOrAfterAPanic(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for name, d := range map[string]decide{
		"went away": func(context.Context, *policy.Request) policy.Decision {
			cancel()
			return allowed()
		},
		"panic": func(context.Context, *policy.Request) policy.Decision { panic("bad day") },
	} {
		r := httptest.NewRequestWithContext(ctx, "GET", "/check/path/x", http.NoBody)
		w := httptest.NewRecorder()
		(&forward{newAuthorization(t, d)}).ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"fault"`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestForwardAuthNeedsNoListenerForGRPC(t *testing.T) {
	s, err := New(options(), nil, decide(allowAll), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	if w := overHTTP(t, s.Forward(), lines("GET /check/path/x HTTP/1.1", "Host: h", nil)); w.Code != http.StatusOK {
		t.Errorf("got %d", w.Code)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHeadersThatProxiesAddAreNoneOfTheClientsOnceEach(t *testing.T) {
	for text, want := range map[string]int{
		"X-A: 1|X-B: 2|X-B: 3": 3,
		"X-Forwarded-Uri: /|X-Original-Url: /|Via: 1.1 Caddy|X-Weir-Caller: t|X-Request-Id: r|Content-Length: 0|X-Real-Ip: ::1|X-Weir-Tenant: t": 0,
		"Via: 1|Via: 2|X-Weir-Tenant: a|X-Weir-Tenant: b|X-Weir-Other: c":                                                                        3,
	} {
		h := http.Header{}
		for _, line := range strings.Split(text, "|") {
			name, value, _ := strings.Cut(line, ": ")
			h.Add(name, value)
		}
		if got := (&forwarded{h}).Headers(); got != want {
			t.Errorf("%s: %d headers, want %d", text, got, want)
		}
	}
}
