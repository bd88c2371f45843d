package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/internal/listen/listentest"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// noon is the AWS time of these tests.
var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// patience bounds what a test waits for.
const patience = 20 * time.Second

// ledger is a UsageSource that remembers what it was asked for.
type ledger struct {
	rows  []metering.Row
	next  string
	err   error
	asked metering.Filter
}

func (l *ledger) Rows(_ context.Context, f metering.Filter) ([]metering.Row, string, error) {
	l.asked = f
	return l.rows, l.next, l.err
}

// shelf is a LicenseSource.
type shelf struct {
	held  []License
	next  policy.Key
	after policy.Key
	limit int
}

func (s *shelf) Licenses(after policy.Key, limit int) ([]License, policy.Key) {
	s.after, s.limit = after, limit
	return s.held, s.next
}

func (s *shelf) License(key policy.Key) (License, bool) {
	for _, l := range s.held {
		if l.Key == key {
			return l, true
		}
	}
	return License{}, false
}

// explain is an Explainer that is a function.
type explain func(*policy.Request, time.Time) policy.Decision

func (f explain) Explain(_ context.Context, r *policy.Request, at time.Time) policy.Decision {
	return f(r, at)
}

// empty are the sources of a process that has just begun.
func empty() Sources {
	return Sources{
		Metrics:   prometheus.NewRegistry(),
		Ready:     func() []Reason { return nil },
		Warnings:  func() []Reason { return nil },
		Status:    func(context.Context) (Status, error) { return Status{}, nil },
		Usage:     &ledger{},
		Licenses:  &shelf{},
		Explainer: explain(func(*policy.Request, time.Time) policy.Decision { return policy.Decision{} }),
	}
}

// run runs an Admin until the test ends and returns a client of it with its base URL.
func run(t *testing.T, s Sources, profiles bool, l *listen.Listener) (*http.Client, string) {
	t.Helper()
	return serving(t, NewAdmin([]*listen.Listener{l}, s, profiles, slog.New(slog.NewTextHandler(io.Discard, nil))), l)
}

// local runs an Admin on loopback.
func local(t *testing.T, s Sources) (*http.Client, string) {
	t.Helper()
	return run(t, s, false, listentest.Open(t, "127.0.0.1:0", listen.Access{}))
}

// call makes a request and reads the whole answer.
func call(t *testing.T, c *http.Client, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	out, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return out, string(b)
}

// wantProblem checks that an answer is a problem with this status and reason.
func wantProblem(t *testing.T, out *http.Response, body string, status int, reason string) {
	t.Helper()
	var p policy.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%d %q: %v", out.StatusCode, body, err)
	}
	if got, want := out.Header.Get("Content-Type"), "application/problem+json"; got != want {
		t.Errorf("content type %q, want %q", got, want)
	}
	if out.StatusCode != status || p.Status != status || p.Reason != reason || p.Type != "urn:weir:reason:"+reason || p.Detail == "" {
		t.Errorf("answered %d %s, want %d %s", out.StatusCode, body, status, reason)
	}
}

func TestEveryEndpointAnswersBeforeThereIsData(t *testing.T) {
	c, base := local(t, empty())
	tests := map[string]string{
		"/livez":       `{"live":true}`,
		"/readyz":      `{"ready":true,"reasons":[]}`,
		"/metrics":     ``,
		"/v1/usage":    `{"rows":[]}`,
		"/v1/licenses": `{"licenses":[]}`,
		"/v1/status": `{"sources":{},"ledger":{},"disk":{"writable":false},"conflicts":[],"clock":{"offset":0},"feeds":{},"pins":[],"listen":{},` +
			`"build":{"version":"","commit":"","go":""}}`,
	}
	for path, want := range tests {
		out, body := call(t, c, "GET", base+path, "")
		if out.StatusCode != http.StatusOK || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s, want %s", path, out.StatusCode, body, want)
		}
		if out, body = call(t, c, "HEAD", base+path, ""); out.StatusCode != http.StatusOK || body != "" {
			t.Errorf("HEAD %s: %d %q", path, out.StatusCode, body)
		}
	}
	out, body := call(t, c, "POST", base+"/v1/explain", `{"url":"/"}`)
	if out.StatusCode != http.StatusOK || strings.TrimSpace(body) != `{"allowed":false,"reason":"fault","status":503,"mode":"enforce","steps":[]}` {
		t.Errorf("explain: %d %s", out.StatusCode, body)
	}
}

func TestErrorsAreProblems(t *testing.T) {
	s := empty()
	s.Usage = &ledger{err: errors.New("disk on fire")}
	s.Status = func(context.Context) (Status, error) { return Status{}, errors.New("disk on fire") }
	s.Explainer = explain(func(*policy.Request, time.Time) policy.Decision { panic("bad day") })
	c, base := local(t, s)
	tests := []struct {
		method, path, body string
		status             int
		reason             string
	}{
		{"GET", "/", "", 404, "not_found"},
		{"GET", "/v2/status", "", 404, "not_found"},
		{"GET", "/debug/pprof/", "", 404, "not_found"},
		{"GET", "/v1/licenses/direct:nobody", "", 404, "not_found"},
		{"POST", "/livez", "", 405, "method_not_allowed"},
		{"DELETE", "/v1/usage", "", 405, "method_not_allowed"},
		{"GET", "/v1/explain", "", 405, "method_not_allowed"},
		{"GET", "/v1/usage?limit=0", "", 400, "invalid"},
		{"GET", "/v1/usage?limit=1001", "", 400, "invalid"},
		{"GET", "/v1/usage?state=gone", "", 400, "invalid"},
		{"GET", "/v1/usage?hour=2026-03-10T14:30:00Z", "", 400, "invalid"},
		{"GET", "/v1/usage?hour=noon", "", 400, "invalid"},
		{"GET", "/v1/licenses?limit=x", "", 400, "invalid"},
		{"POST", "/v1/explain", "{", 400, "invalid"},
		{"POST", "/v1/explain", `{"url":"/","color":"red"}`, 400, "invalid"},
		{"POST", "/v1/explain", strings.Repeat(" ", maxBody+1), 413, "too_large"},
		{"GET", "/v1/status", strings.Repeat(" ", maxBody+1), 413, "too_large"},
		{"GET", "/v1/status", "", 503, "fault"},
		{"GET", "/v1/usage", "", 503, "fault"},
		{"POST", "/v1/explain", `{"url":"/"}`, 503, "fault"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			out, body := call(t, c, tt.method, base+tt.path, tt.body)
			wantProblem(t, out, body, tt.status, tt.reason)
			if strings.Contains(body, "fire") {
				t.Errorf("the cause is for the log, not for callers: %s", body)
			}
		})
	}
	out, _ := call(t, c, "PUT", base+"/v1/explain", "")
	if got, want := out.Header.Get("Allow"), "POST"; got != want {
		t.Errorf("Allow = %q, want %q", got, want)
	}
}

func TestBodyThatDoesNotSayItsLengthIsBoundedToo(t *testing.T) {
	c, base := local(t, empty())
	body := io.MultiReader(strings.NewReader(`{"url":"`), bytes.NewReader(bytes.Repeat([]byte("a"), 2*maxBody)))
	out, err := c.Post(base+"/v1/explain", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, out, string(b), 413, "too_large")
}

func TestHeadersAreBounded(t *testing.T) {
	c, base := local(t, empty())
	if out, _ := call(t, c, "GET", base+"/livez", "", "X-A", strings.Repeat("a", 63<<10)); out.StatusCode != http.StatusOK {
		t.Errorf("63 KiB of headers: %d", out.StatusCode)
	}
	if out, _ := call(t, c, "GET", base+"/livez", "", "X-A", strings.Repeat("a", 70<<10)); out.StatusCode != 431 {
		t.Errorf("70 KiB of headers: %d, want 431", out.StatusCode)
	}
}

func TestCallersOfAnAddressThatOthersReachShowTheToken(t *testing.T) {
	l := listentest.Open(t, "0.0.0.0:0", listen.Access{Token: "secret"})
	c, base := run(t, empty(), true, l)
	for _, path := range []string{"/metrics", "/v1/status", "/v1/usage", "/v1/licenses", "/debug/pprof/", "/nothing"} {
		for name, header := range map[string][]string{
			"no token":      nil,
			"another token": {"Authorization", "Bearer secre7"},
			"no scheme":     {"Authorization", "secret"},
			"basic":         {"Authorization", "Basic secret"},
			"twice":         {"Authorization", "Bearer secret", "Authorization", "Bearer secret"},
		} {
			out, body := call(t, c, "GET", base+path, "", header...)
			if wantProblem(t, out, body, 401, "caller_unknown"); t.Failed() {
				t.Fatalf("%s with %s", path, name)
			}
		}
		if out, body := call(t, c, "GET", base+path, "", "Authorization", "bearer secret"); out.StatusCode == 401 {
			t.Errorf("%s with the token: %s", path, body)
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if out, body := call(t, c, "GET", base+path, ""); out.StatusCode != http.StatusOK {
			t.Errorf("%s without a token: %d %s", path, out.StatusCode, body)
		}
	}
}

func TestCertificateIsDemandedPerEndpoint(t *testing.T) {
	ca := listentest.NewAuthority(t)
	l := listentest.Open(t, "0.0.0.0:0", listen.Access{TLS: ca.Load(t)})
	run(t, empty(), false, l)
	base := "https://127.0.0.1:" + listentest.Port(l)
	client := func(certificates ...tls.Certificate) *http.Client {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: ca.Roots, Certificates: certificates, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true,
		}
		return &http.Client{Transport: transport, Timeout: patience}
	}
	nobody, proven := client(), client(ca.Client)
	for _, path := range []string{"/livez", "/readyz"} {
		if out, body := call(t, nobody, "GET", base+path, ""); out.StatusCode != http.StatusOK {
			t.Errorf("%s without a certificate: %d %s", path, out.StatusCode, body)
		}
	}
	out, body := call(t, nobody, "GET", base+"/v1/status", "")
	wantProblem(t, out, body, 401, "caller_unknown")
	if out, body := call(t, proven, "GET", base+"/v1/status", ""); out.StatusCode != http.StatusOK {
		t.Errorf("with a certificate: %d %s", out.StatusCode, body)
	}
}

func TestAdminServesOnAUnixSocket(t *testing.T) {
	l := listentest.Open(t, listentest.Socket(t), listen.Access{})
	c, _ := run(t, empty(), false, l)
	if out, body := call(t, c, "GET", "http://weir/v1/status", ""); out.StatusCode != http.StatusOK {
		t.Errorf("%d %s", out.StatusCode, body)
	}
}

func TestProfilesAreServedOnlyWhenEnabled(t *testing.T) {
	c, base := run(t, empty(), true, listentest.Open(t, "127.0.0.1:0", listen.Access{}))
	if out, body := call(t, c, "GET", base+"/debug/pprof/", ""); out.StatusCode != http.StatusOK || !strings.Contains(body, "goroutine") {
		t.Errorf("%d %s", out.StatusCode, body)
	}
}

func TestMetricsAreThoseOfTheGatherer(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_test_total", Help: "A test."})
	c.Inc()
	reg.MustRegister(c)
	s := empty()
	s.Metrics = reg
	client, base := local(t, s)
	if out, body := call(t, client, "GET", base+"/metrics", ""); out.StatusCode != http.StatusOK || !strings.Contains(body, "weir_test_total 1\n") {
		t.Errorf("%d %s", out.StatusCode, body)
	}
}
