package metering_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// mortal is a ledger of which any step may fail, and of a process that may die there.
type mortal struct {
	metering.Ledger
	dead, failed atomic.Bool
	steps        atomic.Int64 // until the one that fails; 0: none does
	after        atomic.Bool  // it is done, and nobody hears of it
	dies         atomic.Bool  // and so does the process
}

var errDead = errors.New("the file system is gone")

func (m *mortal) step(do func() error) error {
	if m.dead.Load() {
		return errDead
	}
	if m.steps.Load() > 0 && m.steps.Add(-1) == 0 {
		if m.after.Load() {
			_ = do() // its outcome is lost
		}
		m.failed.Store(true)
		m.dead.Store(m.dies.Load())
		return errDead
	}
	return do()
}

func (m *mortal) Commit(ctx context.Context, writer string, seq uint64, deltas []metering.Delta) (totals []metering.Total, err error) {
	err = m.step(func() (err error) { totals, err = m.Ledger.Commit(ctx, writer, seq, deltas); return err })
	return totals, err
}

func (m *mortal) Recall(ctx context.Context, now time.Time, ids []metering.EventID) (memory metering.Memory, err error) {
	err = m.step(func() (err error) { memory, err = m.Ledger.Recall(ctx, now, ids); return err })
	return memory, err
}

func (m *mortal) Forget(ctx context.Context, now time.Time) error {
	return m.step(func() error { return m.Ledger.Forget(ctx, now) })
}

func (m *mortal) Freeze(ctx context.Context, now time.Time, zero []metering.ZeroKey) error {
	return m.step(func() error { return m.Ledger.Freeze(ctx, now, zero) })
}

func (m *mortal) FreezeLicense(ctx context.Context, now time.Time, license policy.Key, ends time.Time) error {
	return m.step(func() error { return m.Ledger.FreezeLicense(ctx, now, license, ends) })
}

func (m *mortal) Sending(ctx context.Context, now time.Time, records []metering.Record) error {
	return m.step(func() error { return m.Ledger.Sending(ctx, now, records) })
}

func (m *mortal) Settle(ctx context.Context, now time.Time, records []metering.Record, outcomes []metering.Outcome) (rows []metering.Row, err error) {
	err = m.step(func() (err error) { rows, err = m.Ledger.Settle(ctx, now, records, outcomes); return err })
	return rows, err
}

func (m *mortal) Expire(ctx context.Context, now time.Time) (rows []metering.Row, err error) {
	err = m.step(func() (err error) { rows, err = m.Ledger.Expire(ctx, now); return err })
	return rows, err
}

// market is AWS: the first quantity of an hour is billed, and answers are anything that
// AWS and the network between may make of it.
type market struct {
	clock *clock

	mu     sync.Mutex
	random *rand.Rand
	billed map[string]metering.Record // by license, dimension and hour
	mood   int                        // what AWS makes of every call for some time; 0: now this, now that
	wrong  string
}

// What AWS and the network make of a call; any other number is an answer.
const (
	throttled = iota + 5 // what is below is slow
	unavailable
	undone // and nobody says so
	unsaid // done, but the answer is lost
	half   // of the answer is lost
	lots   = 20
)

// turn changes AWS's mood.
func (m *market) turn(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood = rapid.SampledFrom([]int{0, 0, throttled, undone, unsaid, lots}).Draw(t, "mood")
}

func (m *market) key(r *metering.Record) string {
	return fmt.Sprint(r.License, r.Dimension, r.Timestamp.Truncate(time.Hour).Unix())
}

func (m *market) Send(ctx context.Context, records []metering.Record) ([]metering.Outcome, error) {
	m.mu.Lock()
	lot, wait := m.mood, time.Duration(m.random.IntN(3000))*time.Millisecond
	if lot == 0 {
		lot = 1 + m.random.IntN(lots)
	}
	m.mu.Unlock()
	if lot < throttled {
		select {
		case <-ctx.Done(): // AWS goes on, and nobody hears of it
		case <-time.After(wait):
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	outcomes := make([]metering.Outcome, len(records))
	for i := range records {
		switch lot {
		case throttled:
			outcomes[i] = metering.Outcome{Answer: metering.NotRecorded}
		case unavailable:
			outcomes[i] = metering.Outcome{Answer: metering.Unavailable}
		case undone:
		default:
			outcomes[i] = m.record(&records[i])
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case lot == unsaid:
		return nil, nil
	case lot == half:
		return outcomes[:len(outcomes)/2], nil
	}
	return outcomes, nil
}

// record is what AWS makes of one record.
func (m *market) record(r *metering.Record) metering.Outcome {
	before, found := m.billed[m.key(r)]
	if r.State != metering.Sent || r.License.Kind() == policy.KindDirect || found && !sameRecord(before, *r) {
		m.wrong = fmt.Sprintf("left as %+v, now as %+v", before, *r)
	}
	lot := m.random.IntN(16)
	switch {
	case lot == 0:
		return metering.Outcome{Answer: metering.NotRecorded}
	case lot == 1:
		return metering.Outcome{Answer: metering.NotSubscribed}
	case lot == 2, !m.clock.now().Before(r.Timestamp.Add(24 * time.Hour)):
		return metering.Outcome{Answer: metering.Faulty}
	case found && lot < 8:
		return metering.Outcome{Answer: metering.Duplicate}
	}
	m.billed[m.key(r)] = *r
	return metering.Outcome{Answer: metering.Success, MeteringRecordID: "m-" + r.ID}
}

func (m *market) reread(context.Context, policy.Key) (active bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.random.IntN(4) == 0 {
		return false, errors.New("no answer")
	}
	return m.random.IntN(2) == 0, nil
}

// agrees compares a row with what is billed.
func (m *market) agrees(t *rapid.T, r *metering.Row) {
	billed, found := m.billed[m.key(&r.Record)]
	switch r.State {
	case metering.Accepted:
		if !found || !sameRecord(billed, r.Record) {
			t.Fatalf("accepted %+v, billed %+v", r, billed)
		}
	case metering.Conflict:
		t.Fatalf("a conflict with itself: %+v", r)
	case metering.Frozen, metering.Rebooked, metering.Dry, metering.Stranded:
		if found {
			t.Fatalf("billed although %s: %+v", r.State, r)
		}
	case metering.Blocked, metering.Refused:
		if found && !r.Ambiguous {
			t.Fatalf("billed, and nothing says that it may be: %+v", r)
		}
	}
}
