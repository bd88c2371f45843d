package metering

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
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

	epoch   uint64 // of the checks that this process lets through
	used    usedTokens
	pending atomic.Int64 // checks in flight
	floor   atomic.Int64 // the first minute in which a check may be let through
	heard   atomic.Bool  // an entry of a check has come since settle last looked
	names   sync.Map     // tally by its name in receipts
	waiting struct {
		sync.Mutex
		tallies []*tally // those with checks in flight, and perhaps some more; each once
	}

	mu       sync.Mutex // of what follows; never held on the path of a request that is known
	records  map[policy.Key]*record
	last     []lastHour
	nextDate time.Time // no license's date passes before; zero: none will

	dirty struct {
		sync.Mutex
		tallies []*tally
	}
	wake chan struct{} // holds one token when something is to be committed

	committing chan struct{} // holds one token: who has it commits
	batch      commit        // what is being committed; of who has the token, as are
	draining   []*tally      // the tallies that were dirty
	drained    drained       // and what one of them hands over
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
	used, floor, err := ledger.Tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("start meter: %w", err)
	}
	m := &Meter{
		cfg: cfg, ledger: ledger, features: features, now: now, log: log, window: newWindow(), notary: newNotary(key),
		records: map[policy.Key]*record{}, wake: make(chan struct{}, 1), committing: make(chan struct{}, 1),
		epoch: newEpoch(),
	}
	m.metrics = newMeterMetrics(m, reg)
	m.committing <- struct{}{}
	m.used.load(used)
	m.floor.Store(minuteOf(floor))
	for i := range totals {
		m.load(&totals[i])
	}
	return m, nil
}

// newEpoch names this process in the numbers of its checks.
func newEpoch() uint64 {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return binary.BigEndian.Uint64(random[:])
}

// load takes over what the ledger has of one license and feature.
func (m *Meter) load(t *Total) {
	r := m.record(t.License)
	r.ends = latest(r.ends, t.Ends)
	r.closed = latest(r.closed, t.Closed)
	y := r.tally(t.Feature)
	y.load(t)
	m.batch.seq = max(m.batch.seq, t.Seq)
	if n := y.waits.inFlight(time.Time{}); n > 0 {
		m.pending.Add(n)
		m.waiting.tallies, y.listed = append(m.waiting.tallies, y), true
	}
}

// record is what the meter holds of one license.
type record struct {
	meter   *Meter
	key     policy.Key
	number  uint32 // its name in the window
	license atomic.Pointer[policy.License]
	ends    time.Time // the end that the ledger knows; under Meter.mu
	// inactive is when a read last showed the license ended or suspended, or so until then; under Meter.mu.
	inactive time.Time
	closed   time.Time // the first hour that the ledger has open for it; zero: as for all; under Meter.mu

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
		if !l.Ended.IsZero() && !l.Ended.Equal(r.ends) {
			m.freezeSoon(r, time.Time{})
		}
		m.expect(l.LastExpiry())
	}
	return r
}

// Term is when the license's present term began, as far as its usage tells: zero where
// nothing was counted, or where the license has ended since.
func (m *Meter) Term(license policy.Key) (began time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[license]
	if r == nil || !r.ends.IsZero() {
		return time.Time{}
	}
	for _, y := range r.all() {
		y.mu.Lock()
		began = latest(began, y.periods[policy.Term].Start)
		y.mu.Unlock()
	}
	return began
}

// record finds or makes the record of a license; m.mu is held, or nobody else knows m yet.
func (m *Meter) record(key policy.Key) *record {
	r := m.records[key]
	if r == nil {
		r = &record{
			meter: m, key: key, number: uint32(len(m.records)),
			byIndex: make([]atomic.Pointer[tally], len(m.features)),
		}
		r.license.Store(&policy.License{Key: key})
		m.records[key] = r
	}
	return r
}

// Take counts or holds a request once (BILLING B03). It never waits for a disk, a
// refresh, or another license.
func (r *record) Take(t policy.Taking) (b policy.Balance) {
	y := r.at(t.Feature)
	if y == nil {
		return policy.Balance{Terms: t.Terms}
	}
	starts := r.license.Load().Starts
	w := r.meter.window
	if t.Look {
		y.take(&t, starts, 0, 0, &b)
		return b
	}
	if t.ID == "" {
		r.take(y, &t, starts, w.number(), w.now(), &b)
		return b
	}
	receipt, repeated, own := w.once(t.ID, r.number, func(number uint64, at time.Duration) (policy.Receipt, bool) {
		r.take(y, &t, starts, number, at, &b)
		return b.Receipt, b.OK
	})
	if repeated {
		t.Look = true
		y.take(&t, starts, 0, 0, &b)
		if b.OK = own; own {
			b.Receipt = receipt
			b.Receipt.Epoch = r.meter.epoch
		}
	}
	return b
}

// take counts or holds a request that was not taken before.
func (r *record) take(y *tally, t *policy.Taking, starts time.Time, number uint64, at time.Duration, b *policy.Balance) {
	due := y.take(t, starts, number, at, b)
	if b.Receipt.Kind != policy.NoReceipt {
		b.Receipt.Epoch = r.meter.epoch
	}
	if b.Receipt.Kind == policy.Pending {
		r.meter.pending.Add(1)
	}
	r.meter.changed(y, due)
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
		if r.tallies == nil { // of 100,000 licenses few are used in an hour
			r.tallies = map[string]*tally{}
		}
		y = &tally{record: r, feature: feature, name: tallyName(r.key, feature), waits: waits{turn: 1}}
		r.tallies[feature] = y
		r.meter.names.Store(y.name, y)
	}
	return y
}

// tallyOf is the tally that receipts call by a name; nil where there is none.
func (m *Meter) tallyOf(name uint64) *tally {
	y, ok := m.names.Load(name)
	if !ok {
		return nil
	}
	return y.(*tally)
}

// changed puts a tally on the lists that it is due on: once between two commits, so
// that requests seldom meet at this lock.
func (m *Meter) changed(y *tally, due due) {
	if due.waits {
		m.waiting.Lock()
		m.waiting.tallies = append(m.waiting.tallies, y)
		m.waiting.Unlock()
	}
	if !due.commit {
		return
	}
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
