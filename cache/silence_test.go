package cache

import (
	"context"
	"testing"
	"time"

	"github.com/weirhq/weir/policy"
)

// AWS answers nothing at all: each read ends when its caller gives up.
func TestADayOfSilenceIsDecidedFromMemoryAndThenByFailureStale(t *testing.T) {
	for _, tt := range []struct {
		then    string
		allowed bool
	}{{"allow", true}, {"deny", false}} {
		bubble(t, tt.then, func(t *testing.T) {
			source := &aws{}
			source.put(held(arn1, initech, "basic"))
			w := run(t, source, t.TempDir(), func(o *Options) { o.Policy.Failure.Stale.Then = tt.then })
			w.wants(t, "initech", "/any", policy.Allowed)
			slow(source, 10*time.Second)
			source.fail(context.DeadlineExceeded)

			settle(23 * time.Hour)
			w.wants(t, "initech", "/any", policy.Allowed)
			w.wants(t, "initech", "/sso", policy.FeatureMissing)
			if got := w.Status()["acme"].State; got != SourceFresh {
				t.Errorf("after 23 h: %s", got)
			}
			settle(2 * time.Hour)
			d := w.gate.Decide(context.Background(), request(policy.SubjectTenant, "initech", "/any"))
			if d.Reason != policy.EntitlementsStale || d.Allowed() != tt.allowed {
				t.Errorf("after 25 h: %s, allowed %v", d.Reason, d.Allowed())
			}
			if got := w.Status()["acme"].State; got != SourceStale || len(w.Ready()) == 0 {
				t.Errorf("after 25 h: %s, ready but for %v", got, w.Ready())
			}
			slow(source, 0)
			source.fail(nil)
			settle(2 * time.Minute) // back-off is at most a minute
			w.wants(t, "initech", "/any", policy.Allowed)
			if got := w.Status()["acme"].State; got != SourceFresh {
				t.Errorf("after AWS is back: %s", got)
			}
		})
	}
}
