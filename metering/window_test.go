package metering

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

func TestB03ManyChecksOfOneRequestAtOnceCountOnce(t *testing.T) {
	w := newWindow()
	var taken [200]atomic.Int64
	var all sync.WaitGroup
	for record := range uint32(8) {
		all.Go(func() {
			for i := range taken {
				w.once(strconv.Itoa(i), record, func(uint64, time.Duration) (policy.Receipt, bool) { taken[i].Add(1); return policy.Receipt{}, true })
			}
		})
	}
	all.Wait()
	for i := range taken {
		if n := taken[i].Load(); n != 1 {
			t.Errorf("request %d was taken %d times", i, n)
		}
	}
}

func TestB03TheWindowIsBoundedByTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow()
		held := func() (n int) {
			for i := range w.shards {
				for _, generation := range w.shards[i].taken {
					n += len(generation)
				}
			}
			return n
		}
		for i := range 100_000 { // 100 a second
			w.once(strconv.Itoa(i), 0, func(uint64, time.Duration) (policy.Receipt, bool) { return policy.Receipt{}, true })
			time.Sleep(10 * time.Millisecond)
		}
		if n := held(); n < 3000 || n > 4000 {
			t.Errorf("%d ids are held, want those of 30 to 40 s", n)
		}
	})
}

func TestB03NoTwoIDsAreOne(t *testing.T) {
	w := newWindow()
	seen := map[onceID]string{}
	for _, id := range []string{
		"0", "00", "1", "01", "+1", "-1", "1 ", "18446744073709551615", "18446744073709551616", "36893488147419103233", "", "a",
		"18446744073709551617",
	} {
		key := w.id(id)
		if other, found := seen[key]; found {
			t.Errorf("%q is taken for %q", id, other)
		}
		seen[key] = id
	}
	if got := w.id("18446744073709551615"); got != (onceID{0, 1<<64 - 1}) {
		t.Errorf("Envoy's largest id is %v, want it exactly", got)
	}
}
