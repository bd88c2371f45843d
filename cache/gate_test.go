package cache

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/policy"
)

func TestDecideIsCountedByRouteReasonAndMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		w.decide("initech", "/any")
		w.decide("initech", "/any")
		w.decide("initech", "/sso")
		w.decide("initech", "/nowhere")
		w.gate.Explain(t.Context(), request(policy.SubjectTenant, "initech", "/any"), time.Time{})
		for labels, want := range map[[3]string]float64{
			{"any", "allowed", "enforce"}: 2, {"sso", "feature_missing", "enforce"}: 1, {"", "route_unmatched", "enforce"}: 1,
		} {
			if got := testutil.ToFloat64(w.gate.tallies.decisions.WithLabelValues(labels[:]...)); got != want {
				t.Errorf("%v: got %v, want %v", labels, got, want)
			}
		}
		source.fail(errors.New("down"))
		w.moveAWS(25 * time.Hour)
		settle(time.Second)
		w.decide("initech", "/any")
		if got := testutil.ToFloat64(w.gate.tallies.open.WithLabelValues("any", "stale")); got != 1 {
			t.Errorf("fail open: got %v, want 1", got)
		}
	})
}

// broken panics where a request's attributes are read.
type broken struct{ bare }

func (broken) Headers() int { panic("broken") }

func TestPanicIsAFault(t *testing.T) {
	for word, want := range map[string]policy.Effect{"deny": policy.Deny, "allow": policy.Allow} {
		bubble(t, word, func(t *testing.T) {
			w := open(t, &aws{}, t.TempDir(), func(o *Options) { o.Policy.Failure.Fault = word })
			r := request(policy.SubjectTenant, "initech", "/any")
			r.Attributes = broken{}
			d := w.gate.Decide(t.Context(), r)
			if d.Effect != want || d.Reason != policy.Fault {
				t.Errorf("got %v %s, want %v fault", d.Effect, d.Reason, want)
			}
		})
	}
}

// view is text that lies in a buffer, as a proxy's does, and poison what the next request writes there.
func view(s string) (text string, poison func()) {
	b := []byte(s)
	return unsafe.String(&b[0], len(b)), func() { copy(b, strings.Repeat("X", len(b))) }
}

func TestNothingOfARequestIsKeptBeyondTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.put(held(arn1, stranger, "basic"))
		slow(source, 5*time.Second)
		account, poison := view(stranger)
		if got := w.decideAccount(t.Context(), account); got != policy.EntitlementsStale {
			t.Errorf("got %s, want entitlements_stale", got)
		}
		poison()
		settle(5 * time.Second)
		if got := w.decideAccount(t.Context(), stranger); got != policy.Allowed {
			t.Errorf("after the look-up ended: got %s, want allowed", got)
		}

		route, poison := view("any")
		r := request(policy.SubjectTenant, initech, "/any")
		r.Route, r.Attributes = route, broken{}
		w.gate.Decide(t.Context(), r)
		poison()
		if got := testutil.ToFloat64(w.gate.tallies.decisions.WithLabelValues("any", "fault", "enforce")); got != 1 {
			t.Errorf("faults of the route: got %v, want 1", got)
		}
	})
}

func TestExplainTellsEachStepOfALookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		r := request(policy.SubjectAccount, stranger, "/any")
		if d := w.gate.Explain(t.Context(), r, time.Time{}); d.Reason != policy.Allowed {
			t.Errorf("got %s, want allowed", d.Reason)
		}
		if len(r.Steps.Lines) < 4 {
			t.Errorf("got %q, want a line for each step", r.Steps.Lines)
		}
	})
}

func TestDecideOfAKnownSubjectAllocatesNothing(t *testing.T) {
	source := &aws{}
	source.put(held(arn1, initech, "enterprise"))
	w := open(t, source, t.TempDir())
	if err := w.sweep(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	r := request(policy.SubjectTenant, "initech", "/sso")
	ctx := t.Context()
	if d := w.gate.Decide(ctx, r); !d.Allowed() {
		t.Fatalf("got %s, want allowed", d.Reason)
	}
	if got := testing.AllocsPerRun(1000, func() { w.gate.Decide(ctx, r) }); got != 0 {
		t.Errorf("allocations: got %v, want 0", got)
	}
}

func TestReadersNeverSeeHalfAChange(t *testing.T) {
	// One buyer's license moves between two plans, whole; with the race detector this
	// also shows that readers and writers share nothing that changes.
	source := &aws{}
	source.put(held(arn1, initech, "basic"))
	w := open(t, source, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w.decide("initech", "/any")
				w.Status()
				w.Licenses("", 10)
				if _, err := w.reg.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 200 {
		dimension := []string{"basic", "enterprise"}[i%2]
		source.put(held(arn1, initech, dimension))
		if _, err := w.Hint(t.Context(), Hint{Product: "acme", License: arn1}); err != nil {
			t.Fatal(err)
		}
		want := []policy.Reason{policy.FeatureMissing, policy.Allowed}[i%2]
		w.wants(t, "initech", "/sso", want)
	}
	close(stop)
	wg.Wait()
}
