package metering

import (
	"math"
	"math/rand/v2"
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
				n += w.shards[i].used
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

// TestB03TheWindowIsThePlainestOne takes, repeats and leaves requests at random, and holds the window to a map that
// forgets nothing: across growth and shrinking, pauses, and places that wrap around.
func TestB03TheWindowIsThePlainestOne(t *testing.T) {
	type taken struct {
		at           time.Time
		record       uint32
		number, rpcs uint64
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWindow()
		for i := range w.shards {
			s := &w.shards[i]
			s.first = math.MaxUint32 - 300
			s.oldest, s.end = s.first, s.first
		}
		random := rand.New(rand.NewPCG(1, 2))
		model, numbers := map[string]*taken{}, map[uint64]bool{}
		pool, most := 100, 0
		for step := range 480_000 {
			if step%60_000 == 0 { // another rate, and at times a pause
				pool = 100 << random.IntN(12)
				time.Sleep(time.Duration(random.IntN(2)*random.IntN(40)) * time.Second)
			}
			time.Sleep(time.Duration(random.IntN(700_000)))
			id := strconv.Itoa(random.IntN(pool))
			if random.IntN(2) == 0 {
				id = "text " + id
			}
			m, known := model[id]
			if known = known && time.Since(m.at) < onceFor; known && random.IntN(3) == 0 {
				released := false
				w.leave(id, m.number, func() { released = true })
				if m.rpcs--; released != (m.rpcs == 0) {
					t.Fatalf("step %d: released: %t, %d checks of the request are left", step, released, m.rpcs)
				}
				if released {
					delete(model, id)
				}
				continue
			}
			record := uint32(random.IntN(10) / 9)
			let := random.IntN(10) > 0
			r, repeated, own := w.once(id, record, func(number uint64, _ time.Duration) (policy.Receipt, bool) {
				if known || numbers[number] {
					t.Fatalf("step %d: %q is taken as number %d, known: %t", step, id, number, known)
				}
				numbers[number] = true
				if let {
					model[id] = &taken{time.Now(), record, number, 1}
				}
				return policy.Receipt{Number: number}, let
			})
			if repeated != known || own != (known && m.record == record) || own && r.Number != m.number {
				t.Fatalf("step %d: %q is repeated: %t, own: %t, number %d; want %t of %+v", step, id, repeated, own, r.Number, known, m)
			}
			if own {
				m.rpcs++
			}
			most = max(most, len(w.shards[0].chunks))
		}
		if most < 3 {
			t.Errorf("a shard had %d chunks at most: what goes on when the first of several is given up was not seen", most)
		}
	})
}

// BenchmarkOnce takes new ids at 25,000 a second, of which as many grow old.
func BenchmarkOnce(b *testing.B) {
	w := newWindow()
	var n uint64
	take := func(number uint64, _ time.Duration) (policy.Receipt, bool) {
		return policy.Receipt{Number: number}, true
	}
	ids := make([]byte, 0, 20)
	next := func() {
		n++
		ids = strconv.AppendUint(ids[:0], n*0x9E3779B97F4A7C15, 10)
		w.began = w.began.Add(-time.Second / 25_000) // time goes on
		w.once(string(ids), 0, take)
	}
	for range 2_000_000 {
		next()
	}
	b.ReportAllocs()
	for b.Loop() {
		next()
	}
}
