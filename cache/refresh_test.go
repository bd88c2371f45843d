package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/policy"
)

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// settle lets so much time pass, and all that falls due in it happen.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSweepFindsWhatWasBought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		w.wants(t, "initech", "/any", policy.Allowed)
		w.wants(t, "initech", "/sso", policy.FeatureMissing)
		if got := w.Ready(); len(got) != 0 {
			t.Errorf("not ready after the sweeps: %v", got)
		}
		source.put(held(arn1, initech, "enterprise"))
		settle(15*time.Minute + time.Second)
		w.wants(t, "initech", "/sso", policy.Allowed)
		if got := testutil.ToFloat64(w.metrics.repairs.WithLabelValues("acme")); got != 1 {
			t.Errorf("repairs: got %v, want 1", got)
		}
	})
}

func TestSweepFollowsWhicheverClockIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.moveAWS(16 * time.Minute)
		settle(time.Second)
		if got := w.source.asked(sweep); got != 2 {
			t.Errorf("sweeps after AWS time jumped ahead: got %d, want 2", got)
		}
		w.moveAWS(-time.Hour)
		settle(15*time.Minute + time.Second)
		if got := w.source.asked(sweep); got != 3 {
			t.Errorf("sweeps after AWS time went back and local time went on: got %d, want 3", got)
		}
	})
}

func TestIncompleteSweepConcludesNothingFromAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		source.put(held(arn2, "999988887777", "basic"))
		w := run(t, source, t.TempDir())
		confirmed := w.Snapshot().Confirmed("acme")
		source.mu.Lock()
		source.brokenAt = 1
		source.mu.Unlock()
		settle(16 * time.Minute)
		if got := w.Snapshot().Confirmed("acme"); !got.Equal(confirmed) {
			t.Errorf("an incomplete sweep confirmed at %s", got)
		}
		if n := source.asked("license "+string(arn1)) + source.asked("license "+string(arn2)); n != 0 {
			t.Errorf("%d licenses were thought missing", n)
		}
		w.wants(t, "initech", "/any", policy.Allowed)
	})
}

func TestLicenseMissingFromSweepEndsAfterTwoReadsOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		settle(20 * time.Second)
		shown := w.Snapshot().Confirmed("acme")
		source.drop(arn1)
		settle(15*time.Minute - 20*time.Second + 2*look)
		if got := source.asked("license " + string(arn1)); got != 1 {
			t.Fatalf("reads of the missing license: got %d, want 1", got)
		}
		w.wants(t, "initech", "/any", policy.Allowed)
		settle(29 * time.Second)
		w.wants(t, "initech", "/any", policy.Allowed)
		settle(2 * time.Second)
		w.wants(t, "initech", "/any", policy.LicenseEnded)
		if got := source.asked("account " + initech); got != 1 {
			t.Errorf("reads of all that the buyer holds: got %d, want 1", got)
		}
		if l, _ := w.Snapshot().License(arn1); !l.Ended.Equal(shown) {
			t.Errorf("ended %s, last shown %s", l.Ended, shown)
		}
		if got := testutil.ToFloat64(w.metrics.repairs.WithLabelValues("acme")); got != 1 {
			t.Errorf("repairs: got %v, want 1", got)
		}
	})
}

func TestLicenseThatComesBackBetweenTheTwoReadsGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		source.drop(arn1)
		w.hint(t, Hint{Product: "acme", License: arn1, Account: initech})
		settle(15 * time.Second)
		w.wants(t, "initech", "/any", policy.Allowed) // although the reads after 2 and 10 s did not show it either
		source.put(held(arn1, initech, "basic"))
		settle(5 * time.Minute)
		w.wants(t, "initech", "/any", policy.Allowed)
		source.drop(arn1)
		shown, _ := w.Snapshot().License(arn1)
		w.hint(t, Hint{Product: "acme", License: arn1, Account: initech})
		settle(time.Second)
		w.wants(t, "initech", "/any", policy.Allowed) // the count of two began anew
		settle(time.Minute)
		w.wants(t, "initech", "/any", policy.LicenseEnded)
		if l, _ := w.Snapshot().License(arn1); !l.Ended.Equal(shown.Read) {
			t.Errorf("ended %s, last shown %s", l.Ended, shown.Read)
		}
	})
}

func TestLicenseBoughtDuringASweepIsNotMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &aws{}, t.TempDir())
		r := w.begin(target{product: "acme"})
		bought := w.begin(target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: initech}})
		bought.found, bought.complete = []policy.License{held(arn1, initech, "basic")}, true
		w.apply(bought)
		if missing := w.finishSweep(r, nil); len(missing) != 0 {
			t.Errorf("missing: got %d licenses, want none", len(missing))
		}
	})
}

func TestEndedEventNeedsAReadThatAgrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		settle(time.Minute)
		event := Hint{Product: "acme", License: arn1, Account: initech, At: time.Now(), Ended: true}
		if w.hint(t, event) {
			t.Error("the event alone changed something")
		}
		w.wants(t, "initech", "/any", policy.Allowed)
		source.drop(arn1)
		settle(2*time.Second + 2*look) // the read is repeated after 2 s, and agrees
		w.wants(t, "initech", "/any", policy.LicenseEnded)
		if l, _ := w.Snapshot().License(arn1); !l.Ended.Equal(event.At) {
			t.Errorf("ended %s, the event says %s", l.Ended, event.At)
		}
	})
}

func TestEndedEventThatNoReadAgreesWithIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		settle(time.Minute)
		w.hint(t, Hint{Product: "acme", License: arn1, Account: initech, At: time.Now(), Ended: true})
		settle(2 * time.Minute)
		source.drop(arn1)
		w.hint(t, Hint{Product: "acme", License: arn1, Account: initech})
		w.wants(t, "initech", "/any", policy.Allowed)
	})
}

func TestReplacedLicenseDeniesNoRequestAtAnyMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		source.drop(arn1)
		source.put(held(arn2, initech, "enterprise"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 2000 {
				w.wants(t, "initech", "/any", policy.Allowed)
				time.Sleep(time.Millisecond)
			}
		}()
		if !w.hint(t, Hint{Product: "acme", License: arn1, Account: initech, At: time.Now(), Ended: true}) {
			t.Error("nothing changed")
		}
		w.wants(t, "initech", "/sso", policy.Allowed)
		<-done
	})
}

func TestEndedLicenseIsForgottenAfter90Days(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		source.drop(arn1)
		w.hint(t, Hint{Product: "acme", License: arn1, Account: initech, At: time.Now(), Ended: true})
		w.moveAWS(89 * 24 * time.Hour)
		settle(time.Second)
		w.wants(t, "initech", "/any", policy.LicenseEnded)
		w.moveAWS(2 * 24 * time.Hour)
		settle(time.Second)
		w.wants(t, "initech", "/any", policy.LicenseMissing)
	})
}

func TestHintsOfOneLicenseAreOneFurtherRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		source.mu.Lock()
		source.delay = time.Second
		source.mu.Unlock()
		source.forgetCalls()
		results := make(chan bool, 50)
		for range 50 {
			go func() {
				changed, err := w.Hint(t.Context(), Hint{Product: "acme", License: arn1})
				results <- changed && err == nil
			}()
			time.Sleep(10 * time.Millisecond)
		}
		source.put(held(arn1, initech, "enterprise")) // the first read has its answer already
		changes := 0
		for range 50 {
			if <-results {
				changes++
			}
		}
		if got := source.asked("license " + string(arn1)); got != 2 {
			t.Errorf("reads for 50 hints within the first: got %d, want 2", got)
		}
		if changes != 49 {
			t.Errorf("hints that were told of the change: got %d, want the 49 after the first", changes)
		}
		w.wants(t, "initech", "/sso", policy.Allowed)
	})
}

func TestHintWithoutChangeIsReadAgainAfter2And10And60Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		settle(time.Minute)
		source.forgetCalls()
		began := time.Now()
		w.hint(t, Hint{Product: "acme", License: arn1, At: time.Now()})
		settle(3 * time.Minute)
		want := []time.Duration{0, 2 * time.Second, 10 * time.Second, time.Minute}
		var got []time.Duration
		for _, call := range source.calls {
			got = append(got, call.at.Sub(began))
		}
		if len(got) != len(want) {
			t.Fatalf("reads after %v, want %v", got, want)
		}
		for i := range want {
			if d := got[i] - want[i]; d < 0 || d > 2*look {
				t.Errorf("read %d after %s, want %s", i, got[i], want[i])
			}
		}
	})
}

func TestHintStopsReadingAgainWhenTheChangeIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		settle(time.Minute)
		source.forgetCalls()
		w.hint(t, Hint{Product: "acme", License: arn1, At: time.Now()})
		source.put(held(arn1, initech, "enterprise"))
		settle(3 * time.Minute)
		if got := source.asked("license " + string(arn1)); got != 2 {
			t.Errorf("reads: got %d, want the hint's and the one after 2 s", got)
		}
		w.wants(t, "initech", "/sso", policy.Allowed)
	})
}

func TestHintOlderThanTheLastChangeIsNotReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		old := time.Now()
		source.forgetCalls()
		w.hint(t, Hint{Product: "acme", License: arn1, At: old})
		settle(3 * time.Minute)
		if got := source.asked(""); got != 1 {
			t.Errorf("reads: got %d, want 1", got)
		}
	})
}

func TestHintOfABuyerReadsTheBuyerAndOneOfNobodySweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		legacy := held("code/cust-1", "", "basic")
		legacy.Customer = "cust-1"
		source.put(legacy)
		if !w.hint(t, Hint{Product: "acme", Customer: "cust-1"}) {
			t.Error("the customer's license was not found")
		}
		w.wants(t, "legacy", "/any", policy.Allowed)
		source.put(held(arn1, initech, "basic"))
		source.forgetCalls()
		w.hint(t, Hint{Product: "acme"})
		w.hint(t, Hint{Product: "acme"})
		settle(time.Second)
		if got := source.asked(sweep); got < 1 || got > 2 {
			t.Errorf("sweeps: got %d, want 1 or 2", got)
		}
		w.wants(t, "initech", "/any", policy.Allowed)
	})
}

func TestHintFindsALicenseThatTheEventSpellsInItsOwnWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		source.drop(arn1)
		w.hint(t, Hint{License: "aws:license-manager:us-east-1:123456789012:l-1", Account: initech, Ended: true})
		w.wants(t, "initech", "/any", policy.LicenseEnded)
		source.put(held(arn2, "999988887777", "basic"))
		if !w.hint(t, Hint{Product: "acme", License: "aws:license-manager:us-east-1:123456789012:l-2", Account: "999988887777"}) {
			t.Error("a new license was not found by its account")
		}
	})
}

func TestHintIsNotDelayedByASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		release := make(chan struct{})
		w := run(t, source, t.TempDir())
		source.mu.Lock()
		source.hold = func(call string) {
			if call == sweep {
				<-release
			}
		}
		source.mu.Unlock()
		settle(16 * time.Minute) // a sweep has its answer and does not give it
		source.put(held(arn1, initech, "enterprise"))
		if !w.hint(t, Hint{Product: "acme", License: arn1}) {
			t.Error("the hint waited")
		}
		close(release)
		synctest.Wait()
		w.wants(t, "initech", "/sso", policy.Allowed) // the older sweep did not undo it
	})
}

func TestHintGoesOnWhenItsCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.put(held(arn1, initech, "basic"))
		source.mu.Lock()
		source.delay = time.Second
		source.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := w.Hint(ctx, Hint{Product: "acme", License: arn1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		settle(2 * time.Second)
		w.wants(t, "initech", "/any", policy.Allowed)
	})
}

func TestRacingReadsEndWithTheOneThatBeganLast(t *testing.T) {
	// Three reads, each of which shows another plan, end in every order.
	dimensions := []string{"basic", "enterprise", "basic"}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for last := range dimensions {
			bubble(t, fmt.Sprintf("order %v of the first %d", order, last+1), func(t *testing.T) {
				w := open(t, &aws{}, t.TempDir())
				reads := make([]*reading, last+1)
				for i := range reads {
					reads[i] = w.begin(target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: initech}})
					reads[i].found, reads[i].complete = []policy.License{held(arn1, initech, dimensions[i])}, true
				}
				for _, i := range order {
					if i <= last {
						w.apply(reads[i])
					}
				}
				l, _ := w.Snapshot().License(arn1)
				if got := l.Entitlements[0].Dimension; got != dimensions[last] {
					t.Errorf("got %s, want %s", got, dimensions[last])
				}
			})
		}
	}
}

func TestReadThatBeganBeforeTheLastSweepChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := open(t, source, t.TempDir())
		old := w.begin(target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: initech}})
		source.put(held(arn1, initech, "basic"))
		if err := w.sweep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if err := w.sweep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		middle := w.begin(old.target)
		if err := w.sweep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*reading{old, middle} {
			r.complete = true
			w.apply(r)
			if _, missed := w.absence(arn1); missed {
				t.Error("an older read made the license missing")
			}
			r.found = []policy.License{held(arn1, initech, "enterprise")}
			if w.apply(r) != 0 {
				t.Error("an older read changed the license")
			}
		}
	})
}

func TestExpiryIsAMinimum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		l := held(arn1, initech, "basic")
		l.Entitlements[0].Expires = time.Now().Add(time.Hour)
		source.put(l)
		w := run(t, source, t.TempDir(), func(o *Options) { o.Updates.Sweep = 24 * time.Hour })
		source.forgetCalls()
		settle(time.Hour + 3*time.Second)
		if got := source.asked("license " + string(arn1)); got != 1 {
			t.Errorf("reads at expiry: got %d, want 1", got)
		}
		w.wants(t, "initech", "/any", policy.Allowed) // grace
		settle(5 * time.Minute)
		if got := source.asked("license " + string(arn1)); got != 2 {
			t.Errorf("reads 5 min after: got %d, want 2", got)
		}
		w.wants(t, "initech", "/any", policy.LicenseExpired)

		renewed := held(arn1, initech, "basic")
		source.put(renewed)
		w.hint(t, Hint{Product: "acme", License: arn1})
		w.wants(t, "initech", "/any", policy.Allowed)
		if l, _ := w.Snapshot().License(arn1); !l.TermStarts.Equal(l.Read) || l.TermStarts.Equal(l.Starts) {
			t.Errorf("term began %s, want when the renewal was seen, %s", l.TermStarts, l.Read)
		}
	})
}

func TestSweepThatStillShowsTheOldDateEndsTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		l := held(arn1, initech, "basic")
		l.Entitlements[0].Expires = time.Now().Add(time.Hour)
		source.put(l)
		w := open(t, source, t.TempDir())
		for _, step := range []struct {
			after time.Duration
			want  policy.Reason
		}{{0, policy.Allowed}, {time.Hour, policy.Allowed}, {5 * time.Minute, policy.LicenseExpired}} {
			time.Sleep(step.after)
			if err := w.sweep(t.Context(), "acme"); err != nil {
				t.Fatal(err)
			}
			w.renewLapsed(time.Now())
			w.wants(t, "initech", "/any", step.want)
		}
	})
}

func TestRenewalAtExpiryDeniesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		l := held(arn1, initech, "basic")
		l.Entitlements[0].Expires = time.Now().Add(time.Hour)
		source.put(l)
		w := run(t, source, t.TempDir(), func(o *Options) { o.Updates.Sweep = 24 * time.Hour })
		settle(time.Hour + 2*time.Minute)
		source.put(held(arn1, initech, "basic"))
		for range 20 * 60 {
			settle(time.Second)
			w.wants(t, "initech", "/any", policy.Allowed)
		}
	})
}

func TestSweepThatFailsIsTriedAgainWithinTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.fail(errors.New("throttled"))
		w := run(t, source, t.TempDir(), func(o *Options) { o.BackOff = 2 * time.Second })
		if got := w.Ready(); len(got) != 1 || got[0].Reason != "no_entitlements" || !strings.Contains(got[0].Detail, "acme") {
			t.Errorf("got %v, want no_entitlements of acme", got)
		}
		settle(time.Minute)
		if got := source.asked(sweep); got < 25 || got > 60 {
			t.Errorf("sweeps in a minute of failures: got %d, want one each 1 to 2 s", got)
		}
		w.wants(t, "initech", "/any", policy.EntitlementsStale)
		source.fail(nil)
		source.put(held(arn1, initech, "basic"))
		settle(3 * time.Second)
		w.wants(t, "initech", "/any", policy.Allowed)
		if got := w.Ready(); len(got) != 0 {
			t.Errorf("not ready: %v", got)
		}
	})
}

func TestStaleEntitlementsAreNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		source.fail(errors.New("down"))
		w.moveAWS(25 * time.Hour)
		settle(time.Second)
		if got := w.Ready(); len(got) != 1 || got[0].Reason != "entitlements_stale" {
			t.Errorf("got %v, want entitlements_stale", got)
		}
		if got := w.Status()["acme"]; got.State != SourceStale || got.Licenses != 1 || got.Age < 24*time.Hour {
			t.Errorf("status: got %+v", got)
		}
		d := w.gate.Decide(t.Context(), request(policy.SubjectTenant, "initech", "/any"))
		if d.Mode != policy.Open || d.Cause != policy.CauseStale {
			t.Errorf("got %s %s, want open by stale", d.Mode, d.Cause)
		}
	})
}

func TestStepBackOfAWSTimeUndoesWhatLapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		l := held(arn1, initech, "basic")
		l.Entitlements[0].Expires = time.Now().Add(30 * 24 * time.Hour)
		source.put(l)
		w := run(t, source, t.TempDir())
		source.fail(errors.New("down"))
		w.moveAWS(40 * 24 * time.Hour)
		settle(time.Second)
		w.wants(t, "initech", "/any", policy.LicenseExpired)
		w.moveAWS(-40 * 24 * time.Hour)
		settle(time.Second)
		w.wants(t, "initech", "/any", policy.Allowed)
		source.fail(nil)
		source.put(held(arn1, initech, "enterprise"))
		w.hint(t, Hint{Product: "acme", License: arn1})
		w.wants(t, "initech", "/sso", policy.Allowed) // reads are in order although time went back
	})
}
