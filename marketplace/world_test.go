package marketplace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/marketplace/emulator"
	"github.com/weirhq/weir/policy"
)

const (
	acmeCode = "8h6sexykx0r2ei8dxc94vajj8"
	acmeID   = "prod-wa4ddxl7e7ktw"
	oldCode  = "n0123examplelegacylisting"
)

// testProducts are a listing with concurrent agreements, and one from before them.
func testProducts() map[string]policy.Product {
	return map[string]policy.Product{
		"acme": {Code: acmeCode, ID: acmeID, Model: policy.ModelContractWithConsumption, Agreements: policy.AgreementsConcurrent},
		"old":  {Code: oldCode, ID: "prod-oldlisting01", Model: policy.ModelContractWithConsumption, Agreements: policy.AgreementsLegacy},
	}
}

// world is an AWS of its own for one test.
type world struct {
	t      *testing.T
	url    string
	client *http.Client
	*Connection
	reg *prometheus.Registry
	log *syncBuffer
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newWorld starts the emulator with the test products in it.
func newWorld(t *testing.T) *world {
	t.Helper()
	aws := emulator.New(emulator.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- aws.Run(ctx) }()
	server := httptest.NewServer(aws)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("emulator ended with %v", err)
		}
		server.Close()
	})
	w := connectTo(t, server.URL)
	dimensions := `"dimensions": [
		{"key": "basic", "types": ["Entitled"]}, {"key": "seats", "types": ["Entitled"]},
		{"key": "calls", "types": ["ExternallyMetered"]}, {"key": "tokens", "types": ["ExternallyMetered"]}]`
	w.control("PUT", "products/"+acmeCode, `{"id": "`+acmeID+`", `+dimensions+`}`, nil)
	w.control("PUT", "products/"+oldCode, `{"id": "prod-oldlisting01", "agreements": "legacy", `+dimensions+`}`, nil)
	return w
}

// connectTo is a world around whatever answers at the URL.
func connectTo(t *testing.T, url string) *world {
	t.Helper()
	return connectWith(t, url, nil)
}

// connectWith is the same with other environment variables.
func connectWith(t *testing.T, url string, environment map[string]string) *world {
	t.Helper()
	// The SDK's standard chain, with nothing of this machine in it.
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_MAX_ATTEMPTS", "7") // must not make BatchMeterUsage be retried
	for name, value := range environment {
		t.Setenv(name, value)
	}
	w := &world{t: t, url: url, client: &http.Client{Timeout: 10 * time.Second}, reg: prometheus.NewRegistry(), log: &syncBuffer{}}
	var err error
	w.Connection, err = Connect(t.Context(), Config{Region: "eu-central-1", Endpoint: url},
		slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), w.reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

// control makes one call of the emulator's control API.
func (w *world) control(method, path, body string, answer any) {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+"/_control/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		w.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, text.String())
	}
	if answer != nil {
		if err := json.Unmarshal(text.Bytes(), answer); err != nil {
			w.t.Fatalf("%s %s: %v: %s", method, path, err, text.String())
		}
	}
}

// bought is a license that the emulator made.
type bought struct {
	ID                 string `json:"id"`
	LicenseArn         string `json:"licenseArn"`
	CustomerIdentifier string `json:"customerIdentifier"`
}

// buy makes a license that began a day ago.
func (w *world) buy(code, account, entitlements string) bought {
	w.t.Helper()
	var b bought
	starts := time.Now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)
	w.control("POST", "licenses", fmt.Sprintf(`{"product": %q, "account": %q, "starts": %q, "entitlements": [%s]}`,
		code, account, starts, entitlements), &b)
	return b
}

// calls counts the emulator's calls of an operation.
func (w *world) calls(operation string) (n int) {
	w.t.Helper()
	var calls []struct{ Operation string }
	w.control("GET", "calls", "", &calls)
	for _, c := range calls {
		if c.Operation == operation {
			n++
		}
	}
	return n
}

// requests is weir_aws_requests_total of one operation and outcome.
func (w *world) requests(operation, outcome string) float64 {
	return w.counter("weir_aws_requests_total", map[string]string{"operation": operation, "outcome": outcome})
}

func (w *world) counter(name string, labels map[string]string) (sum float64) {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			matching := 0
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == l.GetValue() {
					matching++
				}
			}
			if matching == len(labels) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
