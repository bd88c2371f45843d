package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/stage"
)

// load is checks and usage events from a crowd, all along.
type load struct {
	crowd   *crowd
	stage   *stage.Stage
	checks  []atomic.Int64 // allowed, by tenant
	events  []atomic.Int64 // units of events that were answered 202, by tenant
	refused atomic.Int64   // answers 503 to events
	stopped chan struct{}
	group   sync.WaitGroup
}

// eventUnits is the quantity of each event.
const eventUnits = 3

func startLoad(t *testing.T, c *crowd, s *stage.Stage) *load {
	l := &load{crowd: c, stage: s, checks: make([]atomic.Int64, c.tenants), events: make([]atomic.Int64, c.tenants), stopped: make(chan struct{})}
	client := authv3.NewAuthorizationClient(dial(t, s.GRPC))
	l.group.Go(func() { l.each(func(i int) { l.check(t, client, i) }) })
	l.group.Go(func() { l.each(func(i int) { l.report(t, i) }) })
	return l
}

// each goes round the tenants until the load is stopped.
func (l *load) each(do func(i int)) {
	for i := 0; ; i++ {
		select {
		case <-l.stopped:
			return
		case <-time.After(2 * time.Millisecond):
			do(i)
		}
	}
}

// check asks for one request, which is allowed whatever the disk does.
func (l *load) check(t *testing.T, client authv3.AuthorizationClient, i int) {
	who := i % l.crowd.tenants
	request := &authv3.AttributeContext_HttpRequest{
		Id: fmt.Sprint("check-", i), Method: http.MethodGet, Host: "api.acme.test", Path: "/v1/reports/7",
		Headers: map[string]string{"x-tenant-id": l.crowd.tenant(who)},
	}
	answer, err := client.Check(context.Background(), &authv3.CheckRequest{
		Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: request}},
	})
	switch {
	case err != nil:
		t.Errorf("check %d: %v", i, err)
	case answer.GetOkResponse() == nil:
		t.Errorf("check %d: %v", i, answer)
	default:
		l.checks[who].Add(1)
	}
}

// report sends one event until it is taken: the same one, so that it counts once.
func (l *load) report(t *testing.T, i int) {
	who := i % l.crowd.tenants
	event := fmt.Sprintf(`{"specversion": "1.0", "type": "t", "source": "/disk", "id": "%d", "subject": %q, "data": {"feature": "apiCalls", "quantity": %d}}`,
		i, l.crowd.tenant(who), eventUnits)
	for {
		resp, err := http.Post("http://"+l.stage.HTTP+"/v1/usage", "application/cloudevents+json", strings.NewReader(event))
		if err != nil {
			t.Errorf("event %d: %v", i, err)
			return
		}
		said, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusAccepted:
			l.events[who].Add(eventUnits)
			return
		case http.StatusServiceUnavailable:
			l.refused.Add(1)
			time.Sleep(20 * time.Millisecond)
		default:
			t.Errorf("event %d: %d %s", i, resp.StatusCode, said)
			return
		}
	}
}

// sum is how many checks were allowed.
func (l *load) sum() (n int64) {
	for i := range l.checks {
		n += l.checks[i].Load()
	}
	return n
}

// stop ends the load and returns what was counted, by license.
func (l *load) stop() map[string]int64 {
	close(l.stopped)
	l.group.Wait()
	counted := map[string]int64{}
	for i := range l.checks {
		counted[l.crowd.license(i)] = l.checks[i].Load() + l.events[i].Load()
	}
	return counted
}

// health is what weir says of its disk.
func health(t *testing.T, s *stage.Stage) (ready, writable bool, said string) {
	t.Helper()
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + s.Admin + path)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp.StatusCode, string(body)
	}
	code, readyz := get("/readyz")
	_, status := get("/v1/status")
	_, metrics := get("/metrics")
	ready = code == http.StatusOK
	writable = strings.Contains(status, `"disk":{"writable":true}`) && strings.Contains(metrics, "\nweir_ledger_writable 1\n")
	if !ready && !strings.Contains(readyz, `"reason":"ledger"`) {
		t.Errorf("not ready for another reason: %s", readyz)
	}
	return ready, writable, readyz + status
}

// TestB20NothingCountedIsMissingAfterADisksTrouble runs weir under load, lets the disk fail for a
// while, and compares the bill with what the callers were told.
func TestB20NothingCountedIsMissingAfterADisksTrouble(t *testing.T) {
	number := 0
	for name, d := range disks() {
		number++
		own := number
		t.Run(name, func(t *testing.T) {
			t.Parallel()       // they mostly wait
			c := newCrowd(300) // whose books don't fit into a file that can't grow
			plan := c.plan()
			plan.Config = strings.Replace(plan.Config, "meter: {feature: apiCalls}", "meter: {feature: apiCalls, when: checked}", 1)
			plan.Dir, plan.Weir, plan.Number = t.TempDir(), binaries.weir, own
			state := filepath.Join(plan.Dir, "state")
			must(t, os.Mkdir(state, 0o700))
			if d.prepare != nil {
				d.prepare(t, state)
			}
			s, err := stage.Set(t.Context(), plan)
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			endureTrouble(t, c, s, d, state)
		})
	}
}

func endureTrouble(t *testing.T, c *crowd, s *stage.Stage, d disk, state string) {
	first := startHour(t, s)
	pid := s.WeirPID()
	l := startLoad(t, c, s)
	defer func() {
		if l != nil {
			l.stop()
		}
	}()
	eventually(t, 10*time.Second, "checks flow", func() bool { return l.sum() > 50 || t.Failed() })
	d.fail(t, s, state)
	eventually(t, 20*time.Second, "weir says that it can't write", func() bool {
		ready, writable, _ := health(t, s)
		return !ready && !writable || t.Failed()
	})
	before := l.sum()
	eventually(t, 20*time.Second, "checks go on, events are refused", func() bool {
		return l.sum() > before+300 && l.refused.Load() > 10 || t.Failed()
	})
	d.heal(t, s, state)
	eventually(t, 30*time.Second, "weir can write again", func() bool {
		ready, writable, _ := health(t, s)
		return ready && writable || t.Failed()
	})
	after := l.sum()
	eventually(t, 20*time.Second, "checks go on", func() bool { return l.sum() > after+100 || t.Failed() })
	want := l.stop()
	l = nil
	if _, _, said := health(t, s); strings.Contains(said, "corrupt-") {
		t.Errorf("a sound ledger was set aside: %s", said)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("weir has not lived through it: %v", err)
	}
	eventually(t, 10*time.Second, "the ledger has every count", func() bool { return inLedger(t, s) >= total(want) })
	s.KillWeir()
	must(t, s.StartWeir(t.Context()))
	moveTo(t, s, first.Add(66*time.Minute))
	var got map[string]int64
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if got = billed(t, s)[first]; cmp.Equal(got, want) || time.Now().After(end) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bill (-counted +billed):\n%s", diff)
	}
}

// inLedger is the sum of the rows of weir's ledger.
func inLedger(t *testing.T, s *stage.Stage) (units int64) {
	t.Helper()
	var page struct {
		Rows []struct{ Quantity int64 }
	}
	must(t, s.Status(t.Context(), "/v1/usage?limit=1000", &page))
	for _, r := range page.Rows {
		units += r.Quantity
	}
	return units
}

// TestB20ADamagedLedgerNeverKeepsWeirFromServing damages the file under the real binary, again and again.
func TestB20ADamagedLedgerNeverKeepsWeirFromServing(t *testing.T) {
	c := newCrowd(5)
	plan := c.plan()
	plan.Config = strings.Replace(plan.Config, "meter: {feature: apiCalls}", "meter: {feature: apiCalls, when: checked}", 1)
	plan.Dir, plan.Weir = t.TempDir(), binaries.weir
	s, err := stage.Set(t.Context(), plan)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	ledger := filepath.Join(plan.Dir, "state", "ledger.db")
	for n, damage := range []func(){
		func() { must(t, os.Truncate(ledger, 5000)) },
		func() { must(t, os.Truncate(ledger, 0)) },
		func() { must(t, os.WriteFile(ledger, []byte(strings.Repeat("nonsense", 9999)), 0o600)) },
	} {
		use(t, c, s)
		s.KillWeir()
		damage()
		must(t, s.StartWeir(t.Context()))
		use(t, c, s)
		ready, writable, said := health(t, s)
		if !ready || strings.Count(said, `"reason":"ledger_set_aside"`) != n+1 {
			t.Errorf("after %d times: ready %v, writable %v: %s", n+1, ready, writable, said)
		}
	}
	use(t, c, s)
	must(t, os.Truncate(ledger, 100)) // while it runs
	use(t, c, s)
	eventually(t, 20*time.Second, "it is set aside", func() bool {
		ready, _, said := health(t, s)
		return ready && strings.Count(said, `"reason":"ledger_set_aside"`) == 4
	})
	files, err := filepath.Glob(ledger + ".corrupt-*")
	must(t, err)
	if len(files) != 4 {
		t.Fatalf("set aside: %v", files)
	}
	for _, file := range files {
		out, err := exec.Command(binaries.weir, "usage", "salvage", file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "can't be read") {
			t.Errorf("salvage %s: %v\n%s", file, err, out)
		}
	}
}

// use has some requests counted, and waits until weir wrote them or tried to.
func use(t *testing.T, c *crowd, s *stage.Stage) {
	t.Helper()
	l := startLoad(t, c, s)
	eventually(t, 10*time.Second, "checks flow", func() bool { return l.sum() > 20 || t.Failed() })
	l.stop()
	time.Sleep(100 * time.Millisecond)
}
