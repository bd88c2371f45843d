package cache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/policy"
)

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
