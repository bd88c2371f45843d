package cache

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/weirhq/weir/policy"
)

func TestRacingReadsEndWithTheOneThatBeganLast(t *testing.T) {
	// Three reads, each of which shows another plan, end in every order.
	dimensions := []string{"basic", "enterprise", "basic"}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for last := range dimensions {
			bubble(t, fmt.Sprintf("order %v of the first %d", order, last+1), func(t *testing.T) {
				w := open(t, &aws{}, t.TempDir())
				reads := make([]*reading, last+1)
				for i := range reads {
					reads[i] = w.begin(target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: initech}})
					reads[i].found, reads[i].complete = []policy.License{held(arn1, initech, dimensions[i])}, true
				}
				for _, i := range order {
					if i <= last {
						w.apply(reads[i])
					}
				}
				l, _ := w.Snapshot().License(arn1)
				if got := l.Entitlements[0].Dimension; got != dimensions[last] {
					t.Errorf("got %s, want %s", got, dimensions[last])
				}
			})
		}
	}
}

func TestReadThatBeganBeforeTheLastSweepChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &aws{}
		w := open(t, source, t.TempDir())
		old := w.begin(target{"acme", policy.Subject{Kind: policy.SubjectAccount, ID: initech}})
		source.put(held(arn1, initech, "basic"))
		if err := w.sweep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if err := w.sweep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		middle := w.begin(old.target)
		if err := w.sweep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*reading{old, middle} {
			r.complete = true
			w.apply(r)
			if w.missed(arn1) {
				t.Error("an older read made the license missing")
			}
			r.found = []policy.License{held(arn1, initech, "enterprise")}
			if w.apply(r) != 0 {
				t.Error("an older read changed the license")
			}
		}
	})
}
