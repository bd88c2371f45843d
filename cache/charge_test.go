package cache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

// metering makes every plan grant calls, which are metered.
func metering(o *Options) {
	o.Policy.Features["calls"] = policy.Feature{Type: policy.TypeMetered}
	included := int64(10)
	for _, plan := range o.Policy.Plans {
		plan.Grants["calls"] = policy.Grant{Metered: &policy.MeteredGrant{Included: policy.Included{Number: &included}, Every: "month", Then: "deny"}}
	}
	legacy := o.Policy.Products["other"]
	legacy.Agreements = policy.AgreementsLegacy
	o.Policy.Products["other"] = legacy
}

func (w *weir) charged(t *testing.T, subject string, result policy.ChargeResult, key policy.Key) {
	t.Helper()
	c := w.gate.Charge(t.Context(), subject, "calls")
	var got policy.Key
	if c.License != nil {
		got = c.License.Key
	}
	if c.Result != result || got != key {
		t.Errorf("%s: got %d %q, want %d %q", subject, c.Result, got, result, key)
	}
}

func TestASubjectOfUsageIsATenantOrALicense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, legacy := &aws{}, &aws{}
		source.put(held(arn1, initech, "basic"))
		customer := held("other/cust-9", "", "basic")
		customer.Customer = "cust-9"
		legacy.put(customer)
		w := open(t, source, t.TempDir(), metering)
		w.sources["other"] = legacy
		w.launch(t)
		w.charged(t, "initech", policy.ChargeFound, arn1)
		w.charged(t, string(arn1), policy.ChargeFound, arn1)
		w.charged(t, "direct:bigcorp", policy.ChargeFound, "direct:bigcorp")
		w.charged(t, "bigcorp", policy.ChargeFound, "direct:bigcorp")
		w.charged(t, "other/cust-9", policy.ChargeFound, "other/cust-9")
		w.charged(t, "nobody", policy.ChargeSubjectUnknown, "")
		w.charged(t, "direct:nobody", policy.ChargeSubjectUnknown, "")
		w.charged(t, "no subject", policy.ChargeSubjectUnknown, "")
		w.charged(t, initech, policy.ChargeSubjectUnknown, "")
		late := held("other/cust-10", "", "basic")
		late.Customer = "cust-10"
		legacy.put(late)
		w.charged(t, "other/cust-10", policy.ChargeFound, "other/cust-10")
	})
}

func TestASubjectOfUsageThatMemoryDoesNotHoldIsLookedUpWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := run(t, source, t.TempDir(), metering)
		w.charged(t, string(arn2), policy.ChargeSubjectUnknown, "")
		settle(negativeFor + time.Second)
		source.put(held(arn2, stranger, "basic"))
		slow(source, time.Second)
		began := time.Now()
		w.charged(t, string(arn2), policy.ChargeUnanswered, "")
		if got := time.Since(began); got != lookupBudget {
			t.Errorf("it took %s, want %s", got, lookupBudget)
		}
		settle(time.Second)
		w.charged(t, string(arn2), policy.ChargeFound, arn2)
	})
}
