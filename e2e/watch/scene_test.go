package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/kit"
	"github.com/weirhq/weir/internal/stage"
)

// globex is the license of the example whose every call is billed here.
const globex = "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000002"

// patience is how long anything may take on a busy machine.
const patience = 90 * time.Second

// scene is weir with AWS played to it, and Prometheus looking on.
type scene struct {
	*stage.Stage
	t          *testing.T
	dir        string // weir's
	prometheus string // its URL
	fired      map[string]bool
}

// setScene starts everything: the example's configuration, changed, and further control calls
// before those of its scenario.
func setScene(t *testing.T, plan stage.Plan, change func(config string) string, calls string) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), fired: map[string]bool{}}
	plan.Dir, plan.Marketplace = s.dir, calls+examples.Marketplace
	plan.Config = change(strings.Replace(examples.Weir, "{included: 100, every: day, then: bill}", "{included: 0, every: day, then: bill}", 1))
	var err error
	s.Stage, err = stage.Set(t.Context(), plan)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("weir said at last:\n" + s.WeirTail())
		}
		if err := s.Close(); err != nil {
			t.Errorf("close the stage: %v", err)
		}
	})
	s.startPrometheus()
	return s
}

// buildWeir builds weir where Prometheus and what else a scene needs are at hand.
func buildWeir(t *testing.T) string {
	t.Helper()
	kit.Program(t, "prometheus")
	kit.Program(t, "helm")
	weir := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", weir, repository+"/cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("build weir: %v\n%s", err, out)
	}
	return weir
}

// startPrometheus starts a Prometheus that scrapes weir each second, with the chart's rules.
func (s *scene) startPrometheus() {
	s.t.Helper()
	dir := s.t.TempDir()
	must(s.t, os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(chartRules(s.t)), 0o600))
	config := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs: [{job_name: weir, static_configs: [{targets: [%q]}]}]
`, s.Admin)
	must(s.t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600))
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	address := lis.Addr().String()
	must(s.t, lis.Close())
	p, err := stage.Start("prometheus", dir, kit.Program(s.t, "prometheus"), nil, "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address)
	must(s.t, err)
	s.t.Cleanup(p.Kill)
	s.prometheus = "http://" + address
	must(s.t, p.Await(s.t.Context(), func(ctx context.Context) bool {
		return getJSON(ctx, s.prometheus+"/api/v1/status/runtimeinfo", nil) == nil
	}))
}

// chartRules are the rules as the chart renders them, with each `for` shortened.
func chartRules(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), kit.Program(t, "helm"), "template", "weir", repository+"/charts/weir",
		"--set", "prometheusRule.enabled=true,prometheusRule.for=1s", "--show-only", "templates/prometheusrule.yaml").Output()
	must(t, err)
	var object struct{ Spec map[string]any }
	must(t, yaml.Unmarshal(out, &object))
	text, err := yaml.Marshal(object.Spec)
	must(t, err)
	return string(text)
}

func getJSON(ctx context.Context, url string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, response.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(out)
}

// firing are the names of the alerts that fire now.
func (s *scene) firing() (names []string) {
	s.t.Helper()
	var answer struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	must(s.t, getJSON(s.t.Context(), s.prometheus+"/api/v1/alerts", &answer))
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			names = append(names, a.Labels["alertname"])
			s.fired[a.Labels["alertname"]] = true
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// fire waits until alerts fire; meanwhile it does what is given, if anything.
func (s *scene) fire(meanwhile func(), names ...string) {
	s.t.Helper()
	var now []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		now = s.firing()
		if !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(now, name) }) {
			return
		}
		if meanwhile != nil {
			meanwhile()
		}
	}
	s.t.Fatalf("firing are %v, want %v", now, names)
}

// quiet waits until weir is scraped and nothing fires but what is given.
func (s *scene) quiet(but ...string) {
	s.t.Helper()
	var now []string
	s.eventually("only "+fmt.Sprint(but)+" fire before there is a fault", func() bool {
		var answer struct{ Data struct{ Result []any } }
		must(s.t, getJSON(s.t.Context(), s.prometheus+"/api/v1/query?query=count_over_time(weir_build_info[1h])>5", &answer))
		now = slices.DeleteFunc(s.firing(), func(name string) bool { return slices.Contains(but, name) })
		return len(answer.Data.Result) == 1 && len(now) == 0
	})
	clear(s.fired)
}

func (s *scene) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// control makes a control call of the emulator.
func (s *scene) control(method, path string, body any) {
	s.t.Helper()
	must(s.t, s.Call(s.t.Context(), method, path, body, nil))
}

// fault makes an operation fail from now on.
func (s *scene) fault(operation, kind, code string) (id string) {
	s.t.Helper()
	var answer struct{ ID string }
	must(s.t, s.Call(s.t.Context(), http.MethodPost, "faults", map[string]any{"operation": operation, "kind": kind, "code": code, "count": -1}, &answer))
	return answer.ID
}

// mend ends a fault.
func (s *scene) mend(id string) {
	s.t.Helper()
	s.control(http.MethodDelete, "faults/"+id, nil)
}

// later moves AWS's clock on, and waits until weir has seen it.
func (s *scene) later(d time.Duration) {
	s.t.Helper()
	must(s.t, s.Advance(s.t.Context(), d))
	s.eventually("weir sees AWS's clock move", func() bool {
		now, err := s.Clock(s.t.Context())
		must(s.t, err)
		var status struct {
			Clock struct{ Offset float64 } // seconds
		}
		must(s.t, s.Status(s.t.Context(), "/v1/status", &status))
		offset := time.Duration(status.Clock.Offset * float64(time.Second))
		return (offset - time.Until(now)).Abs() < 2*time.Second
	})
}

// use reports usage of globex, which is durable when it returns.
func (s *scene) use() {
	s.t.Helper()
	event := fmt.Sprintf(`{"specversion": "1.0", "type": "t", "source": "/scene", "id": "%d", "subject": "globex", "data": {"feature": "apiCalls", "quantity": 7}}`,
		time.Now().UnixNano())
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.HTTP+"/v1/usage", strings.NewReader(event))
	must(s.t, err)
	request.Header.Set("Content-Type", "application/cloudevents+json")
	response, err := http.DefaultClient.Do(request)
	must(s.t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		s.t.Fatalf("usage: %s", response.Status)
	}
}

// check asks about one request of globex, which is let through; no access log tells of it.
func (s *scene) check() {
	s.t.Helper()
	conn, err := grpc.NewClient(s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(s.t, err)
	defer conn.Close()
	answer, err := authv3.NewAuthorizationClient(conn).Check(s.t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: http.MethodGet, Path: "/v1/reports/7", Host: "api.acme.test", Headers: map[string]string{"x-tenant-id": "globex"},
		}},
	}})
	must(s.t, err)
	if answer.GetOkResponse() == nil {
		s.t.Fatalf("check: %v", answer)
	}
}
