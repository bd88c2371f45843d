package e2e

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

// facing is the examples' configuration with a public address, and without the tenant
// that is going to register.
func facing() string {
	config := strings.Replace(examples.Weir, "  admin: 127.0.0.1:9003", "  public: 127.0.0.1:9004\n  admin: 127.0.0.1:9003", 1)
	config = strings.Replace(config, "  initech:  {account: \"111122223333\"}\n", "", 1)
	return config + "\nregistration:\n  redirect: https://app.acme.test/welcome?from=aws\n"
}

// register posts a token as AWS Marketplace has a buyer's browser do.
func register(t *testing.T, s *stage.Stage, token string) *http.Response {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm("http://"+s.Public+"/register", url.Values{"x-amzn-marketplace-token": {token}})
	must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// tie asks weir to tie a tenant, and gives the status and the answer.
func tie(t *testing.T, s *stage.Stage, tenant, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+s.HTTP+"/v1/tenants/"+tenant+"/licenses", strings.NewReader(body))
	must(t, err)
	req.Header.Set("content-type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(said)
}

func TestABuyerWhoRegistersIsServedAtOnceAndAfterARestart(t *testing.T) {
	s := set(t, stage.Plan{Config: facing()})
	if got := statusOf(t, s, "initech", "/v1/reports/7"); got != http.StatusPaymentRequired {
		t.Fatalf("before: got %d", got)
	}
	// A purchase of which no event tells: the registration alone makes it known.
	must(t, s.Call(t.Context(), http.MethodPut, "feeds", map[string]any{"eventbridge": map[string]any{"queue": "weir"}, "drop": 1}, nil))
	var bought stage.License
	must(t, s.Call(t.Context(), http.MethodPost, "licenses", map[string]any{
		"product": "8h6sexykx0r2ei8dxc94vajj8", "account": "999900001111", "entitlements": []map[string]any{{"dimension": "enterprise", "value": 1}},
	}, &bought))
	var given struct {
		Token string `json:"token"`
	}
	must(t, s.Call(t.Context(), http.MethodPost, "tokens", map[string]any{"license": bought.ID}, &given))

	var claims []string
	for range 2 { // a reload must not lock out who has just paid
		resp := register(t, s, given.Token)
		to, err := resp.Location()
		if resp.StatusCode != http.StatusSeeOther || err != nil {
			t.Fatalf("register: got %s, %v", resp.Status, err)
		}
		if to.Host != "app.acme.test" || to.Query().Get("from") != "aws" {
			t.Errorf("redirected to %s", to)
		}
		claims = append(claims, to.Query().Get("claim"))
	}
	if claims[0] == claims[1] || claims[0] == "" {
		t.Errorf("claims: %q", claims)
	}
	if code, said := tie(t, s, "initech", `{"claim": "`+claims[0]+`"}`); code != http.StatusOK || !strings.Contains(said, "999900001111") {
		t.Fatalf("tie: %d %s", code, said)
	}
	if code, said := tie(t, s, "thief", `{"claim": "`+claims[0]+`"}`); code/100 != 4 {
		t.Errorf("the claim of another tenant: %d %s", code, said)
	}
	if got := statusOf(t, s, "thief", "/v1/sso/x"); got != http.StatusPaymentRequired {
		t.Errorf("the other tenant: got %d", got)
	}
	if got := statusOf(t, s, "initech", "/v1/sso/x"); got != http.StatusOK {
		t.Errorf("after registration: got %d", got)
	}
	must(t, s.StopWeir())
	must(t, s.StartWeir(t.Context()))
	if got := statusOf(t, s, "initech", "/v1/sso/x"); got != http.StatusOK {
		t.Errorf("after a restart: got %d", got)
	}
	r, err := do(t.Context(), http1(), s.HTTP, call{method: http.MethodGet, path: "/v1/tenants/initech/entitlements"})
	must(t, err)
	if p := r.problem(t); r.status != http.StatusOK || p["plan"] != "enterprise" || p["license"] != bought.ARN {
		t.Errorf("entitlements: %d %s", r.status, r.body)
	}
}

func TestATokenThatAWSDoesNotTakeGetsAReadablePageAndLeavesNothing(t *testing.T) {
	s := set(t, stage.Plan{Config: facing()})
	var given struct {
		Token string `json:"token"`
	}
	now, err := s.Clock(t.Context())
	must(t, err)
	must(t, s.Call(t.Context(), http.MethodPost, "tokens", map[string]any{"license": initech, "expires": now.Add(time.Minute).Format(time.RFC3339)}, &given))
	must(t, s.Advance(t.Context(), 2*time.Minute))
	for name, token := range map[string]string{"expired": given.Token, "forged": "<script>alert(1)</script>"} {
		resp := register(t, s, token)
		page, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != http.StatusBadRequest || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %s %s", name, resp.Status, resp.Header.Get("Content-Type"))
		}
		if text := string(page); !strings.Contains(text, "AWS Marketplace") || strings.Contains(text, token) || strings.Contains(text, "<script") {
			t.Errorf("%s: the page is %s", name, text)
		}
	}
	var listed struct {
		Tenants []struct{ Tenant string } `json:"tenants"`
	}
	must(t, s.Status(t.Context(), "/v1/tenants", &listed))
	for _, tenant := range listed.Tenants {
		if tenant.Tenant == "initech" {
			t.Errorf("a refused token left %v", listed.Tenants)
		}
	}
}
