package cache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

// trial is what is shown of a tenant.
func (w *weir) trial(t *testing.T) bool {
	t.Helper()
	found, _ := w.gate.Entitlements(t.Context(), "initech", "acme")
	return found.Trial
}

func (w *weir) wantsTrial(t *testing.T, when string, want bool) {
	t.Helper()
	if got := w.trial(t); got != want {
		t.Errorf("%s: trial is %v, want %v", when, got, want)
	}
}

func TestATrialIsShownUntilItsEndAndKnownAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		w.wantsTrial(t, "before anything was told", false)
		told := policy.Trial{Free: true, Ends: time.Now().AddDate(0, 0, 14), Told: time.Now()}
		if !w.Trial("acme", arn1, told) || w.Trial("acme", arn2, told) || w.Trial("other", arn1, told) {
			t.Error("the license is known, and another, or that of another product, is not")
		}
		w.wantsTrial(t, "told", true)
		source.put(held(arn1, initech, "enterprise"))
		w.hint(t, Hint{Product: "acme", License: arn1})
		w.wantsTrial(t, "after a read, which says nothing of it", true)
		w.Trial("acme", arn1, policy.Trial{Told: told.Told.Add(-time.Hour)})
		w.wantsTrial(t, "after what was told before", true)
		w.restart(t)
		w.wantsTrial(t, "after a restart", true)
		settle(15 * 24 * time.Hour)
		w.wantsTrial(t, "after its end", false)
		w.wants(t, "initech", "/sso", policy.Allowed)
	})
}

func TestATrialDoesNotOutliveItsTermOrItsLicense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		told := policy.Trial{Free: true, Told: time.Now()}
		w.Trial("acme", arn1, told)
		renewed := held(arn1, initech, "basic")
		renewed.Entitlements[0].Expires = time.Now().AddDate(2, 0, 0)
		source.put(renewed)
		w.hint(t, Hint{Product: "acme", License: arn1})
		w.wantsTrial(t, "renewed", false)
		settle(time.Hour)
		w.Trial("acme", arn1, policy.Trial{Free: true, Told: time.Now()})
		w.wantsTrial(t, "told anew", true)
		settle(time.Hour)
		source.drop(arn1)
		w.hint(t, Hint{Product: "acme", License: arn1, Ended: true})
		source.put(renewed)
		w.hint(t, Hint{Product: "acme", License: arn1})
		w.wants(t, "initech", "/any", policy.Allowed)
		w.Trial("acme", arn1, told) // late news of the license that ended
		w.wantsTrial(t, "bought again after its end", false)
	})
}

func TestACustomersNotificationTellsOfHisTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir())
		bought := held("code/cust-1", "", "basic")
		bought.Customer = "cust-1"
		source.put(bought)
		w.hint(t, Hint{Product: "acme", Customer: "cust-1", Trial: &policy.Trial{Free: true, Told: time.Now()}})
		if found, _ := w.gate.Entitlements(t.Context(), "legacy", "acme"); !found.Trial {
			t.Error("the trial is not shown")
		}
	})
}

func TestARepeatedHintReadsOnlyWhatMemoryDoesNotShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		shown := time.Now()
		settle(time.Minute)
		reads := func(h Hint) int {
			h.Product, h.Repeated = "acme", true
			source.forgetCalls()
			w.hint(t, h)
			return source.asked("")
		}
		for name, tt := range map[string]struct {
			hint Hint
			want int
		}{
			"of before the change that was shown": {Hint{License: arn1, At: shown.Add(-time.Second)}, 0},
			"of after it":                         {Hint{License: arn1, At: shown.Add(time.Second)}, 1},
			"of no time":                          {Hint{License: arn1}, 1},
			"of an end":                           {Hint{License: arn1, At: shown.Add(-time.Second), Ended: true}, 1},
			"of a license unknown":                {Hint{License: arn2, At: shown.Add(-time.Second)}, 1},
			"of a buyer":                          {Hint{Account: initech, At: shown.Add(-time.Second)}, 1},
		} {
			if got := reads(tt.hint); got != tt.want {
				t.Errorf("a hint %s: %d reads, want %d", name, got, tt.want)
			}
		}
		source.drop(arn1)
		w.hint(t, Hint{Product: "acme", License: arn1, Ended: true})
		if got := reads(Hint{License: arn1, At: time.Now(), Ended: true}); got != 0 {
			t.Errorf("a hint of an end that is known: %d reads", got)
		}
	})
}
