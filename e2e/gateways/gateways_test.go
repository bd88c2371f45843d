// Package gateways holds what deploy has for Istio and Envoy Gateway to a real Kubernetes API
// server with their custom resources, to Istio's own reading of MeshConfig, and to the example
// of plain Envoy. The commands come out of the guides.
//
// `make test-real` fetches and builds what it needs; elsewhere what is not at hand is skipped.
package gateways

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/cluster"
	"github.com/weirhq/weir/internal/kit"
)

const repository = "../.."

// gateway is one of those that configure Envoy by Kubernetes' objects.
type gateway struct {
	name, crds, namespace string
	// wrong are changes of its manifest that the API server has to refuse, with what it complains of.
	wrong map[[2]string]string
}

func gateways() []gateway {
	return []gateway{
		{"istio", "istio-crds", "istio-ingress", map[[2]string]string{
			{"action: CUSTOM", "action: CUSTOMS"}:             "spec.action",
			{"providers: [", "provider: ["}:                   "unknown field",
			{"mode: MUTUAL", "mode: MUTUALLY"}:                "spec.trafficPolicy.tls.mode",
			{"operation: INSERT_FIRST", "operation: INSERT"}:  "patch.operation",
			{"context: GATEWAY", "context: INGRESS_GATEWAYS"}: "match.context",
		}},
		{"envoy-gateway", "gateway-crds", "gateway", map[[2]string]string{
			{"statusOnError: 503", "statusOnError: 299"}:                   "spec.extAuth.statusOnError",
			{"failOpen: false", "failOpened: false"}:                       "unknown field",
			{"type: Prefix", "type: Prefixed"}:                             "removeOnMatch",
			{"type: ALS", "type: Als"}:                                     "telemetry.accessLog",
			{"hostname: weir", "hostname: -weir"}:                          "spec.validation.hostname",
			{"escapedSlashesAction: Reject", "escapedSlashesAction: Drop"}: "escapedSlashesAction",
		}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	must(t, err)
	return path
}

// blocks are the commands of a guide.
func blocks(t *testing.T, guide string) (found []string) {
	t.Helper()
	for _, part := range strings.Split(read(t, guide), "```sh\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		found = append(found, block)
	}
	return found
}

func TestTheCommandsOfTheGuidesPutObjectsIntoACluster(t *testing.T) {
	bin := kit.Dir(t)
	for _, g := range gateways() {
		t.Run(g.name, func(t *testing.T) {
			k, err := cluster.Start(t.Context(), bin, t.TempDir())
			must(t, err)
			t.Cleanup(k.Close)
			kubectl := func(input string, args ...string) string {
				t.Helper()
				out, err := k.Kubectl(t.Context(), input, args...)
				must(t, err)
				return out
			}
			kubectl("", "create", "--filename", filepath.Join(bin, g.crds)) // too large for the annotation of apply
			kubectl("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
			for _, namespace := range []string{"weir", g.namespace} {
				kubectl("", "create", "namespace", namespace)
			}

			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "my-values.yaml"), nil, 0o600))
			for _, each := range []string{"charts", "deploy"} {
				must(t, os.Symlink(absolute(t, filepath.Join(repository, each)), filepath.Join(dir, each)))
			}
			commands := blocks(t, filepath.Join(repository, "docs/guides", g.name+".md"))
			if len(commands) < 3 {
				t.Fatalf("the guide has %d blocks of commands", len(commands))
			}
			for i, block := range commands {
				cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", block)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig, "PATH="+bin+":"+os.Getenv("PATH"))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("block %d:\n%s\n%v\n%s", i+1, block, err, out)
				}
			}

			manifest := read(t, filepath.Join(repository, "deploy", g.name, "weir.yaml"))
			for change, complaint := range g.wrong {
				text := strings.Replace(manifest, change[0], change[1], 1)
				if text == manifest {
					t.Errorf("the manifest has no %q", change[0])
				}
				if _, err := k.Kubectl(t.Context(), text, "apply", "--dry-run=server", "--filename", "-"); err == nil || !strings.Contains(err.Error(), complaint) {
					t.Errorf("with %q the API server says %v, want a complaint of %s", change[1], err, complaint)
				}
			}
			port := kubectl("", "get", "service", "weir", "--namespace", "weir", "--output", `jsonpath={.spec.ports[?(@.name=="grpc")]}`)
			for _, want := range []string{`"port":9001`, `"appProtocol":"grpc"`} {
				if !strings.Contains(port, want) {
					t.Errorf("the chart's Service has %s, without %s, which the manifests take for granted", port, want)
				}
			}
		})
	}
}

func TestIstioKnowsEveryKeyOfTheProviders(t *testing.T) {
	const file = repository + "/deploy/istio/mesh-values.yaml"
	values := read(t, file)
	check := func(text string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(kit.Dir(t), "meshconfig"))
		cmd.Stdin = strings.NewReader(text)
		return cmd.CombinedOutput()
	}
	out, err := check(values)
	if err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
	for _, want := range []string{`"weir.weir.svc.cluster.local"`, `"timeout":"0.500s"`, `"statusOnError":"503"`, `"MERGE_SLASHES"`} {
		if !bytes.Contains(bytes.ReplaceAll(out, []byte(" "), nil), []byte(want)) {
			t.Errorf("Istio reads %s, without %s", out, want)
		}
	}
	if out, err := check(strings.Replace(values, "statusOnError", "statusOnErrors", 1)); err == nil {
		t.Errorf("a key that Istio does not know is read as %s", out)
	}
}

// documents are those of a YAML file.
func documents(t *testing.T, text string) (found []map[string]any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var each map[string]any
		if decoder.Decode(&each) != nil {
			return found
		}
		found = append(found, each)
	}
}

// at walks into a document by names and indices.
func at(t *testing.T, value any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			value = value.(map[string]any)[step]
		case int:
			value = value.([]any)[step]
		}
		if value == nil {
			t.Fatalf("there is no %v in %v", step, path)
		}
	}
	return value
}

func TestIstiosPoliciesNameProvidersThatTheMeshHas(t *testing.T) {
	mesh := documents(t, read(t, repository+"/deploy/istio/mesh-values.yaml"))[0]
	objects := documents(t, read(t, repository+"/deploy/istio/weir.yaml"))
	got := []any{at(t, objects[0], "spec", "provider", "name"), at(t, objects[1], "spec", "accessLogging", 0, "providers", 0, "name")}
	want := []any{at(t, mesh, "meshConfig", "extensionProviders", 0, "name"), at(t, mesh, "meshConfig", "extensionProviders", 1, "name")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("providers (-of the mesh +named):\n%s", diff)
	}
}

func TestIstiosEnvoyGetsTheFilterAndTheSignsOfLifeOfTheExample(t *testing.T) {
	envoy := documents(t, examples.Envoy)[0]
	connections := at(t, envoy, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config")
	patches := at(t, documents(t, read(t, repository+"/deploy/istio/weir.yaml"))[3], "spec", "configPatches")
	if diff := cmp.Diff(at(t, connections, "http_filters", 0), at(t, patches, 0, "patch", "value")); diff != "" {
		t.Errorf("the filter (-example +Istio):\n%s", diff)
	}
	if diff := cmp.Diff(at(t, connections, "access_log_options"), at(t, patches, 1, "patch", "value", "typed_config", "access_log_options")); diff != "" {
		t.Errorf("options of the access log (-example +Istio):\n%s", diff)
	}
}
