package install

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/sample"
	"github.com/weirhq/weir/internal/stage"
)

const globex = "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000002"

// withApplication serves the application behind Envoy until the end of the test.
func withApplication(t *testing.T) *sample.App {
	t.Helper()
	web, err := net.Listen("tcp", "127.0.0.1:19001")
	must(t, err)
	app := &sample.App{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, web, nil) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return app
}

// withEnvoy runs the example's Envoy, which shows weir the token and lets requests through
// or not when weir does not answer.
func withEnvoy(t *testing.T, open bool) {
	t.Helper()
	needsOwnNetwork(t)
	envoy, err := stage.FindEnvoy(os.Getenv("WEIR_ENVOY"))
	must(t, err)
	text := examples.Envoy
	for old, now := range map[string]string{
		"failure_mode_allow: false":             fmt.Sprintf("failure_mode_allow: %v", open),
		"timeout: 0.5s}\n              failure": "timeout: 0.5s, initial_metadata: [{key: x-weir-caller, value: " + callersToken + "}]}\n              failure",
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("examples/envoy.yaml no longer says %q", old)
		}
		text = strings.Replace(text, old, now, 1)
	}
	dir := t.TempDir()
	p, err := stage.Start("envoy", dir, envoy, nil, "-c", file(t, "envoy.yaml", text), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning")
	must(t, err)
	t.Cleanup(p.Kill)
	must(t, p.Await(t.Context(), func(ctx context.Context) bool { return answers(ctx, "http://127.0.0.1:9901/ready") }))
}

// traffic are requests of globex, one after the other in each of some loops.
type traffic struct {
	mu       sync.Mutex
	statuses map[int]int
	// undecided is from when to when some request was not decided by weir.
	first, last time.Time
	stop        context.CancelFunc
	loops       sync.WaitGroup
}

func startTraffic(t *testing.T) *traffic {
	ctx, stop := context.WithCancel(t.Context())
	f := &traffic{statuses: map[int]int{}, stop: stop}
	for range 4 {
		f.loops.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
				f.send(ctx)
			}
		})
	}
	return f
}

// end ends the traffic once every request is answered.
func (f *traffic) end() {
	f.stop()
	f.loops.Wait()
}

func (f *traffic) send(ctx context.Context) {
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://127.0.0.1:10000/v1/reports/7", nil)
	if err != nil {
		return
	}
	request.Header.Set("x-tenant-id", "globex")
	response, err := http.DefaultClient.Do(request)
	status, decided := 0, false
	if err == nil {
		var body [4096]byte
		n, _ := response.Body.Read(body[:])
		response.Body.Close()
		status, decided = response.StatusCode, strings.Contains(string(body[:n]), "x-weir-decision")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statuses[status]++
	if !decided {
		if f.first.IsZero() {
			f.first = time.Now()
		}
		f.last = time.Now()
	}
}

// quiet tells whether the last undecided request was a while ago.
func (f *traffic) quiet() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.last.IsZero() && time.Since(f.last) > time.Second
}

func TestInTheGapOfAnUpgradeEnvoyRefusesOrLetsThroughUncounted(t *testing.T) {
	for name, open := range map[string]bool{"fail closed": false, "fail open": true} {
		t.Run(name, func(t *testing.T) {
			k := started(t)
			withMarketplace(t)
			withNode(t, k)
			app := withApplication(t)
			withEnvoy(t, open)
			k.prepare("shop")
			values := shop(t)
			_, err := k.helm("install", "weir", chart, "--namespace", "shop", "--values", values, "--wait", "--timeout", "90s")
			must(t, err)

			f := startTraffic(t)
			defer f.end()
			_, err = k.helm("upgrade", "weir", chart, "--namespace", "shop", "--values", values, "--set", "podAnnotations.again=yes", "--wait", "--timeout", "90s")
			must(t, err)
			for end := time.Now().Add(30 * time.Second); !f.quiet() && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			f.end()
			served := app.Served(func(path string) bool { return path == "/v1/reports/7" })
			t.Logf("gap %s; answers %v; served %d with a license, %d without a decision", f.last.Sub(f.first).Round(time.Millisecond),
				f.statuses, served[globex], served[""])

			refused, through := f.statuses[http.StatusServiceUnavailable], int(served[""])
			if open && (through == 0 || refused != 0) {
				t.Errorf("fail open: %d were let through and %d refused, want some and none", through, refused)
			}
			if !open && (through != 0 || refused == 0) {
				t.Errorf("fail closed: %d were let through and %d refused, want none and some", through, refused)
			}
			if got := used(t, "globex"); got != int(served[globex]) {
				t.Errorf("%d calls are counted, %d were served with a decision: the gap may cost those in it, and no others", got, served[globex])
			}
			if n := f.statuses[http.StatusOK] + refused; n != total(f.statuses) {
				t.Errorf("answers %v, want 200 and 503 only", f.statuses)
			}
		})
	}
}

func total(statuses map[int]int) (n int) {
	for _, each := range statuses {
		n += each
	}
	return n
}
