package cache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

func TestEntitlementsAreThoseOfTheFirstProductWithALicense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.sources["other"].(*aws).put(held(arn2, stranger, "basic"))
		w.tie(t, "hooli", Tie{Account: stranger})
		ask := func(product string, license policy.Key, known policy.Knowledge) {
			t.Helper()
			got, sure := w.gate.Entitlements(t.Context(), "hooli", product)
			var key policy.Key
			if got.License != nil {
				key = got.License.Key
			}
			if key != license || sure != known {
				t.Errorf("of product %q: license %q, knowledge %d", product, key, sure)
			}
		}
		ask("", arn2, policy.Present)
		ask("other", arn2, policy.Present)
		ask("acme", "", policy.Absent)
		ask("nowhere", "", policy.Absent)
		w.source.put(held(arn1, stranger, "enterprise"))
		w.hint(t, Hint{Product: "acme", Account: stranger})
		ask("", arn1, policy.Present)
		if got, sure := w.gate.Entitlements(t.Context(), "nobody", ""); got.License != nil || sure != policy.Absent {
			t.Errorf("of nobody: %+v, knowledge %d", got, sure)
		}
	})
}

func TestEntitlementsOfABuyerWhomMemoryDoesNotHoldAreLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, initech, "basic"))
		slow(w.source, time.Second)
		if _, sure := w.gate.Entitlements(t.Context(), "initech", "acme"); sure != policy.Unanswered {
			t.Errorf("over budget: knowledge %d", sure)
		}
		settle(time.Second)
		if got, sure := w.gate.Entitlements(t.Context(), "initech", "acme"); sure != policy.Present || got.Plan != "basic" {
			t.Errorf("after the answer: %+v, knowledge %d", got, sure)
		}
	})
}
