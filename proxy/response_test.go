package proxy

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

// noon is the AWS time of these tests.
var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// exhausted is the decision on a quota of a day that is used up.
func exhausted() policy.Decision {
	return policy.Decision{
		Reason: policy.QuotaExhausted, Tenant: "initech", License: "direct:initech", Plan: "basic",
		Route: "reports", Feature: "apiCalls", Plans: []string{"enterprise"}, URL: "https://shop.example/acme",
		Quota: policy.Balance{
			Terms: policy.Terms{Included: 10, Every: policy.Day, Per: 1}, Used: 10,
			Start: noon.Add(-12 * time.Hour), End: noon.Add(12 * time.Hour),
		},
	}
}

// allowed is the decision on a request that a license covers.
func allowed() policy.Decision {
	return policy.Decision{
		Effect: policy.Allow, Reason: policy.Allowed, Tenant: "initech", Account: "111122223333",
		License: "arn:aws:license-manager::294406891311:license:l-1", Plan: "basic", Route: "reports",
	}
}

func pairs(hs []*corev3.HeaderValueOption) map[string]string {
	m := map[string]string{}
	for _, h := range hs {
		m[h.GetHeader().GetKey()] += h.GetHeader().GetValue()
	}
	return m
}

func fields(r *authv3.CheckResponse) map[string]string {
	m := map[string]string{}
	for k, v := range r.GetDynamicMetadata().GetFields() {
		m[k] = v.GetStringValue()
	}
	return m
}

func TestEveryReasonDeniesWithItsStatusOverHTTPAndGRPC(t *testing.T) {
	tests := []struct {
		reason     policy.Reason
		word       string
		http, grpc int
	}{
		{policy.Fault, "fault", 503, 14},
		{policy.HeadersTooMany, "headers_too_many", 431, 8},
		{policy.PathAmbiguous, "path_ambiguous", 400, 3},
		{policy.RouteUnmatched, "route_unmatched", 403, 7},
		{policy.IdentityMissing, "identity_missing", 401, 16},
		{policy.LicenseMissing, "license_missing", 402, 7},
		{policy.LicenseExpired, "license_expired", 402, 7},
		{policy.LicenseEnded, "license_ended", 402, 7},
		{policy.EntitlementsStale, "entitlements_stale", 503, 14},
		{policy.FeatureMissing, "feature_missing", 403, 7},
		{policy.QuantityInvalid, "quantity_invalid", 400, 3},
		{policy.QuotaExhausted, "quota_exhausted", 429, 8},
	}
	if got, want := len(tests), len(policy.Reasons())-2; got != want {
		t.Errorf("the table has %d reasons, there are %d that deny", got, want)
	}
	for _, tt := range tests {
		t.Run(tt.word, func(t *testing.T) {
			d := policy.Decision{Reason: tt.reason}
			r := response(&check{}, &d, noon)
			denied := r.GetDeniedResponse()
			if got, want := int(r.GetStatus().GetCode()), tt.grpc; got != want {
				t.Errorf("status code = %d, want %d: Envoy allows on 0", got, want)
			}
			if got := int(denied.GetStatus().GetCode()); got != tt.http {
				t.Errorf("HTTP status = %d, want %d", got, tt.http)
			}
			set := pairs(denied.GetHeaders())
			if got, want := set["content-type"], "application/problem+json"; got != want {
				t.Errorf("content-type = %q, want %q", got, want)
			}
			for _, name := range []string{"grpc-status", "x-weir-reason"} {
				if _, ok := set[name]; ok {
					t.Errorf("header %s goes to a client that does not speak gRPC", name)
				}
			}
			var body struct {
				Type, Reason string
				Status       int
			}
			if err := json.Unmarshal([]byte(denied.GetBody()), &body); err != nil {
				t.Fatalf("body %q: %v", denied.GetBody(), err)
			}
			if body.Type != "urn:weir:reason:"+tt.word || body.Reason != tt.word || body.Status != tt.http {
				t.Errorf("body = %+v", body)
			}
			if got, want := fields(r), map[string]string{"decision": "denied", "reason": tt.word}; !cmp.Equal(got, want) {
				t.Errorf("metadata: %s", cmp.Diff(want, got))
			}

			r = response(&check{grpc: true}, &d, noon)
			denied, set = r.GetDeniedResponse(), pairs(r.GetDeniedResponse().GetHeaders())
			if r.GetStatus().GetCode() == 0 {
				t.Error("a gRPC caller's denial has status code 0: Envoy allows it")
			}
			if got, want := set["grpc-status"], fmt.Sprint(tt.grpc); got != want {
				t.Errorf("grpc-status = %s, want %s", got, want)
			}
			if got := set["x-weir-reason"]; got != tt.word {
				t.Errorf("x-weir-reason = %s", got)
			}
			if _, ok := set["content-type"]; ok {
				t.Error("content-type is set for a gRPC caller: Envoy would join it to its own")
			}
			if got, want := denied.GetBody(), d.Detail(); got != want || strings.ContainsAny(got, "\r\n") {
				t.Errorf("body = %q, want the line %q", got, want)
			}
		})
	}
}

func TestExhaustedQuotaIsTheGoldenProblem(t *testing.T) {
	d := exhausted()
	denied := response(&check{}, &d, noon).GetDeniedResponse()
	const golden = `{"type":"urn:weir:reason:quota_exhausted","title":"The included quantity is used up","status":429,` +
		`"detail":"The quantity of apiCalls that the plan includes is used up.","reason":"quota_exhausted",` +
		`"feature":"apiCalls","plan":"basic","plans":["enterprise"],"url":"https://shop.example/acme",` +
		`"limit":10,"used":10,"resetsAt":"2026-03-11T00:00:00Z"}`
	if got := denied.GetBody(); got != golden {
		t.Errorf("body:\n%s\nwant:\n%s", got, golden)
	}
	want := map[string]string{
		"content-type": "application/problem+json", "retry-after": "43200",
		"ratelimit-policy": `"apiCalls";q=10;w=86400`, "ratelimit": `"apiCalls";r=0;t=43200`,
	}
	if got := pairs(denied.GetHeaders()); !cmp.Equal(got, want) {
		t.Errorf("headers: %s", cmp.Diff(want, got))
	}
}

func TestDenialHeadersHaveNoAppendAction(t *testing.T) {
	d := exhausted()
	for _, h := range response(&check{grpc: true}, &d, noon).GetDeniedResponse().GetHeaders() {
		if h.GetAppend() != nil || h.GetAppendAction() != 0 { //nolint:staticcheck // the deprecated field is what must stay unset
			t.Errorf("%s has an append action: Envoy would drop it", h.GetHeader().GetKey())
		}
	}
}

func TestAllowedRequestTellsTheApplicationWhoAsks(t *testing.T) {
	d := allowed()
	r := response(&check{}, &d, noon)
	if r.GetStatus() == nil || r.GetStatus().GetCode() != 0 {
		t.Errorf("status = %v, want 0", r.GetStatus())
	}
	want := map[string]string{
		"x-weir-tenant": "initech", "x-weir-account": "111122223333",
		"x-weir-license": "arn:aws:license-manager::294406891311:license:l-1", "x-weir-plan": "basic",
		"x-weir-decision": "allowed",
	}
	if got := pairs(r.GetOkResponse().GetHeaders()); !cmp.Equal(got, want) {
		t.Errorf("headers: %s", cmp.Diff(want, got))
	}
	want = map[string]string{
		"tenant": "initech", "account": "111122223333", "license": "arn:aws:license-manager::294406891311:license:l-1",
		"plan": "basic", "route": "reports", "decision": "allowed", "reason": "allowed",
	}
	if got := fields(r); !cmp.Equal(got, want) {
		t.Errorf("metadata: %s", cmp.Diff(want, got))
	}
	if got := r.GetOkResponse().GetResponseHeadersToAdd(); len(got) != 0 {
		t.Errorf("response headers %v without a quota", got)
	}
}

func TestEnforcedQuotaIsShownToTheClientOfAnAllowedRequest(t *testing.T) {
	d := allowed()
	d.Feature, d.Counted = "apiCalls", true
	d.Quota = policy.Balance{
		OK: true, Terms: policy.Terms{Included: 10, Every: policy.Day, Per: 1}, Used: 3, Held: 1,
		Start: noon.Add(-12 * time.Hour), End: noon.Add(12 * time.Hour),
	}
	want := map[string]string{"ratelimit-policy": `"apiCalls";q=10;w=86400`, "ratelimit": `"apiCalls";r=6;t=43200`}
	if got := pairs(response(&check{}, &d, noon).GetOkResponse().GetResponseHeadersToAdd()); !cmp.Equal(got, want) {
		t.Errorf("response headers: %s", cmp.Diff(want, got))
	}
	d.Mode = policy.Shadow
	if got := response(&check{}, &d, noon).GetOkResponse().GetResponseHeadersToAdd(); len(got) != 0 {
		t.Errorf("a shadow decision shows a quota: %v", got)
	}
}

func TestShadowAndOpenDecisionsAreMarked(t *testing.T) {
	tests := map[string]struct {
		d                        policy.Decision
		header, metadata, reason string
	}{
		"public": {policy.Decision{Effect: policy.Allow, Reason: policy.Public}, "public", "public", "public"},
		"shadow": {
			policy.Decision{Effect: policy.Allow, Mode: policy.Shadow, Reason: policy.LicenseMissing},
			"shadow; reason=license_missing", "shadow", "license_missing",
		},
		"shadow that allows": {
			policy.Decision{Effect: policy.Allow, Mode: policy.Shadow, Reason: policy.Allowed},
			"shadow; reason=allowed", "shadow", "allowed",
		},
		"open": {
			policy.Decision{Effect: policy.Allow, Mode: policy.Open, Cause: policy.CauseStale, Reason: policy.EntitlementsStale},
			"open; cause=stale", "open; cause=stale", "entitlements_stale",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := response(&check{}, &tt.d, noon)
			if got, want := pairs(r.GetOkResponse().GetHeaders()), map[string]string{"x-weir-decision": tt.header}; !cmp.Equal(got, want) {
				t.Errorf("headers: %s", cmp.Diff(want, got))
			}
			if got, want := fields(r), map[string]string{"decision": tt.metadata, "reason": tt.reason}; !cmp.Equal(got, want) {
				t.Errorf("metadata: %s", cmp.Diff(want, got))
			}
		})
	}
}

func TestSpoofedHeadersAreOverwrittenOrRemovedButNeverBoth(t *testing.T) {
	d := allowed()
	d.Account = "" // a spoofed account must go, although weir knows none
	c := &check{spoofed: []string{"x-weir-tenant", "x-weir-account", "X-Weir-Plan", "x-weir-reason", "x-weir-zzz", "x-weir-zzz"}}
	got := response(c, &d, noon).GetOkResponse().GetHeadersToRemove()
	if want := []string{"x-weir-account", "x-weir-reason", "x-weir-zzz"}; !cmp.Equal(got, want) {
		t.Errorf("removed: %s", cmp.Diff(want, got))
	}
}

func TestZeroDecisionAndContradictoryOnesDeny(t *testing.T) {
	for _, d := range []policy.Decision{{}, {Reason: policy.Allowed}, {Reason: policy.Public}, {Mode: policy.Shadow}, {Mode: policy.Open}} {
		r := response(&check{}, &d, noon)
		if r.GetStatus().GetCode() == 0 || r.GetOkResponse() != nil || r.GetDeniedResponse().GetStatus().GetCode() < 400 {
			t.Errorf("%+v is answered %v", d, r)
		}
	}
}

func TestOnlyOnePlaceMakesAPermission(t *testing.T) {
	// Envoy takes an empty CheckResponse for permission; an empty answer of weir's denies.
	if got := new(authv3.CheckResponse).GetStatus().GetCode(); got != 0 {
		t.Fatalf("an empty answer has code %d", got)
	}
	if got := decoded((&wire.Answer{}).Append(nil)); got.GetStatus().GetCode() == 0 || got.GetOkResponse() != nil {
		t.Errorf("weir's empty answer is %v", got)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit: // no answer but the one of a check
				if s, ok := n.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Answer" {
					made++
				}
			case *ast.AssignStmt:
				for _, to := range n.Lhs {
					if s, ok := to.(*ast.SelectorExpr); ok && s.Sel.Name == "Allowed" {
						made++
					}
				}
			}
			return true
		})
	}
	if made != 1 {
		t.Errorf("an answer permits in %d places, want 1", made)
	}
}

func TestNoControlCharacterLeavesInAHeader(t *testing.T) {
	bad := "a\r\nx-injected: 1\x00\xff"
	d := policy.Decision{Effect: policy.Allow, Reason: policy.Allowed, Tenant: bad, Account: bad, License: policy.Key(bad), Plan: bad, Route: bad}
	denied := exhausted()
	denied.Feature = bad
	for _, r := range []*authv3.CheckResponse{
		response(&check{}, &d, noon), response(&check{}, &denied, noon), response(&check{grpc: true}, &denied, noon),
	} {
		if _, err := proto.Marshal(r); err != nil {
			t.Errorf("the answer can't be sent: %v", err)
		}
		all := append(r.GetOkResponse().GetHeaders(), r.GetOkResponse().GetResponseHeadersToAdd()...)
		all = append(all, r.GetDeniedResponse().GetHeaders()...)
		if len(all) == 0 {
			t.Error("no header to look at")
		}
		for _, h := range all {
			if v := h.GetHeader().GetValue(); strings.ContainsAny(v, "\r\n\x00") || !utf8.ValidString(v) {
				t.Errorf("%s is %q", h.GetHeader().GetKey(), h.GetHeader().GetValue())
			}
		}
	}
}

func TestPlainIsPrintableASCIIAtEveryPlace(t *testing.T) {
	for size := range 26 {
		text := []byte(strings.Repeat("~", size))
		if !isPlain(string(text)) {
			t.Errorf("%q is not plain", text)
		}
		for place := range size {
			for b := range 256 {
				text[place] = byte(b)
				if got, want := isPlain(string(text)), b >= ' ' && b <= '~'; got != want {
					t.Errorf("%q: %v, want %v", text, got, want)
				}
			}
			text[place] = ' '
		}
	}
}
