package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

// weir runs a verb and gives its output and exit code.
func weir(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, said strings.Builder
	cmd := exec.CommandContext(ctx, binaries.weir, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), said.String(), cmd.ProcessState.ExitCode()
}

func TestExplainAndUsageSayTheSameOfARunningWeirAndOfItsState(t *testing.T) {
	s := set(t, stage.Plan{})
	if got := statusOf(t, s, "globex", "/v1/reports/7"); got != http.StatusOK {
		t.Fatalf("request: got %d", got)
	}
	r, err := do(t.Context(), http1(), s.Ingress, call{method: http.MethodPost, path: "/v1/import", tenant: "globex", header: map[string]string{"x-rows": "150"}})
	must(t, err)
	if r.status != http.StatusOK {
		t.Fatalf("request: %d %s", r.status, r.body)
	}
	type answer struct {
		Allowed                      bool
		Reason, Plan, Route, License string
		Used                         int64
		Steps                        []string
	}
	explain := func() (a answer) {
		out, said, code := weir(t, "explain", "-config", s.ConfigFile, "-json", "-tenant", "globex", "GET", "http://api.acme.test/v1/reports/7")
		if code != 0 {
			t.Fatalf("explain: exit %d: %s", code, said)
		}
		must(t, json.Unmarshal([]byte(out), &a))
		return a
	}
	usage := func() string {
		out, said, code := weir(t, "usage", "list", "-config", s.ConfigFile, "-json")
		if code != 0 {
			t.Fatalf("usage list: exit %d: %s", code, said)
		}
		return out
	}
	eventually(t, 5*time.Second, "the units are in the ledger", func() bool { return strings.Contains(usage(), `"quantity":51`) })
	running, listed := explain(), usage()
	if !running.Allowed || running.Reason != "allowed" || running.Plan != "enterprise" || running.Route != "reports" || running.Used != 151 {
		t.Errorf("explain: %+v", running)
	}

	must(t, s.StopWeir())
	stored := explain()
	if len(stored.Steps) == 0 || !strings.Contains(stored.Steps[0], "no weir is running") {
		t.Errorf("the steps do not say that the state on disk was read: %q", stored.Steps)
	}
	stored.Steps, running.Steps = nil, nil
	if stored.License != running.License || stored.Used != running.Used || stored.Plan != running.Plan || stored.Allowed != running.Allowed {
		t.Errorf("from the state on disk: %+v, running: %+v", stored, running)
	}
	if again := usage(); again != listed {
		t.Errorf("from the state on disk:\n%s\nrunning:\n%s", again, listed)
	}
	must(t, s.StartWeir(t.Context()))
}

func TestASecondWeirOnTheSameStateOrPortEndsAtOnce(t *testing.T) {
	s := set(t, stage.Plan{})
	_, said, code := weir(t, "serve", "-config", s.ConfigFile)
	if code != 1 || !strings.Contains(said, "address already in use") {
		t.Errorf("the same ports: exit %d: %s", code, said)
	}
	text, err := os.ReadFile(s.ConfigFile)
	must(t, err)
	grpc, admin := strings.Index(string(text), "  grpc: "), strings.Index(string(text), "state:")
	other := string(text[:grpc]) + "  grpc: 127.0.0.1:0\n  http: 127.0.0.1:0\n  admin: 127.0.0.1:0\n" + string(text[admin:])
	file := filepath.Join(t.TempDir(), "weir.yaml")
	must(t, os.WriteFile(file, []byte(other), 0o600))
	_, said, code = weir(t, "serve", "-config", file)
	if code != 1 || !strings.Contains(said, "hint: end the other weir first") {
		t.Errorf("the same state: exit %d: %s", code, said)
	}
}

func TestEveryMetricIsServedWithItsHelp(t *testing.T) {
	s := set(t, stage.Plan{})
	statusOf(t, s, "initech", "/v1/reports/7")
	var body string
	eventually(t, 5*time.Second, "the unit is counted", func() bool {
		body = metrics(t, s)
		return strings.Contains(body, "weir_usage_units_total{")
	})
	for _, name := range []string{
		"weir_decisions_total", "weir_decision_seconds", "weir_entitlements_age_seconds", "weir_licenses", "weir_updates_total",
		"weir_sweep_repairs_total", "weir_usage_units_total", "weir_usage_oldest_unsent_seconds", "weir_usage_next_deadline_seconds",
		"weir_ledger_write_seconds", "weir_ledger_writable", "weir_aws_requests_total", "weir_aws_request_seconds",
		"weir_clock_offset_seconds", "weir_build_info",
	} {
		if !strings.Contains(body, "# HELP "+name+" ") {
			t.Errorf("%s is not served", name)
		}
	}
	if !strings.Contains(body, `weir_decisions_total{mode="enforce",reason="allowed",route="reports"} 1`) {
		t.Errorf("the decision is not counted:\n%s", grep(body, "weir_decisions_total"))
	}
}

func metrics(t *testing.T, s *stage.Stage) string {
	t.Helper()
	r, err := do(t.Context(), http1(), s.Admin, call{method: http.MethodGet, path: "/metrics"})
	must(t, err)
	return r.body
}

func grep(text, word string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}
