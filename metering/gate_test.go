package metering_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// gate is a Meter on a ledger file, seen as the proxy sees it.
type gate struct {
	testing.TB
	path    string
	cfg     metering.Config
	clock   *clock
	bolt    *metering.Bolt
	meter   *metering.Meter
	metrics *prometheus.Registry
	counter policy.Counter
	terms   policy.Terms
}

// newGate opens one for the suite's license, whose calls are all billed.
func newGate(t testing.TB, change ...func(*metering.Config)) *gate {
	g := &gate{
		TB: t, path: filepath.Join(t.TempDir(), "ledger"), cfg: metering.DefaultConfig(),
		clock: new(clock).at(ledgertest.Hour()), terms: monthly(0, policy.ThenBill),
	}
	for _, c := range change {
		c(&g.cfg)
	}
	g.open()
	t.Cleanup(func() { g.bolt.Close() })
	return g
}

func drop(c *metering.Config) { c.Unconfirmed = metering.UnconfirmedDrop }

func (g *gate) open() {
	g.Helper()
	var err error
	g.bolt, err = metering.OpenBolt(g.path, g.cfg, place(), g.clock.now, discard(), nil)
	must(g, err)
	g.metrics = prometheus.NewRegistry()
	g.meter, err = metering.NewMeter(context.Background(), g.cfg, g.bolt, metering.TokenKey{1}, []string{"apiCalls", "tokens"}, g.clock.now,
		discard(), g.metrics)
	must(g, err)
	g.counter = g.meter.Counter(license(ledgertest.License))
}

// restart commits and goes on with what is on disk; a crash does not commit.
func (g *gate) restart() { g.Helper(); g.flush(); g.crash() }
func (g *gate) crash()   { g.Helper(); must(g, g.bolt.Close()); g.open() }
func (g *gate) flush()   { g.Helper(); must(g, g.meter.Flush(context.Background())) }

// check lets a request of n units, which needs as many, through.
func (g *gate) check(id string, n int64) policy.Receipt {
	g.Helper()
	b := g.ask(id, n, n)
	if !b.OK {
		g.Fatalf("not allowed: %+v", b)
	}
	return b.Receipt
}

func (g *gate) ask(id string, n, need int64) policy.Balance {
	return g.counter.Take(policy.Taking{Quantity: n, Need: need, Terms: g.terms, ID: id, At: g.clock.now(), Served: true})
}

// entry is what the access log says of a check.
func (g *gate) entry(r policy.Receipt, how metering.How) *metering.Ending {
	return &metering.Ending{Token: g.token(&r), License: ledgertest.License, Route: "chat", How: how}
}

func (g *gate) token(r *policy.Receipt) string { return string(g.meter.AppendToken(nil, r, "chat")) }

// tell brings an entry and wants an answer.
func (g *gate) tell(e *metering.Ending, want metering.Refusal) {
	g.Helper()
	if got := g.meter.Resolve(e); got != want {
		g.Errorf("the entry is answered %q, want %q", got, want)
	}
}

// wants commits, and compares what the ledger counted and what still waits.
func (g *gate) wants(counted, waiting int64) {
	g.Helper()
	g.flush()
	got := total(g, g.bolt)
	var checks int64
	for _, c := range got.Pending {
		checks += c.Count
	}
	if got.Counted != counted || checks != waiting || g.meter.Pending() != waiting {
		g.Errorf("%d units counted, %d checks wait on disk, %d in memory; want %d, %d", got.Counted, checks, g.meter.Pending(), counted, waiting)
	}
	must(g, ledgertest.Conserved(context.Background(), g.bolt))
}

// resolved compares how many checks ended in each way, since the process began.
func (g *gate) resolved(want map[string]float64) {
	g.Helper()
	got := map[string]float64{}
	families, err := g.metrics.Gather()
	must(g, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "weir_checks_resolved_total" && m.GetCounter().GetValue() > 0 {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if len(got) != len(want) {
		g.Errorf("resolved: %v, want %v", got, want)
	}
	for how, n := range want {
		if got[how] != n {
			g.Errorf("resolved: %v, want %v", got, want)
		}
	}
}

func (g *gate) refused(why string) float64 {
	g.Helper()
	families, err := g.metrics.Gather()
	must(g, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "weir_access_log_refused_total" && m.GetLabel()[0].GetValue() == why {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
