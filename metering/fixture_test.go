package metering_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// trouble is a ledger that fails when told to.
type trouble struct {
	metering.Ledger
	before, after atomic.Pointer[error] // of Commit: nothing is written, or it is and nobody hears of it
	commits       atomic.Int64
	takes         time.Duration // what a commit takes
}

func (l *trouble) Commit(ctx context.Context, writer string, seq uint64, deltas []metering.Delta) ([]metering.Total, error) {
	l.commits.Add(1)
	time.Sleep(l.takes)
	if err := l.before.Load(); err != nil {
		return nil, *err
	}
	totals, err := l.Ledger.Commit(ctx, writer, seq, deltas)
	if failed := l.after.Load(); failed != nil {
		return nil, *failed
	}
	return totals, err
}

// clock is AWS's time in a test: local time and an offset.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time              { return time.Now().Add(time.Duration(c.offset.Load())).UTC() }
func (c *clock) set(t time.Time)             { c.offset.Store(int64(time.Until(t))) }
func (c *clock) at(t time.Time) *clock       { c.set(t); return c }
func (c *clock) move(d time.Duration) *clock { c.offset.Add(int64(d)); return c }

func newMeter(t testing.TB, l metering.Ledger, c *clock) *metering.Meter {
	t.Helper()
	m, err := metering.NewMeter(context.Background(), metering.DefaultConfig(), l, metering.TokenKey{1}, []string{"apiCalls", "tokens"}, c.now, discard(), nil)
	must(t, err)
	return m
}

// run starts Run and returns what stops it and hands over its error.
func run(t testing.TB, r interface{ Run(context.Context) error }) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func license(key policy.Key) *policy.License {
	return &policy.License{Key: key, Product: "acme", Account: "111122223333", Starts: ledgertest.Hour().AddDate(0, -3, 0)}
}

func monthly(included int64, then policy.Then) policy.Terms {
	return policy.Terms{Included: included, Every: policy.Month, Then: then, Dimension: "calls", Per: 1}
}

// one takes one unit of the first feature.
func one(id string, at time.Time, terms policy.Terms) policy.Taking {
	return policy.Taking{Quantity: 1, Need: 1, Terms: terms, ID: id, At: at}
}

func total(t testing.TB, l metering.Ledger) metering.Total {
	t.Helper()
	totals, err := l.Totals(context.Background(), "local")
	must(t, err)
	if len(totals) == 0 {
		return metering.Total{}
	}
	return totals[0]
}

func bolt(t testing.TB) *metering.Bolt {
	return openBolt(t, filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig(), place())
}
