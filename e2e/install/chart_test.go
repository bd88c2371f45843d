package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/examples"
	"go.yaml.in/yaml/v3"
)

// object is one object of Kubernetes.
type object map[string]any

func (o object) kind() string { return fmt.Sprint(o["kind"]) }

// at is the value at a path; nil where there is none.
func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, step := range path {
		m, _ := v.(map[string]any)
		v = m[step]
	}
	return v
}

// objects reads YAML documents.
func objects(t *testing.T, text string) (all []object) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o map[string]any
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		if len(o) > 0 {
			all = append(all, o)
		}
	}
}

// kinds are the kinds of rendered objects, sorted.
func kinds(t *testing.T, text string) (names []string) {
	t.Helper()
	for _, o := range objects(t, text) {
		names = append(names, o.kind())
	}
	slices.Sort(names)
	return names
}

// the finds the only object of a kind.
func the(t *testing.T, kind, text string) object {
	t.Helper()
	var found []object
	for _, o := range objects(t, text) {
		if o.kind() == kind {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s, want one", len(found), kind)
	}
	return found[0]
}

// everything turns on all that is off by default.
const everything = `
config:
  listen: {public: ":9004"}
  registration: {redirect: https://app.acme.example/welcome}
tls: {secretName: weir-tls, clientCA: true}
credentials: {secretName: aws}
serviceAccount: {roleArn: "arn:aws:iam::123456789012:role/weir", podIdentity: true, annotations: {eks.amazonaws.com/audience: sts.amazonaws.com}}
imagePullSecrets: [{name: registry}]
persistence: {storageClass: gp3, accessModes: [ReadWriteOncePod], annotations: {a: b}}
service: {type: LoadBalancer, annotations: {a: b}}
env: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
podAnnotations: {a: b}
podLabels: {team: shop}
priorityClassName: high
nodeSelector: {disk: fast}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {nodeAffinity: {}}
networkPolicy:
  callers: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}]
  scrapers: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  egress: [{ports: [{port: 4588}]}]
serviceMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true, for: 0s}
dashboard: {enabled: true}
extraObjects:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Name }}-extra"}}
`

func TestTheChartHasNothingForHelmToComplainOf(t *testing.T) {
	needsTools(t)
	for name, values := range map[string]string{"defaults": "", "everything": everything} {
		if out, err := run(t.Context(), filepath.Join(tools, "helm"), "lint", "--strict", chart, "-f", file(t, "values.yaml", values)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestOnePodNeedsNoMoreThanItsOwnObjects(t *testing.T) {
	needsTools(t)
	want := []string{"ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Service", "ServiceAccount"}
	if diff := cmp.Diff(want, kinds(t, rendered(t))); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func TestWhatIsTurnedOnIsThere(t *testing.T) {
	needsTools(t)
	out := rendered(t, "-f", file(t, "values.yaml", everything))
	got := kinds(t, out)
	if !slices.Contains(got, "ServiceMonitor") {
		t.Errorf("no ServiceMonitor among %v", got)
	}
	for path, kind := range map[string]string{"files/rules.yaml": "PrometheusRule", "files/dashboard.json": "ConfigMap weir-dashboard"} {
		_, err := os.Stat(filepath.Join(chart, path))
		name := strings.TrimPrefix(kind, "ConfigMap ")
		if there := strings.Contains(out, name); there != (err == nil) {
			t.Errorf("%s is there: %v, and so is %s: %v", path, err == nil, kind, there)
		}
	}
	account := the(t, "ServiceAccount", out)
	if got := account.at("metadata", "annotations", "eks.amazonaws.com/role-arn"); got != "arn:aws:iam::123456789012:role/weir" {
		t.Errorf("role of the service account: %v", got)
	}
	if !strings.Contains(out, "weir-extra") {
		t.Error("the template in extraObjects is not filled in")
	}
	if out := rendered(t, "--set", "networkPolicy.enabled=false,serviceAccount.create=false,persistence.existingClaim=mine"); len(objects(t, out)) != 3 {
		t.Errorf("kinds %v, want ConfigMap, Deployment, Service", kinds(t, out))
	}
}

func TestRulesAndDashboardAreWhatTheFilesSayAndForCanBeShortened(t *testing.T) {
	needsTools(t)
	own := filepath.Join(t.TempDir(), "weir")
	must(t, os.CopyFS(own, os.DirFS(chart)))
	must(t, os.MkdirAll(filepath.Join(own, "files"), 0o700))
	const rules = `groups:
  - name: weir
    rules:
      - {record: "weir:denied:rate5m", expr: "sum(rate(weir_decisions_total[5m]))"}
      - {alert: WeirTest, expr: "up == 0", for: 10m, annotations: {summary: "{{ $labels.product }} is at risk"}}
`
	const dashboard = `{"title": "{{product}}"}`
	must(t, os.WriteFile(filepath.Join(own, "files", "rules.yaml"), []byte(rules), 0o600))
	must(t, os.WriteFile(filepath.Join(own, "files", "dashboard.json"), []byte(dashboard), 0o600))
	for _, c := range []struct{ shortened, want string }{{"", "10m"}, {"0s", "0s"}} {
		out, err := run(t.Context(), filepath.Join(tools, "helm"), "template", "weir", own,
			"--set", "prometheusRule.enabled=true,dashboard.enabled=true,prometheusRule.for="+c.shortened)
		must(t, err)
		group := object(the(t, "PrometheusRule", out).at("spec", "groups").([]any)[0].(map[string]any))
		want := []any{
			map[string]any{"record": "weir:denied:rate5m", "expr": "sum(rate(weir_decisions_total[5m]))"},
			map[string]any{"alert": "WeirTest", "expr": "up == 0", "for": c.want, "annotations": map[string]any{"summary": "{{ $labels.product }} is at risk"}},
		}
		if diff := cmp.Diff(want, group.at("rules")); diff != "" {
			t.Errorf("prometheusRule.for %q (-want +got):\n%s", c.shortened, diff)
		}
		if !strings.Contains(out, "    "+dashboard+"\n") {
			t.Errorf("the dashboard is not as the file has it:\n%s", out)
		}
	}
}

func TestThePodIsHeldTight(t *testing.T) {
	needsTools(t)
	out := rendered(t)
	d := the(t, "Deployment", out)
	if got := d.at("spec", "strategy", "type"); got != "Recreate" {
		t.Errorf("strategy %v, want Recreate: two pods would hold two ledgers", got)
	}
	pod := object(d.at("spec", "template", "spec").(map[string]any))
	for _, o := range []object{pod, the(t, "ServiceAccount", out)} {
		if got := o.at("automountServiceAccountToken"); got != false {
			t.Errorf("automountServiceAccountToken %v", got)
		}
	}
	want := map[string]any{
		"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch",
		"seccompProfile": map[string]any{"type": "RuntimeDefault"},
	}
	if diff := cmp.Diff(want, pod.at("securityContext")); diff != "" {
		t.Errorf("security context of the pod (-want +got):\n%s", diff)
	}
	container := object(pod.at("containers").([]any)[0].(map[string]any))
	want = map[string]any{
		"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
		"capabilities": map[string]any{"drop": []any{"ALL"}},
	}
	if diff := cmp.Diff(want, container.at("securityContext")); diff != "" {
		t.Errorf("security context of the container (-want +got):\n%s", diff)
	}
}

func TestValuesThatWouldNotWorkAreRefusedWithTheReason(t *testing.T) {
	needsTools(t)
	for _, c := range []struct{ values, want string }{
		{"replicas: 2", "of two weirs one would lose its usage to the other. Set replicas to 1"},
		{"config: {listen: {admin: '127.0.0.1:9003'}}", "the node's probes can't reach it"},
		{"config: {role: hub}", "value must be 'all'"},
		{"replica: 1", "additional properties 'replica' not allowed"},
		{"image: {name: weir}", "additional properties 'name' not allowed"},
		{"config: {rotues: []}", "additional properties 'rotues' not allowed"},
		{"config: {listen: {grcp: ':9001'}}", "additional properties 'grcp' not allowed"},
		{"config: {listen: {grpc: 9001}}", "got number, want string"},
		{"image: {tag: 1.0}", "got number, want string"},
		{"image: {digest: latest}", "does not match pattern"},
		{"persistence: {accessModes: [ReadWriteMany]}", "value must be one of"},
		{"persistence: {size: lots}", "does not match pattern"},
		{"serviceAccount: {roleArn: weir}", "does not match pattern"},
		{"drainSeconds: -1", "minimum"},
		{"podLabels: {a: 1}", "got number, want string"},
	} {
		out, err := template(t, "-f", file(t, "values.yaml", c.values))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %q\n%.200s", c.values, err, c.want, out)
		}
	}
}

// schema is a JSON schema as far as values.schema.json uses it.
type schema struct {
	Ref        string            `json:"$ref"`
	Defs       map[string]schema `json:"$defs"`
	Type       string            `json:"type"`
	Properties map[string]schema `json:"properties"`
	Additional any               `json:"additionalProperties"`
}

// compare tells the keys that only one of schema and values has, and the objects of the
// chart's own that the schema leaves open.
func (s schema) compare(path string, values map[string]any, report func(format string, args ...any)) {
	if s.Additional != false {
		report("%s: the schema leaves it open", path)
	}
	for key, of := range s.Properties {
		value, ok := values[key]
		if !ok {
			report("%s.%s: not in values.yaml", path, key)
		}
		if inner, is := value.(map[string]any); is && of.Properties != nil {
			of.compare(path+"."+key, inner, report)
		}
	}
	for key := range values {
		if _, ok := s.Properties[key]; !ok {
			report("%s.%s: not in the schema", path, key)
		}
	}
}

func TestTheSchemaIsClosedAndKnowsEveryValue(t *testing.T) {
	var s schema
	var values map[string]any
	text, err := os.ReadFile(chart + "/values.schema.json")
	must(t, err)
	must(t, json.Unmarshal(text, &s))
	text, err = os.ReadFile(chart + "/values.yaml")
	must(t, err)
	must(t, yaml.Unmarshal(text, &values))
	// global is every chart's, and config is weir.yaml: compared below.
	of := s.Properties["config"]
	delete(s.Properties, "config")
	delete(s.Properties, "global")
	delete(values, "config")
	s.compare("values", values, t.Errorf)
	if of.Additional != false {
		t.Error("config: the schema leaves it open")
	}
	text, err = yaml.Marshal(config.Default())
	must(t, err)
	var defaults map[string]any
	must(t, yaml.Unmarshal(text, &defaults))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(defaults)), slices.Sorted(maps.Keys(of.Properties))); diff != "" {
		t.Errorf("keys of weir.yaml (-weir +schema):\n%s", diff)
	}
}

func TestTheReadmeIsWrittenFromTheCommentsOfTheValues(t *testing.T) {
	needsTools(t)
	got, err := run(t.Context(), filepath.Join(tools, "helm-docs"), "--log-level", "error", "--dry-run",
		"--sort-values-order", "file", "--chart-search-root", chart)
	must(t, err)
	want, err := os.ReadFile(chart + "/README.md")
	must(t, err)
	if diff := cmp.Diff(strings.TrimSpace(string(want)), strings.TrimSpace(got)); diff != "" {
		t.Errorf("README.md is not fresh: `make docs-chart` (-README +comments):\n%s", diff)
	}
	rows := 0
	for line := range strings.Lines(got) {
		if cells := strings.Split(line, "|"); strings.HasPrefix(line, "| ") && len(cells) > 4 {
			rows++
			if strings.TrimSpace(cells[4]) == "" {
				t.Errorf("no comment says what %s is", strings.TrimSpace(cells[1]))
			}
		}
	}
	text, err := os.ReadFile(chart + "/values.yaml")
	must(t, err)
	if comments := strings.Count(string(text), "# -- "); comments != rows-1 {
		t.Errorf("%d comments for %d values", comments, rows-1)
	}
}

func TestTheNotesSayWhatIsMissingAndNothingElse(t *testing.T) {
	needsTools(t)
	missing := map[string]string{
		"token": "* The callers' token", "listing": "* A listing", "routes": "* Routes", "queue": "* A queue", "credentials": "* A way to AWS",
		"monitoring": "* Somebody who looks", "sending": "* Sending",
	}
	whole := valuesOf(t, examples.Weir, nil) + `
tls: {secretName: weir-tls, clientCA: true}
serviceAccount: {roleArn: "arn:aws:iam::123456789012:role/weir"}
serviceMonitor: {enabled: true}
`
	for _, c := range []struct {
		values string
		want   []string
	}{
		{"", []string{"token", "listing", "routes", "queue", "credentials", "monitoring"}},
		{whole, nil},
		{strings.Replace(whole, "config:", "config:\n    metering: {send: false}", 1), []string{"sending"}},
	} {
		out, err := run(t.Context(), filepath.Join(tools, "helm"), "install", "weir", chart, "--dry-run=client", "-f", file(t, "values.yaml", c.values))
		must(t, err)
		_, notes, _ := strings.Cut(out, "NOTES:")
		for what, text := range missing {
			if says, want := strings.Contains(notes, text), slices.Contains(c.want, what); says != want {
				t.Errorf("says that %s is missing: %v, want %v:\n%s", what, says, want, notes)
			}
		}
		if strings.Contains(notes, "nothing that the chart can see") != (c.want == nil) {
			t.Errorf("missing %v:\n%s", c.want, notes)
		}
	}
}

// valuesOf are values of the chart with a weir.yaml in their config; its addresses and state
// are left to the chart.
func valuesOf(t *testing.T, weir string, more map[string]any) string {
	t.Helper()
	var c map[string]any
	must(t, yaml.Unmarshal([]byte(weir), &c))
	delete(c, "listen")
	delete(c, "state")
	values := map[string]any{"config": c}
	maps.Copy(values, more)
	text, err := yaml.Marshal(values)
	must(t, err)
	return string(text)
}

func TestTheConfigMapPassesValidate(t *testing.T) {
	needsTools(t)
	large := strings.Replace(examples.Weir, "included: 100,", "included: 12345678,", 1)
	for name, values := range map[string]string{
		"defaults":   "",
		"example":    valuesOf(t, examples.Weir, nil),
		"large":      valuesOf(t, large, nil),
		"everything": everything,
	} {
		out := rendered(t, "-f", file(t, "values.yaml", values), "--show-only", "templates/configmap.yaml")
		weir := fmt.Sprint(the(t, "ConfigMap", out).at("data", "weir.yaml"))
		if _, err := run(t.Context(), binary, "validate", "-config", file(t, "weir.yaml", weir)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, weir)
		}
		if name == "large" && !strings.Contains(weir, "included: 12345678\n") {
			t.Errorf("a large number is no longer itself:\n%s", weir)
		}
	}
}
