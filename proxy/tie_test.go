package proxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/policy"
)

// held is the decision on a request that is let through and waits for its entry.
func held() policy.Decision {
	d := allowed()
	d.Quota.Receipt = policy.Receipt{Kind: policy.Pending, Number: 7}
	return d
}

func TestB04EveryMeteredRequestThatIsLetThroughHasAToken(t *testing.T) {
	counted, shadow, refused, open, denied, nothing := held(), held(), exhausted(), held(), exhausted(), allowed()
	counted.Quota.Receipt.Kind = policy.Counted
	shadow.Quota.Receipt.Kind, shadow.Mode = policy.Shadowed, policy.Shadow
	refused.Quota.Receipt.Kind, refused.Effect, refused.Mode = policy.Uncounted, policy.Allow, policy.Shadow
	open.Mode, open.Cause, open.Reason = policy.Open, policy.CauseStale, policy.EntitlementsStale
	denied.Quota.Receipt = held().Quota.Receipt
	for name, tt := range map[string]struct {
		d             policy.Decision
		want          string
		wantAbandoned []string
	}{
		"held":             {d: held(), want: "reports/7"},
		"counted":          {d: counted, want: "reports/7"},
		"shadow":           {d: shadow, want: "reports/7"},
		"shadow, refused":  {d: refused, want: "reports/0"},
		"open":             {d: open, want: "reports/7"},
		"nothing metered":  {d: nothing},
		"denied":           {d: exhausted()},
		"denied, yet held": {d: denied, wantAbandoned: []string{"3378068729452737838/7"}},
	} {
		a := newAuthorization(t, func(context.Context, *policy.Request) policy.Decision { return tt.d })
		out, err := a.Check(t.Context(), checkOf(nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := fields(out)["check"]; got != tt.want {
			t.Errorf("%s: check is %q, want %q", name, got, tt.want)
		}
		if got := a.tokens.(*counting).all(); !cmp.Equal(got, tt.wantAbandoned) {
			t.Errorf("%s: abandoned %q, want %q", name, got, tt.wantAbandoned)
		}
	}
}

func TestB04ACheckWhoseCallerWentAwayIsAbandoned(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := newAuthorization(t, func(context.Context, *policy.Request) policy.Decision {
		cancel()
		return held()
	})
	if out, err := a.Check(ctx, checkOf(nil)); out != nil || status.Code(err) != codes.Unavailable {
		t.Errorf("answered %v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"3378068729452737838/7"}, a.tokens.(*counting).all()); diff != "" {
		t.Errorf("abandoned (-want +got):\n%s", diff)
	}
}

func TestB04ACheckThatCantBeAnsweredIsAbandoned(t *testing.T) {
	a := newAuthorization(t, func(context.Context, *policy.Request) policy.Decision { return held() })
	a.now = func() time.Time { panic("bad day") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the clock did not panic")
			}
		}()
		_, _ = a.Check(t.Context(), checkOf(nil))
	}()
	if diff := cmp.Diff([]string{"3378068729452737838/7"}, a.tokens.(*counting).all()); diff != "" {
		t.Errorf("abandoned (-want +got):\n%s", diff)
	}
}

// draining runs a drain to its end, and says how long it went on answering checks and waiting.
func draining(t *testing.T, d *drain, pending func(since time.Duration) int64) (answered, waited time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	d.enter() // without a check nothing is waited for
	go func() {
		d.run(ctx, func() int64 { return pending(time.Since(began)) })
		close(done)
	}()
	for answered = 0; d.enter(); answered = time.Since(began) {
		time.Sleep(drainLook)
	}
	<-done
	return answered, time.Since(began)
}

func TestB04DrainingWaitsForEntriesButNoLongerThanItsBounds(t *testing.T) {
	for name, tt := range map[string]struct {
		pending          func(time.Duration) int64
		answered, waited time.Duration
	}{
		"nothing waits":          {func(time.Duration) int64 { return 0 }, 0, 0},
		"entries come":           {func(d time.Duration) int64 { return int64(max(0, time.Second-d)) }, time.Second, time.Second},
		"checks go on for ever":  {func(time.Duration) int64 { return 1 }, drainTimeout, 2 * drainTimeout},
		"the last comes in time": {func(d time.Duration) int64 { return int64(max(0, 7*time.Second-d)) }, drainTimeout, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answered, waited := draining(t, newDrain(), tt.pending)
				if (answered - tt.answered).Abs() > 2*drainLook {
					t.Errorf("checks were answered for %v, want %v", answered, tt.answered)
				}
				if (waited - tt.waited).Abs() > 2*drainLook {
					t.Errorf("waited for %v, want %v", waited, tt.waited)
				}
			})
		})
	}
}

func TestB04DrainingDoesNotWaitWhereTheLastCheckIsLongOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrain()
		d.enter()
		time.Sleep(drainTimeout - time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		d.run(ctx, func() int64 { return 1 })
		if got := time.Since(began); got != time.Second {
			t.Errorf("waited for %v, want the second that is left", got)
		}
		if d.enter() {
			t.Error("a check is still answered")
		}
	})
}
