package marketplace

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/marketplace/emulator"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// scopes is an AWS that refuses everything, and keeps the region and service of each signature.
type scopes struct {
	mu   sync.Mutex
	seen []string
	form url.Values // of AssumeRole
}

func (s *scopes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if parts := strings.Split(scope, "/"); len(parts) > 3 {
		s.seen = append(s.seen, parts[0]+" "+parts[3]+" "+parts[2])
	}
	if strings.Contains(string(body), "Action=AssumeRole") {
		s.form, _ = url.ParseQuery(string(body))
		_, _ = io.WriteString(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
			`<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>`+
			`<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
		return
	}
	w.WriteHeader(http.StatusForbidden)
}

func scopesWorld(t *testing.T, cfg Config) (*world, *scopes) {
	t.Helper()
	s := &scopes{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	w := connectTo(t, server.URL)
	cfg.Endpoint = server.URL
	w.reg = prometheus.NewRegistry()
	var err error
	w.Connection, err = Connect(t.Context(), cfg, slog.New(slog.DiscardHandler), w.reg)
	if err != nil {
		t.Fatal(err)
	}
	return w, s
}

func TestEachServiceIsAskedInItsRegion(t *testing.T) {
	w, s := scopesWorld(t, Config{Region: "eu-central-1"})
	_, _ = all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{})
	_, _ = w.Usage(testProducts()).Send(t.Context(), arns(1))
	stop := run(t, w.Queue("https://sqs.ap-southeast-2.amazonaws.com/111122223333/weir", testProducts(), t.TempDir(), nil).Run)
	eventually(t, "received", func() bool {
		return w.requests("ReceiveMessage", "failed")+w.requests("ReceiveMessage", "ambiguous") > 0
	})
	stop()
	got := map[string]bool{}
	for _, scope := range s.seen {
		got[scope] = true
	}
	want := map[string]bool{
		"AKIAEXAMPLE aws-marketplace us-east-1": true, "AKIAEXAMPLE aws-marketplace eu-central-1": true, "AKIAEXAMPLE sqs ap-southeast-2": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRoleIsAssumedWithItsExternalID(t *testing.T) {
	w, s := scopesWorld(t, Config{Region: "eu-central-1", RoleARN: "arn:aws:iam::111122223333:role/weir", ExternalID: "for-weir"})
	_, _ = w.Usage(testProducts()).Send(t.Context(), arns(1))
	want := []string{"AKIAEXAMPLE sts eu-central-1", "ASIAROLE aws-marketplace eu-central-1"}
	if diff := cmp.Diff(want, s.seen); diff != "" {
		t.Error(diff)
	}
	if s.form.Get("ExternalId") != "for-weir" || s.form.Get("RoleArn") != "arn:aws:iam::111122223333:role/weir" {
		t.Errorf("asked for %v", s.form)
	}
	if n := w.requests("AssumeRole", "ok"); n != 1 {
		t.Errorf("counted %v calls of AssumeRole, want 1", n)
	}
}

func TestRefusedRoleMakesTheProductWaitAndNothingAmbiguous(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
	}))
	defer server.Close()
	w := connectTo(t, server.URL)
	c, err := Connect(t.Context(), Config{Region: "us-east-1", RoleARN: "arn:aws:iam::111122223333:role/weir", Endpoint: server.URL},
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	w.Connection = c
	if diff := cmp.Diff([]metering.Answer{metering.Unavailable}, answers(t, w, arns(1)...)); diff != "" {
		t.Error(diff)
	}
}

func TestB18ClockAsksWhoItIsWhereNoEndpointIsSet(t *testing.T) {
	var identified sync.WaitGroup
	identified.Add(looks)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), "Action=GetCallerIdentity") {
			t.Errorf("asked %s %s %s", r.Method, r.URL, body)
		}
		identified.Done()
		w.Header().Set("Date", time.Now().Add(-3*time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
	}))
	defer server.Close()
	connectWith(t, server.URL, map[string]string{"AWS_ENDPOINT_URL": server.URL})
	c, err := Connect(t.Context(), Config{Region: "us-east-1"}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Clock.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	identified.Wait()
	if off := (c.Clock.Offset() + 3*time.Hour).Abs(); off > 2*time.Second {
		t.Errorf("offset %v, want -3h", c.Clock.Offset())
	}
}

func TestSignaturesKeepTheRealTimeWhenTheEndpointsClockIsMoved(t *testing.T) {
	server := httptest.NewServer(emulator.New(emulator.Config{Credentials: "AKIAEXAMPLE:secret"}))
	defer server.Close()
	w := connectTo(t, server.URL)
	w.control("PUT", "products/"+acmeCode, `{"dimensions": [{"key": "basic", "types": ["Entitled"]}]}`, nil)
	w.control("PUT", "clock", `{"advance": "24h"}`, nil)
	source := w.Entitlements("acme", testProducts()["acme"]) // one client, which could learn from the first answer's Date
	for range 3 {
		if _, err := all(t.Context(), source, policy.Subject{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	w := newWorld(t)
	url := w.feed("full")
	hints := make(chan cache.Hint, 1)
	stop := run(t, w.Queue(url, testProducts(), t.TempDir(), func(_ context.Context, h cache.Hint) (bool, error) { hints <- h; return true, nil }).Run)
	w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
	within(t, hints)
	stop()
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	want := map[string]bool{
		"weir_aws_requests_total": true, "weir_aws_request_seconds": true, "weir_clock_offset_seconds": true, "weir_updates_total": true,
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
