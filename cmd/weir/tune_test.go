package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSmallHeapsAreSeldomCollectedAndLargeOnesNotDoubled(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 16 << 20: 400, 20 << 20: 300, 32 << 20: 200, 64 << 20: 100, 65 << 20: 50, 120 << 20: 50, 4 << 30: 50,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MB alive: GOGC %d, want %d", live>>20, got, want)
		}
	}
	for live := uint64(1); live < 1<<33; live *= 2 {
		if grown := live * uint64(gcPercent(live)) / 100; grown > max(live, headroom) {
			t.Errorf("%d bytes alive grow by %d, which is more than Go's default and the headroom", live, grown)
		}
	}
}

func TestMemoryLimitIsThatOfTheContainer(t *testing.T) {
	for text, want := range map[string]int64{"1000000\n": 900_000, "max\n": 0, "": 0, "-1": 0, "9223372036854775807": 0} {
		file := filepath.Join(t.TempDir(), "memory.max")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := memoryLimit(file); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, ok, want)
		}
	}
	if _, ok := memoryLimit(filepath.Join(t.TempDir(), "none")); ok {
		t.Error("there is a limit without a cgroup")
	}
}

func TestWhatTheEnvironmentSetsIsLeftAlone(t *testing.T) {
	tune := tuner{getenv: func(string) string { return "set" }}
	tune.start()
	if tune.gc != 0 {
		t.Errorf("GOGC was set to %d", tune.gc)
	}
}
