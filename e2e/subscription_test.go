package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

// Of such a listing nothing can be read: AWS tells of its buyers through SNS alone, and meters them by product code and
// customer identifier.
func TestAPayAsYouGoListingOfOldIsServedAndBilledByWhatSNSTells(t *testing.T) {
	const code, key = "8h6sexykx0r2ei8dxc94vajj8", "8h6sexykx0r2ei8dxc94vajj8/cust-globex"
	config := facing()
	config = strings.Replace(config, "model: contractWithConsumption", "model: subscription\n    agreements: legacy\n    plan: enterprise", 1)
	config = strings.Replace(config, "      basic:       {plan: basic}\n      enterprise:  {plan: enterprise}\n      extra_seats: {adds: seats}\n", "", 1)
	config = strings.Replace(config, "{included: 100, every: day, then: bill}", "{included: 0, every: day, then: bill}", 1)
	config = strings.Replace(config, "globex:   {account: \"222233334444\"}", "globex:   {customer: cust-globex}", 1)
	config = strings.Replace(config, "updates:\n", "updates:\n  sweep: 1h\n  sns: {topics: [arn:aws:sns:us-east-1:287250355862:aws-mp-subscription-notification-"+code+"]}\n", 1)
	s := set(t, stage.Plan{Config: config, Marketplace: `
- PUT products/` + code + `:
    id: prod-wa4ddxl7e7ktw
    model: subscription
    agreements: legacy
    dimensions: [{key: calls, types: [ExternallyMetered]}]
- PUT feeds: {eventbridge: {queue: weir}, sns: {https: "http://127.0.0.1:9004/sns", version: 2}}
`})
	if got := statusOf(t, s, "globex", "/v1/reports/7"); got != http.StatusPaymentRequired {
		t.Fatalf("before the purchase: got %d", got)
	}
	eventually(t, 20*time.Second, "AWS has confirmed the subscription to the topic", func() bool {
		return calls(t, s)["ConfirmSubscription"] >= 1
	})
	first := startHour(t, s)
	must(t, s.Call(t.Context(), http.MethodPost, "licenses", map[string]any{
		"product": code, "account": "222233334444", "customerIdentifier": "cust-globex",
	}, nil))
	served := int64(0)
	use := func() bool {
		ok := statusOf(t, s, "globex", "/v1/reports/7") == http.StatusOK
		if ok {
			served++
		}
		return ok
	}
	eventually(t, 20*time.Second, "who has subscribed is served", use)
	must(t, s.StopWeir())
	must(t, s.StartWeir(t.Context()))
	if !use() {
		t.Error("after a restart: not served")
	}
	must(t, s.Call(t.Context(), http.MethodPost, "licenses/"+strings.ReplaceAll(key, "/", "%2F")+"/cancel", nil, nil))
	eventually(t, 20*time.Second, "who has left is denied", func() bool { return !use() })
	eventually(t, 20*time.Second, "all that was served is billed", func() bool {
		return billed(t, s)[first][key] == served
	})
	var records []struct{ Customer, Product, Status string }
	must(t, s.Call(t.Context(), http.MethodGet, "records", nil, &records))
	for _, r := range records {
		if r.Customer != "cust-globex" || r.Product != code || r.Status != "Success" {
			t.Errorf("record %+v", r)
		}
	}
}
