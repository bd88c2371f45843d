package metering_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// BenchmarkCommit commits deltas of n licenses in one transaction.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n, " licenses"), func(b *testing.B) {
			l := bolt(b)
			deltas := licenses(n)
			seq := uint64(0)
			for b.Loop() {
				seq++
				if _, err := l.Commit(b.Context(), "w", seq, deltas); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "counts/s")
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

func licenses(n int) []metering.Delta {
	deltas := make([]metering.Delta, n)
	for i := range deltas {
		deltas[i] = ledgertest.Delta(ledgertest.Hour(), 3, ledgertest.Bill(1))
		deltas[i].License = policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i))
	}
	return deltas
}
