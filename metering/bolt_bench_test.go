package metering_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// BenchmarkCommit commits deltas of n licenses to the journal, which is folded meanwhile.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n, " licenses"), func(b *testing.B) {
			l := journal(b)
			deltas := licenses(n)
			seq, began := uint64(0), processorTime(b)
			for b.Loop() {
				seq++
				if _, err := l.Commit(b.Context(), "w", seq, deltas); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "counts/s")
			b.ReportMetric(float64((processorTime(b)-began).Nanoseconds())/float64(n)/float64(b.N), "cpu-ns/count")
		})
	}
}

// BenchmarkFreeze closes an hour in which 10,000 licenses were used.
func BenchmarkFreeze(b *testing.B) {
	l := bolt(b)
	seq := uint64(0)
	for b.Loop() {
		b.StopTimer()
		deltas := licenses(10_000)
		for i := range deltas {
			deltas[i].Hour = ledgertest.Hour().Add(time.Duration(seq) * time.Hour)
		}
		seq++
		if _, err := l.Commit(b.Context(), "w", seq, deltas); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := l.Freeze(b.Context(), deltas[0].Hour.Add(66*time.Minute), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkZeros makes 100,000 records of 0 while counts are committed beside it, and then looks at them as
// the dispatcher and a scrape of the metrics do.
func BenchmarkZeros(b *testing.B) {
	l := bolt(b)
	now := ledgertest.Hour().Add(66 * time.Minute)
	var keys []metering.ZeroKey
	for _, d := range licenses(100_000) {
		keys = append(keys, metering.ZeroKey{License: d.License, Account: d.Account, Product: d.Product, Dimension: "calls"})
	}
	for n := 0; b.Loop(); n++ {
		for i := range keys {
			keys[i].Hour = ledgertest.Hour().Add(-time.Duration(n) * time.Hour)
		}
		frozen := make(chan error, 1)
		go func() { frozen <- l.Freeze(b.Context(), now, keys) }()
		var longest time.Duration
		for seq, busy := uint64(n)<<32, true; busy; {
			began := time.Now()
			if _, err := l.Commit(b.Context(), "w", seq+1, licenses(10)); err != nil {
				b.Fatal(err)
			}
			longest, seq = max(longest, time.Since(began)), seq+1
			select {
			case err := <-frozen:
				if err != nil {
					b.Fatal(err)
				}
				busy = false
			case <-time.After(25 * time.Millisecond):
			}
		}
		b.ReportMetric(float64(longest.Milliseconds()), "ms/longest-commit")
	}
	b.StopTimer()
	for unit, look := range map[string]func() error{
		"ms/backlog": func() error { _, err := l.Backlog(b.Context()); return err },
		"ms/due":     func() error { _, err := l.Due(b.Context(), now, 250); return err },
		"ms/page":    func() error { _, _, err := l.Rows(b.Context(), metering.Filter{State: metering.Frozen}); return err },
	} {
		began := time.Now()
		if err := look(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, unit)
	}
}

// processorTime is what this process has had of the processors: other work on the machine changes it little.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// journal opens a ledger with its journal, and folds that as weir does.
func journal(t testing.TB) *metering.Journal {
	j := openJournal(t, filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig())
	stop := run(t, j)
	t.Cleanup(func() { must(t, stop()) })
	return j
}

func licenses(n int) []metering.Delta {
	deltas := make([]metering.Delta, n)
	for i := range deltas {
		deltas[i] = ledgertest.Delta(ledgertest.Hour(), 3, ledgertest.Bill(1))
		deltas[i].License = policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i))
	}
	return deltas
}
