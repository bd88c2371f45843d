package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

// row is one line of the table of decisions.
type row struct {
	reason  string
	call    call
	status  int
	code    codes.Code
	members string // those of the problem beside type, title, status, detail, reason
	headers string // those that have to be there
}

// misnamed is a route of Envoy that names a route which weir.yaml does not have.
const misnamed = `              - match: {prefix: /misnamed}
                route: {cluster: app}
                typed_per_filter_config:
                  envoy.filters.http.ext_authz:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                    check_settings: {context_extensions: {weir.route: nope}}
`

func TestEachRowOfTheDecisionTableComesBackThroughEnvoy(t *testing.T) {
	first := strings.Index(examples.Envoy, "              - {match: {prefix: /, grpc")
	s := set(t, stage.Plan{EnvoyConfig: examples.Envoy[:first] + misnamed + examples.Envoy[first:]})
	ctx := t.Context()

	// umbrella's account is not in memory, and AWS does not answer.
	must(t, s.Call(ctx, http.MethodPost, "faults", map[string]any{"operation": "GetEntitlements", "kind": "slow", "delay": "5s", "count": -1}, nil))
	t.Run("AWS silent", func(t *testing.T) {
		check(t, s, row{"entitlements_stale", call{path: "/v1/reports/7", tenant: "umbrella"}, 503, codes.Unavailable, "", "Retry-After"})
	})
	must(t, s.Call(ctx, http.MethodDelete, "faults", nil, nil))
	eventually(t, 30*time.Second, "the look-up is answered", func() bool {
		r, err := do(ctx, http1(), s.Ingress, call{method: http.MethodGet, path: "/v1/reports/7", tenant: "umbrella"})
		return err == nil && r.status == http.StatusPaymentRequired
	})

	// hooli cancels: an event says so, and a read agrees.
	must(t, s.Call(ctx, http.MethodPost, "licenses/arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000003/cancel", nil, nil))
	eventually(t, 5*time.Second, "hooli's license ends", func() bool {
		r, err := do(ctx, http1(), s.Ingress, call{method: "GET", path: "/v1/reports/7", tenant: "hooli"})
		return err == nil && r.status == http.StatusPaymentRequired
	})
	for _, r := range []row{
		{"allowed", call{path: "/v1/reports/7", tenant: "initech"}, 200, codes.OK, "", "RateLimit RateLimit-Policy"},
		{"allowed", call{path: "/v1/sso/login", tenant: "bigcorp"}, 200, codes.OK, "", ""},
		{"public", call{path: "/grpc.health.v1.Health/Check"}, 200, codes.OK, "", ""},
		{"path_ambiguous", call{path: "/v1/sso;v=1/login", tenant: "initech"}, 400, codes.InvalidArgument, "", ""},
		{"headers_too_many", call{path: "/healthz", many: 101}, 431, codes.ResourceExhausted, "", ""},
		{"identity_missing", call{path: "/v1/reports/7"}, 401, codes.Unauthenticated, "", ""},
		{"identity_missing", call{path: "/v1/reports/7", tenant: "in!tech"}, 401, codes.Unauthenticated, "", ""},
		{"license_missing", call{path: "/v1/reports/7", tenant: "stranger"}, 402, codes.PermissionDenied, "plans url", ""},
		{"license_missing", call{path: "/v1/reports/7", tenant: "umbrella"}, 402, codes.PermissionDenied, "plans url", ""},
		{"license_ended", call{path: "/v1/reports/7", tenant: "hooli"}, 402, codes.PermissionDenied, "plan url", ""},
		{"feature_missing", call{path: "/v1/sso/login", tenant: "initech"}, 403, codes.PermissionDenied, "feature plan plans url", ""},
		{"feature_missing", call{path: "/v1/team/x", tenant: "initech"}, 403, codes.PermissionDenied, "feature plan plans url", ""},
		{"route_unmatched", call{path: "/nowhere", tenant: "initech"}, 403, codes.PermissionDenied, "", ""},
		{"quantity_invalid", call{method: "POST", path: "/v1/import", tenant: "initech", header: map[string]string{"x-rows": "many"}}, 400, codes.InvalidArgument, "", ""},
		{
			"quota_exhausted",
			call{method: "POST", path: "/v1/import", tenant: "initech", header: map[string]string{"x-rows": "101"}},
			429, codes.ResourceExhausted, "feature limit plan plans resetsAt url used", "Retry-After RateLimit RateLimit-Policy",
		},
		{"fault", call{path: "/misnamed", tenant: "initech"}, 503, codes.Unavailable, "", ""},
	} {
		t.Run(r.reason+" "+r.call.path, func(t *testing.T) { check(t, s, r) })
	}
	t.Run("license_expired", func(t *testing.T) {
		now, err := s.Clock(ctx)
		must(t, err)
		must(t, s.Call(ctx, http.MethodPut, "licenses/arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000002/entitlements",
			[]map[string]any{{"dimension": "enterprise", "value": 1, "expires": now.Add(time.Minute).Format(time.RFC3339)}}, nil))
		must(t, s.Advance(ctx, 10*time.Minute))
		eventually(t, 20*time.Second, "the expiry is confirmed by a read", func() bool {
			r, err := do(ctx, http1(), s.Ingress, call{method: "GET", path: "/v1/sso/login", tenant: "globex"})
			return err == nil && r.status == http.StatusPaymentRequired
		})
		check(t, s, row{"license_expired", call{path: "/v1/sso/login", tenant: "globex"}, 402, codes.PermissionDenied, "plan url", ""})
	})
}

// check makes the row's call over HTTP/1.1, HTTP/2 and gRPC.
func check(t *testing.T, s *stage.Stage, r row) {
	if r.call.method == "" {
		r.call.method = http.MethodGet
	}
	for name, client := range map[string]*http.Client{"HTTP/1.1": http1(), "HTTP/2": http2c()} {
		t.Run(name, func(t *testing.T) {
			got, err := do(t.Context(), client, s.Ingress, r.call)
			must(t, err)
			checkHTTP(t, r, got)
		})
	}
	t.Run("gRPC", func(t *testing.T) {
		header, trailer, err := invoke(t.Context(), dial(t, s.Ingress), r.call)
		if got := status.Code(err); got != r.code {
			t.Errorf("code: got %s (%v), want %s", got, err, r.code)
		}
		if r.code == codes.OK {
			if got := header.Get("app-saw-x-weir-decision"); len(got) != 1 || got[0] != r.reason {
				t.Errorf("x-weir-decision at the application: got %q", got)
			}
			return
		}
		message := status.Convert(err).Message()
		if strings.ContainsAny(message, "{\n") || !strings.HasSuffix(message, ".") {
			t.Errorf("message %q is not one sentence", message)
		}
		all := trailer.Copy()
		maps.Copy(all, header)
		if got := all.Get("x-weir-reason"); len(got) != 1 || got[0] != r.reason {
			t.Errorf("x-weir-reason: got %q, want %s", got, r.reason)
		}
		for _, name := range strings.Fields(r.headers) {
			if len(all.Get(name)) != 1 {
				t.Errorf("%s: got %q", name, all.Get(name))
			}
		}
	})
}

func checkHTTP(t *testing.T, r row, got result) {
	t.Helper()
	if got.status != r.status {
		t.Fatalf("status: got %d, want %d; body %s", got.status, r.status, got.body)
	}
	for _, name := range strings.Fields(r.headers) {
		if len(got.header.Values(name)) != 1 {
			t.Errorf("%s: got %q", name, got.header.Values(name))
		}
	}
	if r.status == http.StatusOK {
		weir, _ := got.problem(t)["weir"].(map[string]any)
		if weir["x-weir-decision"] != r.reason {
			t.Errorf("x-weir-decision at the application: got %v, want %s", weir["x-weir-decision"], r.reason)
		}
		return
	}
	if ct := got.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content-type: got %q", ct)
	}
	p := got.problem(t)
	if p["reason"] != r.reason || p["type"] != "urn:weir:reason:"+r.reason || p["status"] != float64(r.status) {
		t.Errorf("problem: %v", p)
	}
	want := append(strings.Fields(r.members), "type", "title", "status", "detail", "reason")
	slices.Sort(want)
	if have := slices.Sorted(maps.Keys(p)); !slices.Equal(have, want) {
		t.Errorf("members: got %v, want %v", have, want)
	}
}
