// Package install installs weir as its users do: the chart by the real helm into a real
// Kubernetes API server, the image by a real builder and runner of images.
//
// `make test-real` fetches and builds what it needs and runs it in a network of its own, of
// which there is nothing but loopback: weir's pod listens on every address. Nodes and
// controllers can't be had without machines; [node] plays them, with podman.
package install

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/cluster"
)

const (
	repository = "../.."
	chart      = repository + "/charts/weir"
	dist       = repository + "/dist" // of `make image`
	binary     = dist + "/linux-amd64/usr/local/bin/weir"
)

// tools is the directory of helm, kubectl and the others; empty where there is none.
var tools string

func TestMain(m *testing.M) {
	tools = os.Getenv("WEIR_REAL")
	if tools == "" && os.Getenv("WEIR_REQUIRE_REAL") == "1" {
		fmt.Fprintln(os.Stderr, "WEIR_REAL names no directory of tools: `make test-real` makes one")
		os.Exit(1)
	}
	os.Exit(m.Run()) // without tools every test that needs them says that it is skipped
}

// needsTools skips a test where the real tools are not at hand.
func needsTools(t *testing.T) {
	t.Helper()
	if tools == "" {
		t.Skip("the real tools are not at hand: `make test-real` fetches them")
	}
}

// needsOwnNetwork fails a test that would listen where other machines can reach it.
func needsOwnNetwork(t *testing.T) {
	t.Helper()
	needsTools(t)
	interfaces, err := net.Interfaces()
	must(t, err)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			t.Fatalf("weir's pod listens on every address, and %s leads to others: run this by `make test-real`", i.Name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program and returns what it printed.
func run(ctx context.Context, name string, args ...string) (string, error) {
	return finish(exec.CommandContext(ctx, name, args...), "")
}

// finish runs a command with input on its standard input, and returns what it printed; what
// it said on standard error is in the error.
func finish(cmd *exec.Cmd, input string) (string, error) {
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, complaint.String())
	}
	return out.String(), nil
}

// template renders the chart.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return run(t.Context(), filepath.Join(tools, "helm"), append([]string{"template", "weir", chart, "--namespace", "shop"}, args...)...)
}

// rendered renders the chart, which has to work.
func rendered(t *testing.T, args ...string) string {
	t.Helper()
	out, err := template(t, args...)
	must(t, err)
	return out
}

// file writes a file of the test's own.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// started starts an API server for one test.
func started(t *testing.T) *kube {
	t.Helper()
	needsTools(t)
	c, err := cluster.Start(t.Context(), tools, t.TempDir())
	must(t, err)
	t.Cleanup(c.Close)
	return &kube{t, c}
}

// kube is the cluster of a test.
type kube struct {
	t *testing.T
	*cluster.Cluster
}

// kubectl runs kubectl, which has to work.
func (k *kube) kubectl(args ...string) string {
	k.t.Helper()
	out, err := k.Kubectl(k.t.Context(), "", args...)
	must(k.t, err)
	return out
}

// apply creates or changes objects.
func (k *kube) apply(objects string, args ...string) error {
	_, err := k.Kubectl(k.t.Context(), objects, append([]string{"apply", "--server-side", "-f", "-"}, args...)...)
	return err
}

// helm runs helm against the cluster.
func (k *kube) helm(args ...string) (string, error) {
	return run(k.t.Context(), filepath.Join(tools, "helm"), append([]string{"--kubeconfig", k.Kubeconfig}, args...)...)
}
