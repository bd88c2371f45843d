package marketplace

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/weirhq/weir/cache"
)

func TestEmulatorsMessagesReachTheHandlerOverHTTP(t *testing.T) {
	for _, version := range []int{1, 2} {
		w := newWorld(t)
		hints := make(chan cache.Hint, 10)
		topics := []string{subscriptionTopic + oldCode, entitlementTopic + oldCode}
		server := httptest.NewServer(w.Notifications(topics, testProducts(), func(_ context.Context, h cache.Hint) (bool, error) {
			hints <- h
			return true, nil
		}))
		t.Cleanup(server.Close)
		w.control("PUT", "feeds", fmt.Sprintf(`{"sns": {"https": "%s/sns", "version": %d}}`, server.URL, version), nil)
		eventually(t, "confirmed both topics", func() bool { return w.calls("ConfirmSubscription") == 2 })

		begun := time.Now()
		b := w.buy(oldCode, "111122223333", `{"dimension": "basic", "value": 1}`)
		for range 2 { // subscribe-success, entitlement-updated
			got := within(t, hints)
			if got.Product != "old" || got.Customer != b.CustomerIdentifier || got.Ended || got.At.Before(begun.Add(-5*time.Second)) {
				t.Errorf("version %d: got %+v", version, got)
			}
		}
		eventually(t, "counted both", func() bool {
			return w.counter("weir_updates_total", map[string]string{"feed": "sns-https", "kind": "changed"}) == 2
		})
		// The topics of the other listing asked to be confirmed too.
		if n := w.counter("weir_updates_total", map[string]string{"feed": "sns-https", "kind": "poison"}); n != 2 {
			t.Errorf("%v refused\n%s", n, w.log)
		}
	}
}
