package main

import (
	"context"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strconv"
	"strings"
	"time"
)

const (
	// maxProcs is how many processors weir uses unless GOMAXPROCS or its cgroup says otherwise: one
	// answers some 50,000 checks a second, the other reads, collects and commits meanwhile.
	// More only wake each other up.
	maxProcs = 2
	// headroom is what the heap may grow by between two collections, in bytes: enough that a
	// small heap is seldom collected, little beside a large one.
	headroom = 64 << 20
	// leastGC is half of Go's own default of GOGC, in percent of what is alive: 100,000 licenses are 120 MB, and
	// seldom collected all the same, since what requests leave behind is little. mostGC bounds it for
	// small heaps (measured: beyond it nothing is gained).
	leastGC, mostGC = 50, 400
	// tuneEvery is how often the heap is looked at; it grows with the licenses, in sweeps.
	tuneEvery = 10 * time.Second
	// ofLimit is the part of a cgroup's memory that the heap may fill before it is collected
	// all the time rather than the process killed.
	ofLimit = 0.9
	// cgroupMemory says how much memory the container may use (Linux: cgroup v2, memory.max).
	cgroupMemory = "/sys/fs/cgroup/memory.max"
)

// tuner sets Go's runtime for a process that answers many small requests beside an application.
// What the environment sets (GOMAXPROCS, GOGC, GOMEMLIMIT) is left alone.
type tuner struct {
	getenv func(string) string
	log    *slog.Logger
	gc     int // percent that is set
}

// start sets what does not change.
func (t *tuner) start() {
	if t.getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) > maxProcs {
		runtime.GOMAXPROCS(maxProcs)
	}
	if limit, ok := memoryLimit(cgroupMemory); ok && t.getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
		t.log.Info("memory limit set", "bytes", limit)
	}
	t.tune()
}

// run follows the size of the heap until ctx is done. What the start left behind, more than what stays, goes back to
// the system at once.
func (t *tuner) run(ctx context.Context) error {
	debug.FreeOSMemory()
	t.tune()
	tick := time.NewTicker(tuneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.tune()
		}
	}
}

func (t *tuner) tune() {
	if t.getenv("GOGC") != "" {
		return
	}
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(live)
	if percent := gcPercent(live[0].Value.Uint64()); percent != t.gc {
		debug.SetGCPercent(percent)
		t.gc = percent
	}
}

// gcPercent is the GOGC for a heap of so many live bytes. It goes in steps: each change stops the world.
func gcPercent(live uint64) int {
	const step = 50
	percent := mostGC
	if live > 0 {
		percent = int(min(100*headroom/live, mostGC))
	}
	return max(percent/step*step, leastGC)
}

// memoryLimit is what Go's heap may take of the memory that a file of the cgroup grants; false: it grants all.
func memoryLimit(file string) (int64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	granted, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || granted <= 0 || granted == math.MaxInt64 {
		return 0, false
	}
	return int64(float64(granted) * ofLimit), true
}
