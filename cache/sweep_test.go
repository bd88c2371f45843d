package cache

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/policy"
)

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
