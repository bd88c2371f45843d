package install

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

// callersToken is what Envoy would show.
const callersToken = "a-token-of-the-test"

// withMarketplace plays AWS on loopback until the end of the test.
func withMarketplace(t *testing.T) {
	t.Helper()
	needsOwnNetwork(t)
	scenario := file(t, "marketplace.yaml", examples.Marketplace)
	p, err := stage.Start("emulator", t.TempDir(), absolute(t, binary), nil, "emulator", "-listen", "127.0.0.1:4588", "-scenario", scenario)
	must(t, err)
	t.Cleanup(p.Kill)
	must(t, p.Await(t.Context(), func(ctx context.Context) bool { return answers(ctx, "http://127.0.0.1:4588/_control/clock") }))
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	must(t, err)
	return path
}

// shop are the values of a release whose pod node can run: the example's weir.yaml, with the
// built image and AWS played on loopback.
func shop(t *testing.T) string {
	t.Helper()
	weir := strings.ReplaceAll(examples.Weir, "{feature: apiCalls}", "{feature: apiCalls, when: checked}") // no access log here
	return file(t, "shop.yaml", valuesOf(t, weir, map[string]any{
		"image":        map[string]any{"repository": "localhost/weir", "tag": "amd64", "pullPolicy": "Never"},
		"credentials":  map[string]any{"secretName": "aws"},
		"drainSeconds": 1,
	}))
}

// prepare makes the namespace and the Secrets that the release refers to.
func (k *kube) prepare(namespace string) {
	k.t.Helper()
	k.kubectl("create", "namespace", namespace)
	k.kubectl("--namespace", namespace, "create", "secret", "generic", "weir-token", "--from-literal=token="+callersToken)
	k.kubectl("--namespace", namespace, "create", "secret", "generic", "aws",
		"--from-literal=AWS_ACCESS_KEY_ID=any", "--from-literal=AWS_SECRET_ACCESS_KEY=any")
}

// check asks weir as Envoy does, and returns the HTTP status of its answer, 200 when it allows.
func check(t *testing.T, token, tenant, path string) (int, error) {
	t.Helper()
	return checkOver(t, insecure.NewCredentials(), token, tenant, path)
}

// checkOver does so over a connection of some kind.
func checkOver(t *testing.T, over credentials.TransportCredentials, token, tenant, path string) (int, error) {
	t.Helper()
	conn, err := grpc.NewClient("127.0.0.1:9001", grpc.WithTransportCredentials(over))
	must(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-weir-caller", token)
	answer, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: path, Host: "api.acme.example", Headers: map[string]string{"x-tenant-id": tenant},
		}},
	}})
	if err != nil {
		return 0, err
	}
	if denied := answer.GetDeniedResponse(); denied != nil {
		return int(denied.GetStatus().GetCode()), nil
	}
	return 200, nil
}

// decides fails the test unless weir answers a check so.
func decides(t *testing.T, tenant, path string, want int) {
	t.Helper()
	if got, err := check(t, callersToken, tenant, path); err != nil || got != want {
		t.Fatalf("check of %s on %s: %d, %v, want %d", tenant, path, got, err, want)
	}
}

// used is how many calls weir has counted for a tenant in this period.
func used(t *testing.T, tenant string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:9002/v1/tenants/"+tenant+"/entitlements", nil)
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+callersToken)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	var entitlements struct {
		Features struct{ APICalls struct{ Used int } }
	}
	must(t, json.NewDecoder(response.Body).Decode(&entitlements))
	return entitlements.Features.APICalls.Used
}

// mayLittle fails the test where a process may more than decide: what the kernel says of it.
func mayLittle(t *testing.T, pid string) {
	t.Helper()
	status, err := os.ReadFile("/proc/" + pid + "/status")
	must(t, err)
	for _, want := range []string{
		"Uid:\t65532\t65532\t65532\t65532\n", "Gid:\t65532\t65532\t65532\t65532\n", "CapEff:\t0000000000000000\n",
		"CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n",
	} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the kernel does not say %q of weir:\n%s", want, status)
		}
	}
	mounts, err := os.ReadFile("/proc/" + pid + "/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		mount := strings.Fields(line)
		if options := strings.Split(mount[3], ","); mount[1] == "/" && !slices.Contains(options, "ro") {
			t.Errorf("the root file system can be written: %s", line)
		}
	}
}

func TestAReleaseIsInstalledUpgradedRolledBackAndUninstalled(t *testing.T) {
	k := started(t)
	withMarketplace(t)
	n := withNode(t, k)
	k.prepare("shop")
	helm := func(args ...string) string {
		t.Helper()
		out, err := k.helm(append(args, "--namespace", "shop")...)
		must(t, err)
		return out
	}
	values := shop(t)

	helm("install", "weir", chart, "--values", values, "--wait", "--timeout", "90s")
	decides(t, "initech", "/v1/reports/7", 200)
	decides(t, "initech", "/v1/sso/login", 403)
	if got, err := check(t, "another", "initech", "/v1/reports/7"); err == nil {
		t.Errorf("a check with another token is answered %d", got)
	}
	if got := used(t, "initech"); got != 1 {
		t.Fatalf("%d calls are counted, want the 1 that was made", got)
	}

	mayLittle(t, n.pid("shop/weir"))

	t.Log("upgrade: sso is free for all")
	helm("upgrade", "weir", chart, "--values", values, "--set", "config.plans.basic.grants.sso=true", "--wait", "--timeout", "90s")
	decides(t, "initech", "/v1/sso/login", 200)
	if got := used(t, "initech"); got != 1 {
		t.Errorf("%d calls are counted after the upgrade, want 1: the ledger did not come along", got)
	}

	t.Log("an upgrade that can't be leaves everything as it is")
	if _, err := k.helm("upgrade", "weir", chart, "--namespace", "shop", "--values", values, "--set", "replicas=2"); err == nil {
		t.Error("two replicas were accepted")
	}
	decides(t, "initech", "/v1/sso/login", 200)

	t.Log("rollback")
	helm("rollback", "weir", "1", "--wait", "--timeout", "90s")
	decides(t, "initech", "/v1/sso/login", 403)

	t.Log("uninstall: the volume stays, and a new release takes it again")
	helm("uninstall", "weir")
	left := k.kubectl("get", "deployments,services,configmaps,networkpolicies,persistentvolumeclaims", "-n", "shop",
		"-o", `jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.deletionTimestamp}{"\n"}{end}`)
	if left != "PersistentVolumeClaim weir \n" {
		t.Errorf("what is left is %q, want the claim of the volume alone, and not on its way out", left)
	}
	helm("install", "weir", chart, "--values", values, "--wait", "--timeout", "90s")
	if got := used(t, "initech"); got != 1 {
		t.Errorf("%d calls are counted by the new release on the old volume, want 1", got)
	}
}

func TestTheApiServerTakesWhatTheChartRendersAndTheStrictestPodStandard(t *testing.T) {
	k := started(t)
	crds, err := os.ReadFile(filepath.Join(tools, "operator-crds"))
	must(t, err)
	must(t, k.apply(string(crds)))
	k.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	for name, values := range map[string]string{"defaults": "", "everything": everything} {
		k.kubectl("create", "namespace", name)
		k.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
		out := rendered(t, "-f", file(t, "values.yaml", values))
		must(t, k.apply(out, "--validate=strict", "--namespace", name))
		must(t, k.apply(asPod(t, out, func(map[string]any) {}), "--dry-run=server", "--namespace", name))
		err := k.apply(asPod(t, out, func(container map[string]any) { delete(container, "securityContext") }), "--dry-run=server", "--namespace", name)
		if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
			t.Errorf("%s: a pod whose container may do more is taken: %v", name, err)
		}
	}
	wrong := rendered(t, "-f", file(t, "values.yaml", "tolerations: [{key: a, operator: Sometimes}]"))
	if err := k.apply(wrong, "--namespace", "defaults"); err == nil || !strings.Contains(err.Error(), "Sometimes") {
		t.Errorf("the API server takes an operator that does not exist: %v", err)
	}
	if got := k.kubectl("get", "servicemonitor", "weir", "-n", "everything", "-o", "jsonpath={.spec.endpoints[0].port}"); got != "admin" {
		t.Errorf("the ServiceMonitor scrapes port %q", got)
	}
}

// asPod is the pod of a rendered Deployment, changed.
func asPod(t *testing.T, out string, change func(container map[string]any)) string {
	t.Helper()
	pod := the(t, "Deployment", out).at("spec", "template").(map[string]any)
	pod["apiVersion"], pod["kind"] = "v1", "Pod"
	pod["metadata"].(map[string]any)["name"] = "weir"
	spec := pod["spec"].(map[string]any)
	delete(spec, "priorityClassName") // no such class is in the cluster
	change(spec["containers"].([]any)[0].(map[string]any))
	text, err := json.Marshal(pod)
	must(t, err)
	return string(text)
}
