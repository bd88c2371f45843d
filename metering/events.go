package metering

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/weirhq/weir/policy"
)

const (
	// eventsKnown is how long a usage event is known by its id: within it the same one counts once.
	eventsKnown = 48 * time.Hour
	// maxAhead is how far ahead of AWS's time the time of a usage event may be (BILLING B09).
	maxAhead = 5 * time.Minute
	// maxGathered is from how many usage events on one commit takes no further batch, so that
	// none waits long for those of others.
	maxGathered = 20_000
)

// EventID names a usage event by its source and id.
type EventID [16]byte

// NewEventID is the id of the event that CloudEvents names by source and id; neither holds a NUL.
func NewEventID(source, id string) EventID {
	var room [256]byte
	sum := sha256.Sum256(append(append(append(room[:0], source...), 0), id...))
	return EventID(sum[:])
}

// Event is usage that the application reports, with the license that it counts for.
type Event struct {
	ID       EventID
	License  *policy.License
	Feature  string
	Terms    policy.Terms
	Quantity int64     // units, 1 to 999,999,999,999,999
	Time     time.Time // when it was used, AWS time; zero: now
	// Refused, where set, is why there is no license: the event is refused, unless it is known already.
	Refused EventReason
}

// EventReason says why a usage event is refused.
type EventReason string

// The reasons that Report finds; others come in with Event.Refused.
const (
	EventTimeAhead       EventReason = "time_ahead"
	EventLicenseEnded    EventReason = "license_ended"
	EventQuantityInvalid EventReason = "quantity_invalid" // no sum could hold it (BILLING B08)
)

// Reported is what became of a batch of usage events.
type Reported struct {
	Accepted   int // counted, durably
	Duplicates int // known already, or named twice in the batch
}

// RefusedError tells that a batch holds events that can't be counted: none of it was.
type RefusedError struct{ Events []RefusedEvent }

// RefusedEvent is one event of a batch that can't be counted.
type RefusedEvent struct {
	Index  int
	Reason EventReason
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%d usage events can't be counted", len(e.Events))
}

// FullError tells that as many ids of usage events are known as may be: nothing was counted.
type FullError struct {
	// Retry is when the first of them will be forgotten: in how long.
	Retry time.Duration
}

func (e *FullError) Error() string { return "the memory of usage events is full" }

// report is one batch on its way into the ledger.
type report struct {
	events []Event
	done   chan struct{} // closed once result and err are set
	result Reported
	err    error
}

// reports are the batches that wait for a commit.
type reports struct {
	mu      sync.Mutex
	waiting []*report
}

// Report counts a batch of usage events whole or not at all, and returns when that is durable
// (BILLING B07). A [*RefusedError] or a [*FullError] says that nothing was counted. After any
// other error it may have been, or may be later: the same batch again is safe, since an
// event that is known by its id counts no second time.
//
// Batches that come while another is committed are committed together.
func (m *Meter) Report(ctx context.Context, events []Event) (Reported, error) {
	r := &report{events: events, done: make(chan struct{})}
	m.reports.add(r)
	for {
		select {
		case <-r.done:
			return r.result, r.err
		case <-ctx.Done(): // it may be in a commit that has begun: that goes on
			m.reports.withdraw(r)
			return Reported{}, fmt.Errorf("report usage: %w", context.Cause(ctx))
		case <-m.committing:
			m.commitReports(context.WithoutCancel(ctx)) // it is the other callers' as well
			m.committing <- struct{}{}
		}
	}
}

func (w *reports) add(r *report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, r)
}

// withdraw takes a batch back, if it still waits.
func (w *reports) withdraw(r *report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.waiting {
		if other == r {
			w.waiting = append(w.waiting[:i:i], w.waiting[i+1:]...)
			return
		}
	}
}

// take takes the batches that came first: one at least, and as many as a commit should have.
func (w *reports) take() (batches []*report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := 0
	for len(w.waiting) > 0 && events < maxGathered {
		events += len(w.waiting[0].events)
		batches = append(batches, w.waiting[0])
		w.waiting[0], w.waiting = nil, w.waiting[1:]
	}
	return batches
}

// commitReports commits the batches that wait, together with all else that is pending, in
// one commit. The caller has the token.
func (m *Meter) commitReports(ctx context.Context) {
	batches := m.reports.take()
	if len(batches) == 0 {
		return
	}
	err := m.writeReports(ctx, batches)
	m.commits.note(m.log, err)
	if err != nil {
		m.wakeUp()
	}
	for _, r := range batches {
		if err != nil && r.err == nil {
			r.result, r.err = Reported{}, fmt.Errorf("report usage: %w", err)
		}
		close(r.done)
	}
}

// writeReports gives each batch its result; an error is that of those which have none.
func (m *Meter) writeReports(ctx context.Context, batches []*report) error {
	if err := m.commits.err(); err != nil {
		return err // Run tries again at its own pace: no caller has a file in trouble opened and verified
	}
	if err := m.write(ctx); err != nil { // a commit that failed before: its ids have to be known first
		return err
	}
	now := m.now()
	memory, err := m.ledger.Recall(ctx, now, idsOf(batches))
	if err != nil {
		return err
	}
	g := newGathering(m, now, &memory)
	from := 0
	for _, r := range batches {
		g.gather(r, memory.Known[from:from+len(r.events)])
		from += len(r.events)
	}
	if len(g.deltas) == 0 {
		return nil
	}
	if !m.drain() {
		m.batch.seq++
	}
	m.batch.deltas = append(m.batch.deltas, g.deltas...)
	return m.write(ctx)
}

func idsOf(batches []*report) []EventID {
	var ids []EventID
	for _, r := range batches {
		for i := range r.events {
			ids = append(ids, r.events[i].ID)
		}
	}
	return ids
}

// write commits the batch, if there is one, and shows memory what was reported in it. The
// caller has the token.
func (m *Meter) write(ctx context.Context) error {
	if len(m.batch.deltas) == 0 {
		return nil
	}
	totals, err := m.ledger.Commit(ctx, writer, m.batch.seq, m.batch.deltas)
	if err != nil {
		return err
	}
	for i := range m.batch.deltas {
		if d := &m.batch.deltas[i]; len(d.Events) > 0 {
			m.known(d.License).tally(d.Feature).settle(&totals[i])
		}
	}
	m.batch.deltas = again(m.batch.deltas)
	return nil
}

// known finds or makes the record of a license.
func (m *Meter) known(key policy.Key) *record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.record(key)
}

// settle takes over the ledger's totals after usage was reported, and adds what is not
// committed yet.
func (y *tally) settle(t *Total) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for p := range policy.Periods {
		s, start := &y.periods[p], t.Periods[p].Start
		if start.Before(s.Start) {
			continue // the ledger has nothing of the present period yet
		}
		s.PeriodTotal = t.Periods[p]
		if p != policy.Term {
			_, s.end = p.Bounds(start, time.Time{}, time.Time{})
		}
		for i := range y.counts {
			if c := &y.counts[i]; p == policy.Term || !c.hour.Before(start) {
				s.Used += c.quantity
			}
		}
	}
}
