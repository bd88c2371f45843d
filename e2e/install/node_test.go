package install

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// node plays what a cluster has and this one lacks: the controllers of volumes and of
// Deployments with strategy Recreate, and the kubelet. It runs a Deployment's pod, as the API server stores
// it, with podman in the network of the test, and says that the Deployment is available
// once the readiness probe answers.
type node struct {
	*kube
	*podman
	mu   sync.Mutex
	pods map[string]*pod // by namespace/name of the Deployment
	n    int             // pods started so far
}

// pod is one that runs.
type pod struct {
	name, template string // template: what it was made from
	spec           podSpec
}

// deployment is a Deployment as far as node reads it.
type deployment struct {
	Metadata struct {
		Namespace, Name string
		Generation      int
	}
	Spec struct {
		Replicas int
		Template json.RawMessage
	}
	Status struct {
		ObservedGeneration, AvailableReplicas int
	}
}

// podSpec is a pod's spec as far as node reads it.
type podSpec struct {
	TerminationGracePeriodSeconds int
	Containers                    []struct {
		Name  string
		Ports []struct {
			Name          string
			ContainerPort int
		}
		ReadinessProbe struct {
			HTTPGet struct{ Path, Port, Scheme string }
		}
		Lifecycle struct {
			PreStop struct{ Sleep struct{ Seconds int } }
		}
	}
}

// withNode gives the cluster a node until the end of the test.
func withNode(t *testing.T, k *kube) *node {
	t.Helper()
	needsOwnNetwork(t)
	n := &node{kube: k, podman: newPodman(t), pods: map[string]*pod{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for said := ""; ctx.Err() == nil; time.Sleep(300 * time.Millisecond) {
			if err := n.turn(ctx); err != nil && ctx.Err() == nil && err.Error() != said {
				said = err.Error()
				t.Logf("node: %s", said)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		for key := range n.pods {
			n.stop(context.WithoutCancel(ctx), key)
		}
	})
	return n
}

// turn brings what runs nearer to what the Deployments say.
func (n *node) turn(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	out, err := n.Kubectl(ctx, "", "get", "deployments", "--all-namespaces", "-o", "json")
	if err != nil {
		return err
	}
	var list struct{ Items []deployment }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	if err := n.bind(ctx); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, d := range list.Items {
		key := d.Metadata.Namespace + "/" + d.Metadata.Name
		wanted[key] = d.Spec.Replicas > 0
		if p := n.pods[key]; p != nil && (p.template != string(d.Spec.Template) || !wanted[key]) {
			n.stop(ctx, key)
		}
		if n.pods[key] == nil && wanted[key] {
			if err := n.start(ctx, key, d); err != nil {
				return err
			}
		}
		if err := n.report(ctx, key, d); err != nil {
			return err
		}
	}
	for key := range n.pods {
		if !wanted[key] {
			n.stop(ctx, key)
		}
	}
	return nil
}

// pid is the process of a Deployment's container, as this machine counts.
func (n *node) pid(key string) string {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pods[key]
	if p == nil {
		n.t.Fatalf("no pod of %s runs", key)
	}
	out, err := n.run(n.t.Context(), "", "inspect", "--format", "{{.State.Pid}}", p.name+"-"+p.spec.Containers[0].Name)
	must(n.t, err)
	return strings.TrimSpace(out)
}

// bind gives each claim its volume: podman makes one of the claim's name.
func (n *node) bind(ctx context.Context) error {
	out, err := n.Kubectl(ctx, "", "get", "persistentvolumeclaims", "--all-namespaces", "-o",
		`jsonpath={range .items[?(@.status.phase=="Pending")]}{.metadata.namespace} {.metadata.name}{"\n"}{end}`)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		claim := strings.Fields(line)
		if _, err := n.Kubectl(ctx, "", "patch", "persistentvolumeclaim", "--namespace", claim[0], claim[1],
			"--subresource", "status", "--type", "merge", "--patch", `{"status": {"phase": "Bound"}}`); err != nil {
			return err
		}
	}
	return nil
}

// start runs the pod. Like a kubelet it waits for a Secret that is not there.
func (n *node) start(ctx context.Context, key string, d deployment) error {
	var template struct{ Spec podSpec }
	if err := json.Unmarshal(d.Spec.Template, &template); err != nil {
		return err
	}
	n.n++
	p := &pod{name: fmt.Sprintf("%s-%d", d.Metadata.Name, n.n), template: string(d.Spec.Template), spec: template.Spec}
	manifest, err := n.manifest(ctx, p.name, d)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := n.run(ctx, manifest, "play", "kube", "--network", "host", "-"); err != nil {
		_, removal := n.run(ctx, "", "pod", "rm", "--force", "--ignore", p.name)
		return fmt.Errorf("start pod of %s: %w", key, errors.Join(err, removal))
	}
	n.t.Logf("%s: container started in %s", p.name, time.Since(began).Round(time.Millisecond))
	n.pods[key] = p
	return nil
}

// manifest is what podman is given: the pod, and the ConfigMaps and Secrets of its namespace.
func (n *node) manifest(ctx context.Context, name string, d deployment) (string, error) {
	out, err := n.Kubectl(ctx, "", "get", "configmaps,secrets", "--namespace", d.Metadata.Namespace, "-o", "json")
	if err != nil {
		return "", err
	}
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return "", err
	}
	var documents []string
	for _, o := range list.Items {
		if o.Kind == "Secret" { // podman knows Secrets of its own form only
			for key, value := range o.Data {
				plain, err := base64.StdEncoding.DecodeString(value)
				if err != nil {
					return "", err
				}
				o.Data[key] = string(plain)
			}
		}
		text, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": o.Metadata.Name}, "data": o.Data,
		})
		if err != nil {
			return "", err
		}
		documents = append(documents, string(text))
	}
	var template map[string]any
	if err := json.Unmarshal(d.Spec.Template, &template); err != nil {
		return "", err
	}
	template["apiVersion"], template["kind"] = "v1", "Pod"
	// podman takes no annotation of more than 63 characters.
	template["metadata"] = map[string]any{"name": name, "labels": object(template).at("metadata", "labels")}
	suit(template["spec"].(map[string]any))
	text, err := json.Marshal(template)
	return strings.Join(append(documents, string(text)), "\n---\n"), err
}

// suit takes out of a pod what podman can't do without systemd and what node does itself,
// and lets it find its Secrets where manifest put them.
func suit(spec map[string]any) {
	for _, c := range spec["containers"].([]any) {
		container := c.(map[string]any)
		for _, key := range []string{"startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports"} {
			delete(container, key)
		}
		rename(container["env"], "valueFrom", "secretKeyRef", "configMapKeyRef")
		rename(container["envFrom"], "", "secretRef", "configMapRef")
	}
	rename(spec["volumes"], "", "secret", "configMap")
	rename(spec["volumes"], "configMap", "secretName", "name")
}

// rename gives a key another name in each entry of a list, or in what is under a key of it.
func rename(list any, under, old, now string) {
	entries, _ := list.([]any)
	for _, e := range entries {
		in, _ := e.(map[string]any)
		if under != "" {
			in, _ = in[under].(map[string]any)
		}
		if value, ok := in[old]; ok {
			in[now] = value
			delete(in, old)
		}
	}
}

// stop ends a pod as a kubelet does: what preStop says, SIGTERM, and SIGKILL after the grace.
func (n *node) stop(ctx context.Context, key string) {
	p := n.pods[key]
	delete(n.pods, key)
	for _, c := range p.spec.Containers {
		time.Sleep(time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second)
	}
	began := time.Now()
	if _, err := n.run(ctx, "", "pod", "stop", "--time", fmt.Sprint(p.spec.TerminationGracePeriodSeconds), p.name); err != nil {
		n.t.Errorf("stop pod: %v", err)
	}
	n.t.Logf("%s: ended %s after SIGTERM", p.name, time.Since(began).Round(time.Millisecond))
	if _, err := n.run(ctx, "", "pod", "rm", "--force", p.name); err != nil {
		n.t.Errorf("remove pod: %v", err)
	}
}

// report writes the status of a Deployment.
func (n *node) report(ctx context.Context, key string, d deployment) error {
	available := 0
	if p := n.pods[key]; p != nil && p.ready(ctx) {
		available = 1
	}
	if d.Status.ObservedGeneration == d.Metadata.Generation && d.Status.AvailableReplicas == available {
		return nil
	}
	is := map[bool]string{true: "True", false: "False"}[available == d.Spec.Replicas]
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"observedGeneration": d.Metadata.Generation, "replicas": d.Spec.Replicas, "updatedReplicas": d.Spec.Replicas,
		"readyReplicas": available, "availableReplicas": available,
		"conditions": []any{
			map[string]any{"type": "Available", "status": is},
			map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
		},
	}})
	if err != nil {
		return err
	}
	_, err = n.Kubectl(ctx, "", "patch", "deployment", d.Metadata.Name, "--namespace", d.Metadata.Namespace,
		"--subresource", "status", "--type", "merge", "--patch", string(status))
	return err
}

// ready asks the readiness probe.
func (p *pod) ready(ctx context.Context) bool {
	c := p.spec.Containers[0]
	probe := c.ReadinessProbe.HTTPGet
	for _, port := range c.Ports {
		if port.Name == probe.Port {
			return answers(ctx, fmt.Sprintf("%s://127.0.0.1:%d%s", strings.ToLower(probe.Scheme), port.ContainerPort, probe.Path))
		}
	}
	return false
}

// answers tells whether an address answers 200. Like a kubelet's probe it does not look at
// the certificate.
func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// podman runs containers, with images and volumes of the test's own.
type podman struct{ config, storage string }

// newPodman makes a store that holds the image which `make image` built.
func newPodman(t *testing.T) *podman {
	t.Helper()
	needsTools(t)
	dir := t.TempDir()
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	p := &podman{filepath.Join(dir, "containers.conf"), filepath.Join(dir, "storage.conf")}
	// No systemd, and no more files and processes than the machine allows.
	must(t, os.WriteFile(p.config, fmt.Appendf(nil, `[containers]
default_ulimits = ["nofile=%d:%d", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`, limit.Max, limit.Max), 0o600))
	must(t, os.WriteFile(p.storage, fmt.Appendf(nil, "[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n",
		filepath.Join(dir, "graph"), filepath.Join(dir, "run")), 0o600))
	_, err := p.run(t.Context(), "", "load", "--quiet", "--input", dist+"/weir-amd64.tar")
	must(t, err)
	return p
}

// run runs podman, with input on its standard input.
func (p *podman) run(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "podman", args...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+p.config, "CONTAINERS_STORAGE_CONF="+p.storage)
	return finish(cmd, input)
}
