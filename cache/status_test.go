package cache

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/policy"
)

func TestLicensesAreListedByKeyInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn2, stranger, "basic"))
		source.put(held(arn1, initech, "enterprise"))
		w := run(t, source, t.TempDir())
		var got []string
		for after, more := policy.Key(""), true; more; {
			var page []LicenseStatus
			page, more = w.Licenses(after, 1)
			for _, l := range page {
				got = append(got, string(l.License.Key)+" "+l.Plan+" "+l.State.String())
				after = l.License.Key
			}
		}
		want := []string{string(arn1) + " enterprise active", string(arn2) + " basic active", "direct:bigcorp enterprise active", "direct:elsewhere basic active"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("licenses, -want +got:\n%s", diff)
		}
	})
}

func TestConfirmedIsTheLastReadThatShowedTheLicense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		w := run(t, source, t.TempDir())
		began := time.Now()
		settle(16 * time.Minute)
		shown, ok := w.License(arn1)
		if !ok || shown.Confirmed.Sub(began) < 15*time.Minute {
			t.Errorf("confirmed %s, want the second sweep", shown.Confirmed)
		}
		source.drop(arn1)
		source.mu.Lock()
		source.hold = func(call string) {
			if call != sweep {
				time.Sleep(time.Hour) // AWS does not answer for the license
			}
		}
		source.mu.Unlock()
		settle(15 * time.Minute)
		if got, _ := w.License(arn1); got.Confirmed.After(shown.Confirmed) {
			t.Errorf("confirmed %s by a sweep that did not show it, want %s or before", got.Confirmed, shown.Confirmed)
		}
		settle(2 * time.Hour)
	})
}

func TestMetricsShowAgeAndLicenses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		source.fail(errors.New("down"))
		w := run(t, source, t.TempDir())
		want := `
# HELP weir_entitlements_age_seconds Time since the last complete read of everything that a product's buyers hold began; +Inf if there was none.
# TYPE weir_entitlements_age_seconds gauge
weir_entitlements_age_seconds{product="acme"} +Inf
weir_entitlements_age_seconds{product="other"} 0
`
		if err := testutil.GatherAndCompare(w.reg, strings.NewReader(want), "weir_entitlements_age_seconds"); err != nil {
			t.Error(err)
		}
		source.fail(nil)
		source.put(held(arn1, initech, "basic"))
		settle(2 * time.Minute)
		w.moveAWS(400 * 24 * time.Hour)
		settle(time.Second)
		want = `
# HELP weir_licenses Licenses in memory; those of direct customers who may use every product have no product.
# TYPE weir_licenses gauge
weir_licenses{product="",state="active"} 1
weir_licenses{product="acme",state="expired"} 1
weir_licenses{product="other",state="active"} 1
`
		if err := testutil.GatherAndCompare(w.reg, strings.NewReader(want), "weir_licenses"); err != nil {
			t.Error(err)
		}
		w.decide("initech", "/any")
		problems, err := testutil.GatherAndLint(w.reg)
		if err != nil || len(problems) > 0 {
			t.Errorf("lint: %v %v", problems, err)
		}
	})
}
