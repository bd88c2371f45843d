package e2e

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
	"github.com/weirhq/weir/policy"
)

func TestARenewalAReplacementAndAPlanChangeDenyNoRequest(t *testing.T) {
	s := set(t, stage.Plan{})
	client := http1()
	var sent atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, err := do(t.Context(), client, s.Ingress, call{method: http.MethodGet, path: "/v1/held", tenant: "initech"})
			if err != nil || r.status != http.StatusOK {
				t.Errorf("request %d of a paying buyer: %d %s %v", sent.Load(), r.status, r.body, err)
				return
			}
			sent.Add(1)
		}
	}()
	flow := func() { // a change has the time to be seen, with requests all along
		before := sent.Load()
		eventually(t, 10*time.Second, "requests flow", func() bool { return sent.Load() > before+100 || t.Failed() })
	}
	flow()
	id := initech
	for range 3 {
		now, err := s.Clock(t.Context())
		must(t, err)
		must(t, s.Call(t.Context(), http.MethodPost, "licenses/"+id+"/renew", map[string]any{"expires": now.AddDate(2, 0, 0).Format(time.RFC3339)}, nil))
		flow()
		must(t, s.Entitle(t.Context(), id, "enterprise", 1))
		flow()
		var next stage.License
		must(t, s.Call(t.Context(), http.MethodPost, "licenses/"+id+"/replace", map[string]any{"entitlements": []map[string]any{{"dimension": "basic", "value": 1}}}, &next))
		flow()
		id = next.ID
	}
	close(stop)
	<-stopped
	t.Logf("%d requests", sent.Load())
}

func TestADayWithoutAWSIsDecidedFromMemoryAndThenByFailureStale(t *testing.T) {
	strict := "  - {name: strict, match: {path: /v1/strict}, failure: {stale: {then: deny}}}\n"
	s := set(t, stage.Plan{Config: strings.Replace(examples.Weir, "routes:\n", "routes:\n"+strict, 1)})
	if got := statusOf(t, s, "initech", "/v1/strict"); got != http.StatusOK {
		t.Fatalf("before: got %d", got)
	}
	must(t, s.Call(t.Context(), http.MethodPost, "faults", map[string]any{"kind": "internal", "count": -1}, nil))
	now, err := s.Clock(t.Context())
	must(t, err)
	moveTo(t, s, now.Add(23*time.Hour))
	if held, strict := statusOf(t, s, "initech", "/v1/held"), statusOf(t, s, "initech", "/v1/strict"); held != 200 || strict != 200 {
		t.Errorf("after 23 h: got %d and %d, want 200", held, strict)
	}
	if got := source(t, s); got != "fresh" {
		t.Errorf("after 23 h: the source is %s", got)
	}
	moveTo(t, s, now.Add(25*time.Hour))
	eventually(t, 5*time.Second, "the source is stale", func() bool { return source(t, s) == "stale" })
	r, err := do(t.Context(), http1(), s.Ingress, call{method: http.MethodGet, path: "/v1/held", tenant: "initech"})
	must(t, err)
	if weir, _ := r.problem(t)["weir"].(map[string]any); r.status != http.StatusOK || weir["x-weir-decision"] != "open; cause=stale" {
		t.Errorf("after 25 h, stale: allow: got %d %s", r.status, r.body)
	}
	if got := statusOf(t, s, "initech", "/v1/strict"); got != http.StatusServiceUnavailable {
		t.Errorf("after 25 h, stale: deny: got %d, want 503", got)
	}
	if got := statusOf(t, s, "initech", "/v1/sso/x"); got != http.StatusForbidden {
		t.Errorf("after 25 h, a feature that the plan lacks: got %d, want 403", got)
	}
	must(t, s.Call(t.Context(), http.MethodDelete, "faults", nil, nil))
	eventually(t, 20*time.Second, "AWS is back", func() bool { return source(t, s) == "fresh" })
	if got := statusOf(t, s, "initech", "/v1/strict"); got != http.StatusOK {
		t.Errorf("after AWS is back: got %d", got)
	}
}

// source is the state of the product's source.
func source(t *testing.T, s *stage.Stage) string {
	t.Helper()
	var status struct {
		Sources map[string]struct{ State string } `json:"sources"`
	}
	must(t, s.Status(t.Context(), "/v1/status", &status))
	return status.Sources["acme"].State
}

// Weir is killed 200 times, by several of it side by side: the copy is written a second
// after the start, and the kills come about then.
const (
	side         = 8
	killsEach    = 25
	firstWrite   = 950 * time.Millisecond
	aroundWrites = 120 * time.Millisecond
)

func TestAKillAtAnyMomentOfARefreshLeavesARightCopy(t *testing.T) {
	cfg, err := config.Load("weir.yaml", []byte(examples.Weir))
	must(t, err)
	p, err := policy.Compile(cfg.Policy)
	must(t, err)
	for i := range side {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			s, err := stage.Set(t.Context(), stage.Plan{Dir: t.TempDir(), Weir: binaries.weir, Number: i + 1})
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			killAndLook(t, s, func() (int64, error) {
				return copiedSeats(cfg, p, filepath.Join(filepath.Dir(s.ConfigFile), "state"))
			})
		})
	}
}

func killAndLook(t *testing.T, s *stage.Stage, copied func() (int64, error)) {
	seats, before := int64(1), int64(0)
	for i := range killsEach {
		seats++
		must(t, s.Entitle(t.Context(), initech, "extra_seats", seats))
		time.Sleep(firstWrite + rand.N(aroundWrites))
		s.KillWeir()
		got, err := copied()
		if err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		if got < before || got > seats {
			t.Fatalf("kill %d: the copy says %d seats, it said %d before and AWS says %d", i, got, before, seats)
		}
		before = got
		must(t, s.StartWeir(t.Context()))
	}
	eventually(t, 10*time.Second, "the copy catches up", func() bool {
		got, err := copied()
		return err == nil && got == seats
	})
	if before < 2 {
		t.Error("no copy was ever written: the test shows nothing")
	}
}

// copiedSeats opens the disk copy as a start without network does.
func copiedSeats(cfg *config.Config, p *policy.Policy, dir string) (int64, error) {
	if damaged, err := filepath.Glob(filepath.Join(dir, "entitlements.damaged-*")); err != nil || len(damaged) > 0 {
		return 0, fmt.Errorf("a copy was set aside: %v %w", damaged, err)
	}
	c, err := cache.New(cache.Options{Updates: cfg.Updates, Policy: cfg.Policy}, p, nil, dir, nil, time.Now,
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	l, ok := c.License(initech)
	if !ok {
		return 0, nil // nothing was written yet
	}
	for _, e := range l.License.Entitlements {
		if e.Dimension == "extra_seats" {
			return e.Value.Quantity(), nil
		}
	}
	return 0, nil
}
