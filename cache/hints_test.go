package cache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

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

func TestAnEarlierHintTakesNothingFromOneThatToldOfAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		settle(time.Minute)
		source.mu.Lock()
		source.delay = time.Second
		source.mu.Unlock()
		done := make(chan error, 2)
		hint := func(h Hint) {
			_, err := w.Hint(t.Context(), h)
			done <- err
		}
		go hint(Hint{Product: "acme", License: arn1, At: time.Now().Add(-time.Hour)})
		time.Sleep(100 * time.Millisecond) // its read has its answer, and no change in it
		source.drop(arn1)
		go hint(Hint{Product: "acme", License: arn1, Account: initech, Ended: true, At: time.Now()})
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		w.wants(t, "initech", "/any", policy.LicenseEnded)
	})
}

func TestAReadOfOneLicenseDoesNotEndItBeforeWhatReplacedItIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		settle(time.Minute)
		slow := make(chan struct{})
		source.mu.Lock()
		source.hold = func(call string) {
			if call == "account "+initech {
				<-slow
			}
		}
		source.mu.Unlock()
		source.drop(arn1)
		source.put(held(arn2, initech, "enterprise"))
		done := make(chan error, 1)
		go func() {
			_, err := w.Hint(t.Context(), Hint{Product: "acme", License: arn1, Account: initech, Ended: true, At: time.Now()})
			done <- err
		}()
		synctest.Wait()
		w.hint(t, Hint{Product: "acme", License: arn1, At: time.Now()}) // such as an earlier one's further read
		w.wants(t, "initech", "/any", policy.Allowed)
		close(slow)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		w.wants(t, "initech", "/sso", policy.Allowed)
		if l, _ := w.Snapshot().License(arn1); l.Ended.IsZero() {
			t.Error("the replaced license has not ended")
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

func TestHintOfACustomerWhomAWSDoesNotNameAsksForASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		source.put(held(arn1, initech, "basic")) // with no CustomerIdentifier
		source.forgetCalls()
		w.hint(t, Hint{Product: "acme", Customer: "cust-1", At: time.Now()})
		settle(3 * time.Minute)
		if got := source.asked(sweep); got != 1 {
			t.Errorf("sweeps: got %d, want 1", got)
		}
		if got := source.asked("customer cust-1"); got != 1 {
			t.Errorf("reads of the customer: got %d, want 1: he is not named at any time", got)
		}
		w.wants(t, "initech", "/any", policy.Allowed)
	})
}
