package metering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policy"
)

// writer names this process in the ledger's sequences: one process holds a ledger on a local file.
const writer = "local"

// Meter counts in memory what requests use, and commits it to a Ledger. What it
// holds of a license survives any refresh of entitlements.
type Meter struct {
	cfg      Config
	ledger   Ledger
	features []string // by index in the Policy
	now      func() time.Time
	log      *slog.Logger
	metrics  *meterMetrics
	window   *window
	notary   *notary

	mu      sync.Mutex // of records and ended; never held on the path of a request that is known
	records map[policy.Key]*record
	ended   []*record // whose end the ledger does not know yet

	dirty struct {
		sync.Mutex
		tallies []*tally
	}
	wake chan struct{} // holds one token when something is to be committed

	committing chan struct{} // holds one token: who has it commits
	batch      commit        // what is being committed; of who has the token
	closed     time.Time     // hours before are frozen; of runClosing alone
	reports    reports
	zeros      *zeros // nil: no records of 0 are made

	commits, closing health
}

// NewMeter makes a Meter that goes on from what the ledger holds. Key is that of the
// tokens; features are those of the Policy, by index; now is AWS time.
func NewMeter(ctx context.Context, cfg Config, ledger Ledger, key TokenKey, features []string, now func() time.Time, log *slog.Logger,
	reg prometheus.Registerer,
) (*Meter, error) {
	totals, err := ledger.Totals(ctx, writer)
	if err != nil {
		return nil, fmt.Errorf("start meter: %w", err)
	}
	m := &Meter{
		cfg: cfg, ledger: ledger, features: features, now: now, log: log, window: newWindow(), notary: newNotary(key),
		records: map[policy.Key]*record{}, wake: make(chan struct{}, 1), committing: make(chan struct{}, 1),
	}
	m.metrics = newMeterMetrics(m, reg)
	m.committing <- struct{}{}
	for i := range totals {
		r := m.record(totals[i].License)
		r.ends = latest(r.ends, totals[i].Ends)
		r.tally(totals[i].Feature).load(&totals[i])
		m.batch.seq = max(m.batch.seq, totals[i].Seq)
	}
	return m, nil
}

// record is what the meter holds of one license.
type record struct {
	meter   *Meter
	number  uint32 // its name in the window
	license atomic.Pointer[policy.License]
	ends    time.Time // the end that the ledger knows; under Meter.mu
	// inactive is when a read last showed the license ended or suspended, or so until then; under Meter.mu.
	inactive time.Time

	mu      sync.Mutex // of tallies; taken only to make or find one by name
	tallies map[string]*tally
	byIndex []atomic.Pointer[tally] // by index of the feature in the Policy
}

var _ policy.Counter = (*record)(nil)

// Counter is where the license's usage is counted: the same at every call, which
// also takes over what a newer read of the license says.
func (m *Meter) Counter(l *policy.License) policy.Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.record(l.Key)
	if known := r.license.Load(); known == nil || !l.Read.Before(known.Read) {
		r.license.Store(l)
		if l.Suspended || !l.Ended.IsZero() || known != nil && known.Suspended {
			r.inactive = m.now()
		}
		if !l.Ended.IsZero() && !l.Ended.Equal(r.ends) && !slices.Contains(m.ended, r) {
			m.ended = append(m.ended, r)
			m.wakeUp()
		}
	}
	return r
}

// record finds or makes the record of a license; m.mu is held, or nobody else knows m yet.
func (m *Meter) record(key policy.Key) *record {
	r := m.records[key]
	if r == nil {
		r = &record{
			meter: m, number: uint32(len(m.records)), tallies: map[string]*tally{},
			byIndex: make([]atomic.Pointer[tally], len(m.features)),
		}
		r.license.Store(&policy.License{Key: key})
		m.records[key] = r
	}
	return r
}

// Take counts a request once (BILLING B03). It never waits for a disk, a refresh,
// or another license.
func (r *record) Take(t policy.Taking) policy.Balance {
	y := r.at(t.Feature)
	if y == nil {
		return policy.Balance{Terms: t.Terms}
	}
	starts := r.license.Load().Starts
	if t.Look || t.ID == "" {
		b, changed := y.take(&t, starts)
		if changed {
			r.meter.changed(y)
		}
		return b
	}
	var b policy.Balance
	changed := false
	repeated, own := r.meter.window.once(t.ID, r.number, func() bool {
		b, changed = y.take(&t, starts)
		return b.OK
	})
	if changed {
		r.meter.changed(y)
	}
	if repeated {
		t.Look = true
		b, _ = y.take(&t, starts)
		b.OK = own
	}
	return b
}

// used tells whether anything was ever counted or asked for.
func (r *record) used() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tallies) > 0
}

// at is the tally of a feature by its index; nil where there is none.
func (r *record) at(feature int) *tally {
	if feature < 0 || feature >= len(r.byIndex) {
		return nil
	}
	if y := r.byIndex[feature].Load(); y != nil {
		return y
	}
	y := r.tally(r.meter.features[feature])
	r.byIndex[feature].Store(y)
	return y
}

// tally finds or makes the tally of a feature by its name.
func (r *record) tally(feature string) *tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	y := r.tallies[feature]
	if y == nil {
		y = &tally{record: r, feature: feature}
		r.tallies[feature] = y
	}
	return y
}

// changed puts a tally on the list of those to commit: once between two commits, so
// that requests seldom meet at this lock.
func (m *Meter) changed(y *tally) {
	m.dirty.Lock()
	m.dirty.tallies = append(m.dirty.tallies, y)
	m.dirty.Unlock()
	m.wakeUp()
}

func (m *Meter) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Writable is nil, or the error of the last attempt to write the ledger (BILLING B20).
func (m *Meter) Writable() error { return errors.Join(m.commits.err(), m.closing.err()) }

// Place is nil, or says why nothing is sent from here (BILLING B17).
func (m *Meter) Place() error { return m.ledger.Place() }
