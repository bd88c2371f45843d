package cache

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirhq/weir/policy"
)

// buyerPlan is the plan that one buyer holds; whoever holds the lock sees the snapshot that goes with it.
type buyerPlan struct {
	sync.RWMutex
	enterprise bool
}

// unshared counts the entries of the shards that two tables do not share: what the change between them copied.
func unshared[V any](before, after table[V]) (entries int) {
	for i := range after.shards {
		if reflect.ValueOf(before.shards[i]).Pointer() != reflect.ValueOf(after.shards[i]).Pointer() {
			entries += len(after.shards[i])
		}
	}
	return entries
}

// AWS delivers 20 reads a second with 25 licenses each: 500 changes a second at most. Ten seconds of that are applied as
// fast as it goes, while requests are decided.
func TestEveryDecisionIsRightWhileThousandsOfLicensesChangeAtASmallCostEach(t *testing.T) {
	const licenses, changes = 20_000, 5_000
	dir := t.TempDir()
	if err := newDisk(dir, osFiles{}, slog.Default()).store(encode(many(licenses))); err != nil {
		t.Fatal(err)
	}
	w := open(t, &aws{}, dir)
	plans := make([]buyerPlan, licenses)
	var decided atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for ; ; decided.Add(1) {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(licenses)
				plans[i].RLock()
				want, got := policy.FeatureMissing, w.gate.Decide(t.Context(), request(policy.SubjectAccount, fmt.Sprintf("%012d", i), "/sso")).Reason
				if plans[i].enterprise {
					want = policy.Allowed
				}
				plans[i].RUnlock()
				if got != want {
					t.Errorf("buyer %d: got %s, want %s", i, got, want)
					return
				}
			}
		})
	}
	most := 0
	for n := 0; n < changes || decided.Load() < changes; n++ {
		i := rand.IntN(licenses)
		key := policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i))
		before := w.Snapshot()
		plans[i].Lock()
		plans[i].enterprise = !plans[i].enterprise
		r := w.begin(target{"acme", policy.Subject{Kind: policy.SubjectLicense, ID: string(key)}})
		r.found = []policy.License{held(key, fmt.Sprintf("%012d", i), map[bool]string{true: "enterprise", false: "basic"}[plans[i].enterprise])}
		changed := w.apply(r)
		plans[i].Unlock()
		if changed != 1 {
			t.Fatalf("change %d: %d licenses changed", n, changed)
		}
		after := w.Snapshot()
		cost := unshared(before.licenses, after.licenses) + unshared(before.accounts, after.accounts) +
			unshared(before.customers, after.customers) + unshared(before.tenants, after.tenants) + unshared(before.pins, after.pins)
		most = max(most, cost)
	}
	close(stop)
	readers.Wait()
	t.Logf("%d decisions; a change copies at most %d of %d entries", decided.Load(), most, 2*licenses)
	// One shard of licenses and one of accounts, each 1/256 of them, give or take what hashing does.
	if limit := 2 * 2 * licenses / shards; most > limit {
		t.Errorf("a change copied %d entries, want at most %d", most, limit)
	}
}
