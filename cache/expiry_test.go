package cache

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

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

func TestALicenseWhoseCopyIsLostGoesOnWithTheTermThatItsUsageTells(t *testing.T) {
	source := &aws{}
	source.put(held(arn1, initech, "basic"))
	source.put(held(arn2, "222222222222", "basic"))
	term := time.Now().UTC().Add(-time.Hour)
	w := open(t, source, t.TempDir(), func(o *Options) {
		o.Term = func(key policy.Key) time.Time {
			if key == arn1 {
				return term
			}
			return time.Time{}
		}
	})
	if err := w.sweep(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if l, _ := w.Snapshot().License(arn1); !l.TermStarts.Equal(term) {
		t.Errorf("term began %s, want %s", l.TermStarts, term)
	}
	if l, _ := w.Snapshot().License(arn2); !l.TermStarts.Equal(l.Read) {
		t.Errorf("of a license without usage the term began %s, want when it was seen, %s", l.TermStarts, l.Read)
	}
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

func TestWhatIsKnownOfARenewalIsKeptUntilTheDateMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, dir := &aws{}, t.TempDir()
		l := held(arn1, initech, "basic")
		l.Entitlements[0].Expires = time.Now().Add(time.Hour)
		l.Renewal = policy.RenewalDue
		source.put(l)
		w := run(t, source, dir, func(o *Options) { o.Updates.Sweep = 24 * time.Hour })
		l.Renewal = policy.RenewalUnknown // AWS does not answer that any more
		source.put(l)
		settle(2 * time.Hour) // read again, long after the date
		w.wants(t, "initech", "/any", policy.Allowed)
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		again := run(t, source, dir)
		again.wants(t, "initech", "/any", policy.Allowed)

		source.put(held(arn1, initech, "basic"))
		again.hint(t, Hint{Product: "acme", License: arn1})
		if l, _ := again.Snapshot().License(arn1); l.Renewal != policy.RenewalUnknown {
			t.Errorf("of the new date %d is known, want nothing", l.Renewal)
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
