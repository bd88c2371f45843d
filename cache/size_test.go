package cache

import (
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policy"
)

// maxHeapAtScale bounds what 100,000 licenses and 200,000 tenants take in memory: the aim
// is 120 MB resident, of which the runtime and the rest of a process are some.
const maxHeapAtScale = 110 << 20

func TestAHundredThousandLicensesAndTwiceAsManyTenantsStaySmall(t *testing.T) {
	before := heapInUse()
	dir := written(t, someTenants(200_000)...)
	if err := newDisk(dir, osFiles{}, slog.Default()).store(encode(many(100_000))); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(config())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Updates: DefaultUpdates(), Policy: config()}, p, map[string]Source{"acme": &aws{}}, dir, nil, time.Now,
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	grown := heapInUse() - before
	t.Logf("%d licenses and %d tenants take %.0f MB", c.Snapshot().licenses.len(), c.Snapshot().tenants.len(), float64(grown)/(1<<20))
	if grown > maxHeapAtScale {
		t.Errorf("%d bytes, want at most %d", grown, maxHeapAtScale)
	}
	runtime.KeepAlive(c)
}
