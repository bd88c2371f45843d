// Package forward puts the real nginx, Caddy, Traefik and Envoy's http_service between a client
// and an application, from the files in examples and the guides, and lets each ask the real
// weir by forward-auth.
//
// `make test-real` fetches them and runs it, so that none may be missing; elsewhere what is
// not at hand is skipped.
package forward

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

const (
	examplesDir = "../../examples"
	guides      = "../../docs/guides"
)

// weir is the binary, built once.
var weir string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-forward-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	weir = filepath.Join(dir, "weir")
	if out, err := exec.Command("go", "build", "-o", weir, "../../cmd/weir").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build weir: %v\n%s", err, out)
		return 1
	}
	return m.Run()
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

// world is a stage without a proxy, and a directory for one.
type world struct {
	*stage.Stage
	dir string
	// change, where set, changes what is written.
	change func(text string) string
}

// set sets the stage.
func set(t *testing.T, p stage.Plan) *world {
	t.Helper()
	p.Dir, p.Weir = t.TempDir(), weir
	s, err := stage.Set(t.Context(), p)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the stage: %v", err)
		}
	})
	w := &world{Stage: s, dir: t.TempDir()}
	must(t, os.Mkdir(filepath.Join(w.dir, "tmp"), 0o700))
	return w
}

// write writes a configuration for a proxy, with the stage's ports, and returns its path.
func (w *world) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if w.change != nil {
		text = w.change(text)
	}
	must(t, os.WriteFile(path, []byte(w.Moved(text)), 0o600))
	return path
}

// start starts a proxy and waits until it lets a request through.
func (w *world) start(t *testing.T, name, binary string, args ...string) {
	t.Helper()
	p, err := stage.Start(name, w.dir, binary, []string{"HOME=" + w.dir}, args...)
	must(t, err)
	t.Cleanup(p.Kill)
	must(t, p.Await(t.Context(), func(context.Context) bool {
		conn, err := net.DialTimeout("tcp", w.Ingress, time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		r, err := ask(conn, "GET", "/healthz")
		return err == nil && r.status == http.StatusOK
	}))
}

// result is what came back.
type result struct {
	status int
	header http.Header
	body   string
}

// json reads the body.
func (r result) json(t *testing.T) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("%v: %d %s", err, r.status, r.body)
	}
	return m
}

// do sends a request as it is over a connection of its own.
func (w *world) do(t *testing.T, method, path string, headers ...string) result {
	t.Helper()
	conn, err := net.DialTimeout("tcp", w.Ingress, 5*time.Second)
	must(t, err)
	defer conn.Close()
	r, err := ask(conn, method, path, headers...)
	must(t, err)
	return r
}

func ask(conn net.Conn, method, path string, headers ...string) (r result, err error) {
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return r, err
	}
	sent := "Host: api.acme.test\r\nConnection: close\r\n" + strings.Join(append(headers, "", ""), "\r\n")
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\n%s", method, path, sent); err != nil {
		return r, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return result{resp.StatusCode, resp.Header, string(body)}, err
}

// fenced are the fenced blocks of a guide in a language.
func fenced(t *testing.T, guide, language string) (blocks []string) {
	t.Helper()
	for _, part := range strings.Split(read(t, guide), "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}
