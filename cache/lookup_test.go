package cache

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

const stranger = "222233334444"

func (w *weir) decideAccount(ctx context.Context, account string) policy.Reason {
	d := w.gate.Decide(ctx, request(policy.SubjectAccount, account, "/any"))
	return d.Reason
}

func slow(source *aws, d time.Duration) {
	source.mu.Lock()
	defer source.mu.Unlock()
	source.delay = d
}

func TestUnknownAccountIsLookedUpOnceForAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.put(held(arn1, stranger, "basic"))
		slow(source, 100*time.Millisecond)
		source.forgetCalls()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i == 0 {
					time.AfterFunc(time.Millisecond, cancel) // the caller that began it
				} else {
					time.Sleep(time.Microsecond)
				}
				want := policy.Allowed
				if i == 0 {
					want = policy.EntitlementsStale
				}
				if got := w.decideAccount(ctx, stranger); got != want {
					t.Errorf("caller %d: got %s, want %s", i, got, want)
				}
			})
		}
		wg.Wait()
		if got := source.asked(""); got != 1 {
			t.Errorf("look-ups: got %d, want 1", got)
		}
	})
}

func TestLookUpTakesNoLongerThanItsBudgetAndGoesOnWithoutItsCaller(t *testing.T) {
	tests := []struct {
		name     string
		deadline time.Duration // of the caller; 0: none
		want     time.Duration
	}{
		{"without a deadline", 0, 150 * time.Millisecond},
		{"with a late deadline", time.Second, 150 * time.Millisecond},
		{"with an early deadline", 100 * time.Millisecond, 80 * time.Millisecond},
		{"with hardly any time", 10 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			source := &aws{}
			w := run(t, source, t.TempDir())
			source.put(held(arn1, stranger, "basic"))
			slow(source, 5*time.Second)
			ctx := t.Context()
			if tt.deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				defer cancel()
			}
			began := time.Now()
			if got := w.decideAccount(ctx, stranger); got != policy.EntitlementsStale {
				t.Errorf("got %s, want entitlements_stale", got)
			}
			if got := time.Since(began); got != tt.want {
				t.Errorf("took %s, want %s", got, tt.want)
			}
			settle(5 * time.Second)
			if got := w.decideAccount(t.Context(), stranger); got != policy.Allowed {
				t.Errorf("after the look-up ended: got %s, want allowed", got)
			}
		})
	}
}

func TestNothingFoundIsRememberedFor30SecondsOfEitherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.forgetCalls()
		ask := func(lookups int, when string) {
			t.Helper()
			if got := w.decideAccount(t.Context(), stranger); got != policy.LicenseMissing {
				t.Errorf("%s: got %s, want license_missing", when, got)
			}
			w.negatives.entries.Wait()
			if got := source.asked("account " + stranger); got != lookups {
				t.Errorf("look-ups %s: got %d, want %d", when, got, lookups)
			}
		}
		ask(1, "at first")
		settle(29 * time.Second)
		ask(1, "29 s after")
		settle(2 * time.Second)
		ask(2, "31 s after")
		w.moveAWS(31 * time.Second)
		ask(3, "after AWS time jumped")
	})
}

func TestNegativeEntryIsDroppedByWhateverNamesTheBuyer(t *testing.T) {
	found := held(arn1, stranger, "basic")
	tests := map[string]func(t *testing.T, w *weir){
		"a hint of the license": func(t *testing.T, w *weir) {
			w.hint(t, Hint{Product: "acme", License: arn1, Account: stranger})
		},
		"a hint of the account": func(t *testing.T, w *weir) {
			w.hint(t, Hint{Account: stranger})
		},
		"a hint whose read fails": func(t *testing.T, w *weir) {
			w.source.fail(errors.New("throttled"))
			if _, err := w.Hint(t.Context(), Hint{Account: stranger}); err == nil {
				t.Error("the failure was not told")
			}
			w.source.fail(nil)
		},
		"a sweep": func(t *testing.T, w *weir) {
			if err := w.sweep(t.Context(), "acme"); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, happens := range tests {
		bubble(t, name, func(t *testing.T) {
			w := run(t, &aws{}, t.TempDir())
			w.decideAccount(t.Context(), stranger)
			w.negatives.entries.Wait()
			entry := target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: stranger}}
			if !w.negatives.has(entry, w.awsNow(), time.Now()) {
				t.Fatal("no negative entry to drop")
			}
			w.source.put(found)
			happens(t, w)
			if w.negatives.has(entry, w.awsNow(), time.Now()) {
				t.Error("the entry is still there")
			}
			if got := w.decideAccount(t.Context(), stranger); got != policy.Allowed {
				t.Errorf("got %s, want allowed", got)
			}
		})
	}
}

func TestNotificationDuringALookUpLeavesNoNegativeEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		slow(source, time.Second)
		w.decideAccount(t.Context(), stranger) // its answer, nothing, is on its way
		source.fail(errors.New("throttled"))
		go func() { _, _ = w.Hint(t.Context(), Hint{Product: "acme", License: arn1, Account: stranger}) }()
		settle(1100 * time.Millisecond)
		w.negatives.entries.Wait()
		if w.negatives.has(target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: stranger}}, w.awsNow(), time.Now()) {
			t.Error("an answer from before the notification was remembered")
		}
	})
}

func TestFailedLookUpLeavesNoNegativeEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.fail(errors.New("throttled"))
		if got := w.decideAccount(t.Context(), stranger); got != policy.EntitlementsStale {
			t.Errorf("got %s, want entitlements_stale", got)
		}
		w.negatives.entries.Wait()
		source.fail(nil)
		source.put(held(arn1, stranger, "basic"))
		if got := w.decideAccount(t.Context(), stranger); got != policy.Allowed {
			t.Errorf("got %s, want allowed", got)
		}
	})
}

// strangers is how many unknown accounts ask in a flood.
var strangers = flag.Int("strangers", 1_000_000, "unknown accounts in a flood")

func TestFloodOfUnknownAccountsCostsFiveCallsASecondAndNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.forgetCalls()
		before := heapInUse()
		for i := range *strangers {
			if i%(*strangers/100) == 0 {
				time.Sleep(100 * time.Millisecond)
			}
			if got := w.decideAccount(t.Context(), fmt.Sprintf("%012d", i)); got == policy.Allowed {
				t.Fatal("a stranger was allowed")
			}
		}
		calls := source.calls
		for i := range calls {
			if i >= entitlementLookups && calls[i].at.Sub(calls[i-entitlementLookups].at) < time.Second {
				t.Fatalf("calls %d to %d within a second", i-entitlementLookups, i)
			}
		}
		if len(calls) < 40 || len(calls) > 51 {
			t.Errorf("calls in 10 s: got %d, want about 50", len(calls))
		}
		if grown := heapInUse() - before; grown > 8<<20 {
			t.Errorf("memory grew by %d bytes for %d strangers", grown, *strangers)
		}
		if n := w.Snapshot().accounts.len(); n != 0 {
			t.Errorf("the snapshot holds %d strangers", n)
		}
	})
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestTenantTiedToAnUnknownAccountIsLookedUpByItsAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.forgetCalls()
		source.put(held(arn1, initech, "basic"))
		w.wants(t, "initech", "/any", policy.Allowed)
		if got := source.asked("account " + initech); got != 1 {
			t.Errorf("look-ups of the tenant's account: got %d, want 1", got)
		}
	})
}

func TestTenantsThatAreTiedToNothingCostNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.forgetCalls()
		w.wants(t, "nobody", "/any", policy.LicenseMissing)
		w.wants(t, "elsewhere", "/any", policy.LicenseMissing)
		w.wants(t, "narrow", "/any", policy.LicenseMissing)
		w.wants(t, "bigcorp", "/sso", policy.Allowed)
		w.wants(t, "bigcorp", "/other", policy.Allowed)
		w.wants(t, "elsewhere", "/other", policy.Allowed)
		if got := source.asked(""); got != 0 {
			t.Errorf("calls: got %d, want none", got)
		}
		l, ok := w.Snapshot().License("direct:bigcorp")
		if !ok || l.Direct != "bigcorp" || l.Plan != "enterprise" {
			t.Errorf("got %+v, want bigcorp's own license", l)
		}
	})
}

func TestNothingIsLookedUpWhenTheCacheDoesNotRun(t *testing.T) {
	source := &aws{}
	w := open(t, source, t.TempDir())
	if got := w.decideAccount(t.Context(), stranger); got != policy.EntitlementsStale {
		t.Errorf("got %s, want entitlements_stale", got)
	}
	if got := source.asked(""); got != 0 {
		t.Errorf("calls: got %d, want none", got)
	}
}

func TestALookUpDoesNotWaitForTheReadOfANotificationThatHasNoTurnYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.put(held(arn1, stranger, "basic"))
		turn := make(chan struct{})
		first := true
		source.mu.Lock()
		source.hold = func(string) {
			source.mu.Lock()
			waits := first
			first = false
			source.mu.Unlock()
			if waits {
				<-turn
			}
		}
		source.mu.Unlock()
		hint := make(chan error, 1)
		go func() {
			_, err := w.Hint(t.Context(), Hint{Product: "acme", Account: stranger})
			hint <- err
		}()
		synctest.Wait()
		for range 3 {
			if got := w.decideAccount(t.Context(), stranger); got != policy.Allowed {
				t.Errorf("got %s, want allowed: the notification's read waits in a burst", got)
			}
		}
		if got := source.asked("account " + stranger); got != 2 {
			t.Errorf("reads: got %d, want the notification's and one look-up", got)
		}
		close(turn)
		if err := <-hint; err != nil {
			t.Error(err)
		}
	})
}

func TestALookUpBesideANotificationLeavesNoNegativeEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		slow(source, time.Second)
		go func() { _, _ = w.Hint(t.Context(), Hint{Product: "acme", Account: stranger}) }()
		settle(10 * time.Millisecond)
		w.decideAccount(t.Context(), stranger)
		settle(1500 * time.Millisecond)
		w.negatives.entries.Wait()
		if w.negatives.has(target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: stranger}}, w.awsNow(), time.Now()) {
			t.Error("what a notification had named was remembered as unknown")
		}
	})
}

func TestALookUpThatHasNoQuotaJoinsTheReadOfANotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		for range entitlementLookups {
			free(w.quotas["acme"])
		}
		source.put(held(arn1, stranger, "basic"))
		slow(source, 50*time.Millisecond)
		go func() { _, _ = w.Hint(t.Context(), Hint{Product: "acme", Account: stranger}) }()
		synctest.Wait()
		if got := w.decideAccount(t.Context(), stranger); got != policy.Allowed {
			t.Errorf("got %s, want what the notification's read showed", got)
		}
	})
}
