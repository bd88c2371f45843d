package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

// signed runs the commands by which a guide makes certificates, in a directory of their own.
func signed(t *testing.T, guide string) (dir string) {
	t.Helper()
	commands, _, ok := strings.Cut(blocks(t, guide, "sh")[0], "kubectl ")
	if !ok {
		t.Fatalf("%s puts no certificates into a cluster", guide)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = t.TempDir()
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", guide, err, said)
	}
	return cmd.Dir
}

// overTLS is the example's Envoy, moved, with the block of the Envoy guide in its cluster weir.
func overTLS(t *testing.T, s *stage.Stage, dir string) string {
	t.Helper()
	block := strings.ReplaceAll(blocks(t, "../docs/guides/envoy.md", "yaml")[1], "/etc/envoy/", dir+"/")
	before, after, _ := strings.Cut(s.Moved(examples.Envoy), "  - name: weir\n    type: STATIC\n")
	return before + "  - name: weir\n    type: STATIC\n    " + strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n    ") + "\n" + after
}

// startOn starts an Envoy on the stage's ports, and waits until it answers at all.
func startOn(t *testing.T, s *stage.Stage, dir, config string) *stage.Process {
	t.Helper()
	file := filepath.Join(dir, "envoy.yaml")
	must(t, os.WriteFile(file, []byte(config), 0o600))
	p, err := stage.Start("envoy", dir, binaries.envoy, nil, "-c", file, "--concurrency", "2", "--use-dynamic-base-id", "-l", "warning")
	must(t, err)
	t.Cleanup(p.Kill)
	must(t, p.Await(t.Context(), func(ctx context.Context) bool {
		_, err := do(ctx, http1(), s.Ingress, call{method: http.MethodGet, path: "/healthz"})
		return err == nil
	}))
	return p
}

func TestEnvoyAndWeirProveThemselvesByTheCertificatesOfTheGuides(t *testing.T) {
	s := stageWithoutEnvoy(t)
	must(t, s.StopWeir())
	dir := signed(t, "../docs/guides/istio.md")
	text, err := os.ReadFile(s.ConfigFile)
	must(t, err)
	config := strings.Replace(string(text), "listen:\n", fmt.Sprintf("listen:\n  tls: {cert: %s/weir.crt, key: %[1]s/weir.key, clientCA: %[1]s/ca.crt}\n", dir), 1)
	file := filepath.Join(dir, "weir.yaml")
	must(t, os.WriteFile(file, []byte(config), 0o600))
	weir, err := stage.Start("weir", dir, binaries.weir, []string{"AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any"}, "serve", "-config", file)
	must(t, err)
	t.Cleanup(weir.Kill)
	admin := withCertificate(t, dir)
	must(t, weir.Await(t.Context(), func(context.Context) bool { _, err := page(admin, s.Admin+"/readyz"); return err == nil }))

	good := overTLS(t, s, dir)
	envoy := startOn(t, s, dir, good)
	if got := raw(t, s.Ingress, "/v1/reports/7", "x-tenant-id: initech"); got.status != http.StatusOK {
		t.Fatalf("with the gateway's certificate: %d %s", got.status, got.body)
	}
	eventually(t, 20*time.Second, "the access log's entry", func() bool {
		metrics, err := page(admin, s.Admin+"/metrics")
		return err == nil && strings.Contains(metrics, `weir_checks_resolved_total{how="counted"} 1`)
	})
	envoy.Kill()

	for name, wrong := range map[string]string{
		"a certificate of another CA": strings.ReplaceAll(good, dir+"/gateway.", signed(t, "../docs/guides/envoy-gateway.md")+"/gateway."),
		"another name of weir":        strings.Replace(good, "exact: weir.weir", "exact: other.weir", 1),
	} {
		envoy := startOn(t, s, dir, wrong)
		if got := raw(t, s.Ingress, "/healthz"); wrong == good || got.status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s, want Envoy to refuse", name, got.status, got.body)
		}
		envoy.Kill()
	}
}

// withCertificate is a client with the gateway's certificate, who wants weir's for its name.
func withCertificate(t *testing.T, dir string) *http.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "gateway.crt"), filepath.Join(dir, "gateway.key"))
	must(t, err)
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	must(t, err)
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(ca)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: trust, ServerName: "weir.weir.svc.cluster.local",
	}}}
}

// page reads what is there, if the answer is 200.
func page(client *http.Client, address string) (string, error) {
	resp, err := client.Get("https://" + address)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(text), err
}
