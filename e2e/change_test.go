package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

const initech = "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000001"

// calls counts the calls that AWS got, by operation.
func calls(t *testing.T, s *stage.Stage) map[string]int {
	t.Helper()
	var list []struct {
		Operation string `json:"operation"`
	}
	must(t, s.Call(t.Context(), http.MethodGet, "calls", nil, &list))
	n := map[string]int{}
	for _, c := range list {
		n[c.Operation]++
	}
	return n
}

func statusOf(t *testing.T, s *stage.Stage, tenant, path string) int {
	t.Helper()
	r, err := do(t.Context(), http1(), s.Ingress, call{method: http.MethodGet, path: path, tenant: tenant})
	must(t, err)
	return r.status
}

// handled is how many events of EventBridge weir has acted upon.
func handled(t *testing.T, s *stage.Stage) (n int64) {
	t.Helper()
	var status struct {
		Feeds map[string]map[string]int64 `json:"feeds"`
	}
	must(t, s.Status(t.Context(), "/v1/status", &status))
	for _, kind := range status.Feeds["eventbridge"] {
		n += kind
	}
	return n
}

func TestAChangeIsDecidedUponWithinASecondAndCostsOneRead(t *testing.T) {
	s := set(t, stage.Plan{Config: strings.Replace(examples.Weir, "updates:\n", "updates:\n  sweep: 1h\n", 1)})
	if got := statusOf(t, s, "initech", "/v1/sso/login"); got != http.StatusForbidden {
		t.Fatalf("before: got %d", got)
	}
	eventually(t, 5*time.Second, "the events of the three purchases are handled", func() bool { return handled(t, s) == 6 })
	must(t, s.Call(t.Context(), http.MethodDelete, "calls", nil, nil))
	must(t, s.Entitle(t.Context(), initech, "enterprise", 1))
	eventually(t, time.Second, "the upgrade is decided upon", func() bool {
		return statusOf(t, s, "initech", "/v1/sso/login") == http.StatusOK
	})
	if n := calls(t, s)["GetEntitlements"]; n != 1 {
		t.Errorf("GetEntitlements was called %d times, want once", n)
	}
	must(t, s.Entitle(t.Context(), initech, "basic", 1))
	eventually(t, time.Second, "the downgrade is decided upon", func() bool {
		return statusOf(t, s, "initech", "/v1/sso/login") == http.StatusForbidden
	})
}

func TestWithAWSDownWeirGoesOnAndStartsFromItsDiskCopy(t *testing.T) {
	s := set(t, stage.Plan{})
	before := statusOf(t, s, "initech", "/v1/reports/7")
	must(t, s.Call(t.Context(), http.MethodPost, "faults", map[string]any{"kind": "internal", "count": -1}, nil))
	if got := statusOf(t, s, "initech", "/v1/reports/7"); before != http.StatusOK || got != http.StatusOK {
		t.Errorf("with AWS down: got %d, before %d", got, before)
	}
	must(t, s.StopWeir())
	must(t, s.StartWeir(t.Context()))
	if got := statusOf(t, s, "initech", "/v1/reports/7"); got != http.StatusOK {
		t.Errorf("started with AWS down: got %d", got)
	}
	if got := statusOf(t, s, "initech", "/v1/sso/login"); got != http.StatusForbidden {
		t.Errorf("started with AWS down, a feature that the plan lacks: got %d", got)
	}
	must(t, s.Call(t.Context(), http.MethodDelete, "faults", nil, nil))
}
