package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

// The buyers of such a listing have no LicenseArn, and AWS tells of changes through SNS.
func TestAListingFromBeforeConcurrentAgreementsIsKeptTrueThroughSNS(t *testing.T) {
	const code = "8h6sexykx0r2ei8dxc94vajj8"
	topics := "[arn:aws:sns:us-east-1:287250355862:aws-mp-subscription-notification-" + code +
		", arn:aws:sns:us-east-1:287250355862:aws-mp-entitlement-notification-" + code + "]"
	config := facing()
	config = strings.Replace(config, "model: contractWithConsumption", "model: contractWithConsumption\n    agreements: legacy", 1)
	config = strings.Replace(config, "globex:   {account: \"222233334444\"}", "globex:   {customer: cust-globex}", 1)
	config = strings.Replace(config, "updates:\n", "updates:\n  sweep: 1h\n  sns: {topics: "+topics+"}\n", 1)
	s := set(t, stage.Plan{Config: config, Marketplace: `
- PUT products/` + code + `:
    id: prod-wa4ddxl7e7ktw
    agreements: legacy
    dimensions:
      - {key: basic, types: [Entitled]}
      - {key: enterprise, types: [Entitled]}
      - {key: calls, types: [ExternallyMetered]}
- PUT feeds: {eventbridge: {queue: weir}, sns: {https: "http://127.0.0.1:9004/sns", version: 2}}
- POST licenses: {product: ` + code + `, account: "222233334444", customerIdentifier: cust-globex, entitlements: [{dimension: basic, value: 1}]}
`})
	if got := statusOf(t, s, "globex", "/v1/sso/x"); got != http.StatusForbidden {
		t.Fatalf("plan basic: got %d", got)
	}
	eventually(t, 20*time.Second, "AWS has confirmed the subscription to both topics", func() bool {
		return calls(t, s)["ConfirmSubscription"] >= 2
	})
	must(t, s.Entitle(t.Context(), code+"/cust-globex", "enterprise", 1))
	eventually(t, 5*time.Second, "the upgrade is heard of through SNS", func() bool {
		return statusOf(t, s, "globex", "/v1/sso/x") == http.StatusOK
	})
}
