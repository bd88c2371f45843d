package cache

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policy"
)

func many(n int) copied {
	c := copied{products: []copiedProduct{{"acme", "code", time.Now()}}}
	for i := range n {
		l := held(policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i)), fmt.Sprintf("%012d", i), "basic")
		l.Product, l.Starts, l.Read = "acme", time.Now(), time.Now()
		c.licenses = append(c.licenses, copiedLicense{&l, time.Now()})
	}
	return c
}

// opened is a cache that holds 100,000 licenses from its disk copy.
func opened(b *testing.B, p *policy.Policy, dir string) *Cache {
	b.Helper()
	c, err := New(Options{Updates: DefaultUpdates(), Policy: config()}, p, map[string]Source{"acme": &aws{}}, dir,
		func(*policy.License) policy.Counter { return nil }, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	if n := c.Snapshot().licenses.len(); n < 100_000 {
		b.Fatalf("%d licenses", n)
	}
	return c
}

func filled(b *testing.B) (*policy.Policy, string) {
	b.Helper()
	dir := b.TempDir()
	if err := newDisk(dir, osFiles{}, slog.Default()).store(encode(many(100_000))); err != nil {
		b.Fatal(err)
	}
	p, err := policy.Compile(config())
	if err != nil {
		b.Fatal(err)
	}
	return p, dir
}

func BenchmarkStartWith100000Licenses(b *testing.B) {
	p, dir := filled(b)
	for b.Loop() {
		opened(b, p, dir).Close()
	}
}

func BenchmarkCopyOf100000Licenses(b *testing.B) {
	p, dir := filled(b)
	c := opened(b, p, dir)
	defer c.Close()
	for b.Loop() {
		c.saved = nil
		if err := c.save(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChangeOfOneLicenseOf100000(b *testing.B) {
	p, dir := filled(b)
	c := opened(b, p, dir)
	defer c.Close()
	dimensions := []string{"basic", "enterprise"}
	for i := 0; b.Loop(); i++ {
		key := policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i%100_000))
		r := c.begin(target{"acme", policy.Subject{Kind: policy.SubjectLicense, ID: string(key)}})
		r.found = []policy.License{held(key, fmt.Sprintf("%012d", i%100_000), dimensions[(i/100_000+1)%2])}
		if c.apply(r) != 1 {
			b.Fatal("nothing changed")
		}
	}
}

func BenchmarkFind(b *testing.B) {
	p, dir := filled(b)
	c := opened(b, p, dir)
	defer c.Close()
	who := policy.Subject{Kind: policy.SubjectAccount, ID: "000000050000"}
	b.ReportAllocs()
	for b.Loop() {
		if _, known := c.Snapshot().Find(who, "acme"); known != policy.Present {
			b.Fatal("not found")
		}
	}
}
