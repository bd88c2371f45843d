package metering_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// crowd is a meter that many licenses are counted by.
type crowd struct {
	meter    *metering.Meter
	counters []policy.Counter
	taking   policy.Taking
}

func newCrowd(t testing.TB, l metering.Ledger, n int) *crowd {
	c := new(clock).at(ledgertest.Hour())
	w := &crowd{
		meter: newMeter(t, l, c), counters: make([]policy.Counter, n),
		taking: policy.Taking{Quantity: 1, Need: 1, Terms: monthly(0, policy.ThenBill), At: c.now()},
	}
	for i := range w.counters {
		w.counters[i] = w.meter.Counter(license(w.license(i)))
	}
	return w
}

func (w *crowd) license(i int) policy.Key {
	return policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i))
}

// each is a request of each license, and a commit of them all.
func (w *crowd) each(t testing.TB) {
	for _, counter := range w.counters {
		counter.Take(w.taking)
	}
	must(t, w.meter.Flush(t.Context()))
}

// eachServed is a check of each license with its token and its entry, and a commit of them all.
func (w *crowd) eachServed(t testing.TB) {
	w.taking.Served = true
	var token []byte
	for i, counter := range w.counters {
		balance := counter.Take(w.taking)
		token = w.meter.AppendToken(token[:0], &balance.Receipt, "chat")
		why := w.meter.Resolve(&metering.Ending{Token: string(token), License: w.license(i), Route: "chat", How: metering.Served})
		if why != "" {
			t.Fatalf("the entry of license %d is refused: %s", i, why)
		}
	}
	must(t, w.meter.Flush(t.Context()))
}

// BenchmarkFlush counts for 1,000 licenses, once each between two commits.
func BenchmarkFlush(b *testing.B) {
	for name, each := range map[string]func(*crowd, testing.TB){"request": (*crowd).each, "served": (*crowd).eachServed} {
		b.Run(name, func(b *testing.B) {
			w := newCrowd(b, journal(b), 1000)
			b.ReportAllocs()
			for b.Loop() {
				each(w, b)
			}
		})
	}
}

// BenchmarkRound goes round 1,000 licenses with requests that are new each time and wait for their entries, at the
// window's size of a busy server, and commits after every 600: what a check costs where little is in a cache.
func BenchmarkRound(b *testing.B) {
	const licenses, remembered, commit = 1000, 600_000, 600
	w := newCrowd(b, journal(b), licenses)
	w.taking.Served = true
	var token []byte
	var n uint64
	check := func() {
		n++
		w.taking.ID = strconv.FormatUint(n*0x9E3779B97F4A7C15, 10) // as Envoy's
		balance := w.counters[n%licenses].Take(w.taking)
		token = w.meter.AppendToken(token[:0], &balance.Receipt, "chat")
		if n%commit == 0 {
			must(b, w.meter.Flush(b.Context()))
		}
	}
	for range remembered {
		check()
	}
	began, first := processorTime(b), n
	b.ReportAllocs()
	for b.Loop() {
		check()
	}
	b.ReportMetric(float64((processorTime(b)-began).Nanoseconds())/float64(n-first), "cpu-ns/check")
}

func TestACommitUsesTheMemoryOfTheOneBefore(t *testing.T) {
	const licenses, commits = 500, 40
	const most = 400 // bytes a request: one Delta alone is more
	w := newCrowd(t, openJournal(t, filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig()), licenses)
	for range 3 {
		w.each(t)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range commits {
		w.each(t)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / licenses / commits; got > most {
		t.Errorf("a request takes %d bytes until it is committed, want %d at most", got, most)
	}
}
