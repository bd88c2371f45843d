package cache

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/policy"
)

func TestPinnedLicenseIsOneTenantsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.source.put(held(arn2, stranger, "enterprise"))
		w.tie(t, "all", Tie{Account: stranger})
		if got := w.tie(t, "pinned", Tie{License: arn2}); got.Account != stranger || !got.Licenses[0].Pinned {
			t.Errorf("got %+v", got)
		}
		w.wantsKeys(t, "all", "l-1")
		w.wantsKeys(t, "pinned", "l-2")
		w.wants(t, "all", "/sso", policy.FeatureMissing)
		w.wants(t, "pinned", "/sso", policy.Allowed)
		w.tie(t, "pinned", Tie{License: arn1})
		w.wants(t, "all", "/sso", policy.Allowed)
		w.wants(t, "pinned", "/sso", policy.FeatureMissing)
		d := w.gate.Decide(t.Context(), request(policy.SubjectAccount, stranger, "/sso"))
		if d.License != arn2 {
			t.Errorf("the account itself holds everything, got %+v", d)
		}
	})
}

func TestPinMovesInTheInstantInWhichItsLicenseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "enterprise"))
		w.tie(t, "hooli", Tie{License: arn1})
		w.source.put(held(arn2, stranger, "enterprise")) // nobody tells of the replacement
		stop := w.watch(t, "hooli", "/sso")
		w.end(t, arn1, stranger)
		stop()
		w.wantsKeys(t, "hooli", "l-2")
		if got := testutil.ToFloat64(w.metrics.pinMoves); got != 1 {
			t.Errorf("counted %v moves", got)
		}
		settle(time.Second)
		w.restart(t)
		w.wantsKeys(t, "hooli", "l-2")
	})
}

// watch sees to it that each snapshot lets a tenant's requests through.
func (w *weir) watch(t *testing.T, id, path string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for last := (*Snapshot)(nil); ; {
			if s := w.Snapshot(); s != last {
				last = s
				if d := w.policy.Decide(request(policy.SubjectTenant, id, path), s, w.awsNow()); !d.Allowed() {
					t.Errorf("a snapshot denies: %s", d.Reason)
				}
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }
}

func TestPinMovesWhenTheReplacementComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "hooli", Tie{License: arn1})
		w.end(t, arn1, stranger)
		w.wants(t, "hooli", "/any", policy.LicenseEnded)
		w.source.put(held(arn2, stranger, "basic"))
		w.hint(t, Hint{Product: "acme", License: arn2, Account: stranger})
		w.wants(t, "hooli", "/any", policy.Allowed)
		w.wantsKeys(t, "hooli", "l-2")
	})
}

func TestPinStaysWhereSeveralCouldTakeItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		for _, key := range []policy.Key{arn1, arn2, arn3} {
			w.source.put(held(key, stranger, "basic"))
		}
		w.tie(t, "hooli", Tie{License: arn1})
		w.end(t, arn1, stranger)
		w.wants(t, "hooli", "/any", policy.LicenseEnded)
		want := []UnsettledPin{{"hooli", arn1, []policy.Key{arn2, arn3}}}
		if diff := cmp.Diff(want, w.Pins()); diff != "" {
			t.Errorf("to settle, -want +got:\n%s", diff)
		}
		w.tie(t, "other-team", Tie{License: arn3}) // which leaves one
		w.wants(t, "hooli", "/any", policy.Allowed)
		w.wantsKeys(t, "hooli", "l-2")
		if got := w.Pins(); len(got) != 0 {
			t.Errorf("still to settle: %v", got)
		}
	})
}

func TestPinMovesToNoLicenseThatIsNotActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		suspended := held(arn2, stranger, "basic")
		suspended.Suspended = true
		w.source.put(suspended)
		elsewhere := held(arn3, "333344445555", "basic")
		w.source.put(elsewhere)
		w.tie(t, "hooli", Tie{License: arn1})
		w.end(t, arn1, stranger)
		w.wants(t, "hooli", "/any", policy.LicenseEnded)
		w.source.put(held(arn2, stranger, "basic"))
		w.hint(t, Hint{Product: "acme", License: arn2, Account: stranger})
		w.wants(t, "hooli", "/any", policy.Allowed)
	})
}

func TestPinnedLicenseThatMemoryLostIsLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "hooli", Tie{License: arn1})
		w.halt(t)
		if err := os.Remove(filepath.Join(w.dir, copyName)); err != nil {
			t.Fatal(err)
		}
		slow(w.source, 10*time.Second) // no sweep ends
		w.restart(t)
		slow(w.source, 0)
		w.wants(t, "hooli", "/any", policy.Allowed)
		if got := w.source.asked("license " + string(arn1)); got != 2 {
			t.Errorf("the license was read %d times, want once for the pin and once for the look-up", got)
		}
	})
}

// lose removes the copy of a cache that has ended, and starts another one on what is left.
func (w *weir) lose(t *testing.T) {
	t.Helper()
	w.halt(t)
	if err := os.Remove(filepath.Join(w.dir, copyName)); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
}

func TestPinOfALicenseThatEndedWhileMemoryWasLostMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "hooli", Tie{License: arn1})
		w.source.drop(arn1)
		w.source.put(held(arn2, stranger, "basic"))
		w.lose(t)
		settle(time.Second)
		w.wants(t, "hooli", "/any", policy.LicenseMissing)
		settle(secondAfter)
		w.wants(t, "hooli", "/any", policy.Allowed)
		w.wantsKeys(t, "hooli", "l-2")
		if got := testutil.ToFloat64(w.metrics.pinMoves); got != 1 {
			t.Errorf("counted %v moves", got)
		}
		w.restart(t)
		w.wantsKeys(t, "hooli", "l-2")
	})
}

func TestPinOfALostLicenseThatSeveralCouldFollowHasToBeSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "hooli", Tie{License: arn1})
		w.source.drop(arn1)
		w.source.put(held(arn2, stranger, "basic"))
		w.source.put(held(arn3, stranger, "basic"))
		w.lose(t)
		settle(time.Minute)
		want := []UnsettledPin{{"hooli", arn1, []policy.Key{arn2, arn3}}}
		if diff := cmp.Diff(want, w.Pins()); diff != "" {
			t.Errorf("to settle, -want +got:\n%s", diff)
		}
	})
}

func TestPinOfALicenseThatAWSStillShowsStaysWhenMemoryWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.source.put(held(arn2, stranger, "basic"))
		w.tie(t, "hooli", Tie{License: arn1})
		w.lose(t)
		settle(5 * time.Minute)
		w.wantsKeys(t, "hooli", "l-1")
	})
}
