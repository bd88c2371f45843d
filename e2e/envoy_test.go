package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

// raw sends a request line as it is over a connection of its own.
func raw(t *testing.T, address, path string, headers ...string) result {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: api.acme.test\r\nConnection: close\r\n%s\r\n", path, strings.Join(append(headers, ""), "\r\n"))
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return result{resp.StatusCode, resp.Header, string(body)}
}

// plain turns off what the examples have Envoy do with paths, as Envoy's own defaults are.
func plain(config string) string {
	for _, line := range []string{
		"          normalize_path: true\n", "          merge_slashes: true\n",
		"          path_with_escaped_slashes_action: REJECT_REQUEST\n",
	} {
		config = strings.Replace(config, line, "", 1)
	}
	return config
}

// tricks are ways to spell a path so that a careless reader takes it for another. sso
// needs a feature that initech's plan lacks; no spelling may reach it.
func tricks() []string {
	return []string{
		"/v1/sso/login", "/v1//sso/login", "//v1/sso/login", "/v1/./sso/login", "/v1/reports/../sso/login",
		"/v1/%73so/login", "/v1/%2573so/login", "/v1/reports/%2e%2e/sso/login", "/v1/reports/..%2fsso/login",
		"/v1/reports%2f..%2fsso/login", "/v1/reports/..%5csso/login", `/v1/reports/..\sso/login`, `/v1\sso\login`,
		"/v1/sso;v=1/login", "/v1/reports/..;/sso/login", "/healthz/../v1/sso/login", "/healthz/%2e%2e/v1/sso/login",
		"/healthz/..;/v1/sso/login", "/healthz%2f..%2fv1/sso/login", "/v1/sso%2flogin", "/v1/%252e%252e/v1/sso/login",
		"/v1/sso/%00login", "/v1/sso/login%", "/v1/sso/login/", "/v1/sso", "/v1/reports/.;/../sso/login",
	}
}

func TestNoSpellingOfAPathGetsALessStrictRoute(t *testing.T) {
	for name, config := range map[string]string{"Envoy normalises": examples.Envoy, "Envoy passes paths on as they are": plain(examples.Envoy)} {
		t.Run(name, func(t *testing.T) {
			s := set(t, stage.Plan{EnvoyConfig: config})
			for _, path := range tricks() {
				if got := raw(t, s.Ingress, path, "x-tenant-id: initech"); got.status == http.StatusOK {
					t.Errorf("%s reached the application: %s", path, got.body)
				}
			}
			for _, path := range []string{"/v1/reports/7", "/v1/reports/7/", "/v1/reports/%37", "/v1/./reports/7", "/v1//reports/7", "/v1/reports/7?x=/../y"} {
				if got := raw(t, s.Ingress, path, "x-tenant-id: initech"); got.status != http.StatusOK {
					t.Errorf("%s, which has one reading, was refused: %d %s", path, got.status, got.body)
				}
			}
		})
	}
}

func TestSpoofedHeadersNeverReachTheApplication(t *testing.T) {
	strip := strings.Index(examples.Envoy, "          - name: strip-client-x-weir")
	filter := strings.Index(examples.Envoy, "          - name: envoy.filters.http.ext_authz\n")
	for name, config := range map[string]string{
		"Envoy strips them":           examples.Envoy,
		"weir alone has to see to it": examples.Envoy[:strip] + examples.Envoy[filter:],
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, stage.Plan{EnvoyConfig: config})
			got := raw(t, s.Ingress, "/v1/reports/7", "x-tenant-id: initech",
				"x-weir-tenant: globex", "X-Weir-Plan: enterprise", "x-weir-plan: more", "x-weir-admin: yes", "x-weir-license: l-1")
			if got.status != http.StatusOK {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			weir, _ := got.problem(t)["weir"].(map[string]any)
			want := map[string]any{
				"x-weir-tenant": "initech", "x-weir-account": "111122223333", "x-weir-license": initech,
				"x-weir-plan": "basic", "x-weir-decision": "allowed",
			}
			for k, v := range want {
				if weir[k] != v {
					t.Errorf("%s: got %v, want %v", k, weir[k], v)
				}
			}
			if len(weir) != len(want) {
				t.Errorf("the application saw %v", weir)
			}
		})
	}
}

func TestAUnixSocketServesLikeAnAddress(t *testing.T) {
	// A socket's path has at most 107 bytes, which a test's own directory may exceed.
	dir, err := os.MkdirTemp("", "weir")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "weir.sock")
	s := set(t, stage.Plan{
		Config: strings.Replace(examples.Weir, "grpc: 127.0.0.1:9001", "grpc: unix://"+socket, 1),
		EnvoyConfig: strings.Replace(examples.Envoy, "address: {socket_address: {address: 127.0.0.1, port_value: 9001}}",
			"address: {pipe: {path: "+socket+"}}", 1),
	})
	info, err := os.Stat(socket)
	must(t, err)
	if info.Mode().Perm() != 0o660 {
		t.Errorf("mode of the socket: got %o, want 660", info.Mode().Perm())
	}
	if got := statusOf(t, s, "initech", "/v1/reports/7"); got != http.StatusOK {
		t.Errorf("allowed: got %d", got)
	}
	if got := statusOf(t, s, "initech", "/v1/sso/x"); got != http.StatusForbidden {
		t.Errorf("denied: got %d", got)
	}
	s.KillWeir()
	if got := statusOf(t, s, "initech", "/v1/reports/7"); got != http.StatusServiceUnavailable {
		t.Errorf("weir gone: got %d, want Envoy to refuse", got)
	}
	must(t, s.StartWeir(t.Context()))
	if got := statusOf(t, s, "initech", "/v1/reports/7"); got != http.StatusOK {
		t.Errorf("weir back on the socket that a killed one left: got %d", got)
	}
}
