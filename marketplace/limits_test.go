package marketplace

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// readers read all the time, until the test ends.
func readers(t *testing.T, limits *Limits, n int, sweep bool) (count *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	count = new(atomic.Int64)
	for range n {
		go func() {
			for limits.read(ctx, sweep) == nil {
				count.Add(1)
			}
		}()
	}
	return count, func() {
		cancel()
		synctest.Wait()
	}
}

func TestNoSweepTakesATurnThatAHintWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := NewLimits()
		sweeps, stopSweeps := readers(t, limits, 4, true)
		defer stopSweeps()
		during := func(d time.Duration) int64 {
			synctest.Wait()
			before := sweeps.Load()
			time.Sleep(d)
			synctest.Wait()
			return sweeps.Load() - before
		}
		if n := during(10 * time.Second); n < 60 || n > 75 {
			t.Errorf("%d reads of sweeps in 10 s while nothing else is read, want about 70", n)
		}
		hints, stopHints := readers(t, limits, 20, false) // more than AWS takes
		if n := during(10 * time.Second); n > 1 {
			t.Errorf("sweeps took %d turns while hints waited", n)
		}
		if n := hints.Load(); n < 135 || n > 145 {
			t.Errorf("%d reads of hints in 10 s, want about 140", n)
		}
		stopHints()
		if n := during(12 * time.Second); n < 60 {
			t.Errorf("%d reads of sweeps after the burst, want about 70", n)
		}
	})
}
