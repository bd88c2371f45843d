package metering_test

import (
	"testing"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// BenchmarkServed is a check with its token, and its entry.
func BenchmarkServed(b *testing.B) {
	g := newGate(b)
	taking := policy.Taking{Quantity: 1, Need: 1, Terms: g.terms, At: g.clock.now(), Served: true}
	var token []byte
	b.ReportAllocs()
	for b.Loop() {
		balance := g.counter.Take(taking)
		token = g.meter.AppendToken(token[:0], &balance.Receipt, "chat")
		g.meter.Resolve(&metering.Ending{Token: string(token), License: "arn:aws:license-manager::294406891311:license:l-1", Route: "chat", How: metering.Served})
	}
	if b.N > 1 && g.meter.Pending() != 0 {
		b.Errorf("%d checks wait", g.meter.Pending())
	}
}
