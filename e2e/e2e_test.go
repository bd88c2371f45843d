// Package e2e runs the whole of weir: the real Envoy, the built binary, the
// emulator, and a real HTTP and gRPC application, each a process or server of its
// own, from the configuration files that the README shows.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weirhq/weir/internal/stage"
)

// binaries are what the tests run: weir, built once, and Envoy, empty where there is none.
var binaries struct{ weir, envoy string }

func TestMain(m *testing.M) {
	// A model-based test takes a second or more for each run here: a few in every test,
	// and more by -rapid.checks on the command line. What is parallel mostly waits.
	for name, value := range map[string]string{"rapid.checks": "6", "rapid.steps": "25", "test.parallel": "8"} {
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(build(m))
}

// build builds weir, finds Envoy and runs the tests.
func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries.weir = filepath.Join(dir, "weir")
	if out, err := exec.Command("go", "build", "-o", binaries.weir, "../cmd/weir").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build weir: %v\n%s", err, out)
		return 1
	}
	if binaries.envoy, err = stage.FindEnvoy(os.Getenv("WEIR_ENVOY")); err != nil && os.Getenv("WEIR_REQUIRE_ENVOY") == "1" {
		fmt.Fprintf(os.Stderr, "%v: `make envoy` fetches it\n", err)
		return 1
	}
	return m.Run()
}

// set sets the stage for one test.
func set(t *testing.T, plan stage.Plan) *stage.Stage {
	t.Helper()
	if binaries.envoy == "" {
		t.Skip("there is no Envoy here: `make envoy` fetches it, and WEIR_REQUIRE_ENVOY=1 makes this a failure")
	}
	plan.Dir, plan.Weir, plan.Envoy = t.TempDir(), binaries.weir, binaries.envoy
	s, err := stage.Set(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the stage: %v", err)
		}
	})
	return s
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok, at most for so long.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// call is one request.
type call struct {
	method, path, tenant string
	header               map[string]string
	many                 int // further headers
}

// result is what came back: of a gRPC call, status is the code and body the message.
type result struct {
	status int
	header http.Header
	body   string
}

// problem is the result's body.
func (r result) problem(t *testing.T) map[string]any {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	return p
}

// http1 and http2 speak plain HTTP/1.1, and HTTP/2 with prior knowledge.
func http1() *http.Client { return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}} }

func http2c() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}}
}

// do sends a request through Envoy. The path goes out as it is.
func do(ctx context.Context, client *http.Client, ingress string, c call) (result, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, "http://"+ingress, bytes.NewReader(nil))
	if err != nil {
		return result{}, err
	}
	req.URL.Opaque = c.path
	req.Host = "api.acme.test"
	for k, v := range c.headers() {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return result{resp.StatusCode, resp.Header, string(body)}, err
}

func (c call) headers() map[string]string {
	all := map[string]string{}
	for k, v := range c.header {
		all[k] = v
	}
	if c.tenant != "" {
		all["x-tenant-id"] = c.tenant
	}
	for i := range c.many {
		all[fmt.Sprintf("x-many-%d", i)] = "1"
	}
	return all
}

// invoke makes the same request as a gRPC call.
func invoke(ctx context.Context, conn *grpc.ClientConn, c call) (header, trailer metadata.MD, err error) {
	for k, v := range c.headers() {
		ctx = metadata.AppendToOutgoingContext(ctx, k, v)
	}
	err = conn.Invoke(ctx, c.path, &emptypb.Empty{}, &emptypb.Empty{}, grpc.Header(&header), grpc.Trailer(&trailer))
	return header, trailer, err
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}
