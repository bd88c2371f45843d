package metering

import (
	"math"
	"time"
)

// gathering makes the deltas of one commit out of batches of usage events.
type gathering struct {
	meter  *Meter
	now    time.Time
	room   int64 // for ids
	full   FullError
	fresh  map[EventID]struct{} // entered in this commit
	deltas []Delta
	places map[*tally][]int // of deltas
}

func newGathering(m *Meter, now time.Time, memory *Memory) *gathering {
	g := &gathering{
		meter: m, now: now, room: math.MaxInt64,
		fresh: make(map[EventID]struct{}, len(memory.Known)), places: map[*tally][]int{},
	}
	if m.cfg.Remember > 0 {
		g.room = m.cfg.Remember - memory.Held
		g.full.Retry = max(memory.Oldest.Add(eventsKnown).Sub(now), 0)
	}
	return g
}

// entered is an event that counts, with where it does.
type entered struct {
	event  *Event
	record *record
	tally  *tally
}

// gather enters a batch whole, or refuses it. What is not refused has its result, once
// the commit has succeeded.
func (g *gathering) gather(r *report, known []bool) {
	counted := make([]entered, 0, len(r.events))
	sums := map[*tally]int64{}
	var refused []RefusedEvent
	for i := range r.events {
		e := &r.events[i]
		if _, twice := g.fresh[e.ID]; twice || known[i] {
			continue
		}
		g.fresh[e.ID] = struct{}{}
		n, reason := g.examine(e, sums)
		if reason != "" {
			refused = append(refused, RefusedEvent{i, reason})
		}
		n.event = e
		counted = append(counted, n)
	}
	switch {
	case len(refused) > 0:
		r.err = &RefusedError{refused}
	case int64(len(counted)) > g.room:
		r.err = &g.full
	}
	if r.err != nil {
		for _, n := range counted {
			delete(g.fresh, n.event.ID)
		}
		return
	}
	g.room -= int64(len(counted))
	for y, sum := range sums {
		y.expect(sum)
	}
	for i := range counted {
		g.enter(&counted[i])
	}
	r.result = Reported{Accepted: len(counted), Duplicates: len(r.events) - len(counted)}
}

// examine finds where an event counts, or why it does not.
func (g *gathering) examine(e *Event, sums map[*tally]int64) (n entered, reason EventReason) {
	if e.Refused != "" {
		return n, e.Refused
	}
	if e.Time.Sub(g.now) > maxAhead {
		return n, EventTimeAhead
	}
	r, ended, frozen := g.meter.reported(e)
	if frozen || !ended.IsZero() && g.now.Sub(ended) >= takenAfterEnd {
		return n, EventLicenseEnded
	}
	y := r.tally(e.Feature)
	if sums[y] += e.Quantity; e.Quantity < 1 || !y.holds(sums[y]) {
		sums[y] -= e.Quantity
		return n, EventQuantityInvalid
	}
	return entered{record: r, tally: y}, ""
}

// reported is the record of an event's license, when that ended, and whether its last hour is
// frozen (BILLING B15).
func (m *Meter) reported(e *Event) (r *record, ended time.Time, frozen bool) {
	m.Counter(e.License) // takes over what it says
	m.mu.Lock()
	defer m.mu.Unlock()
	r = m.record(e.License.Key)
	ended = r.license.Load().Ended
	return r, ended, !ended.IsZero() && ended.Equal(r.ends)
}

// enter adds an event to the delta of its license, feature, hour and terms.
func (g *gathering) enter(n *entered) {
	l := n.record.license.Load()
	first, late := g.counts(n.event.Time, l.Starts)
	hour := hourOf(first)
	g.meter.metrics.counted(l, n.event.Terms.Dimension, n.event.Quantity)
	for _, i := range g.places[n.tally] {
		d := &g.deltas[i]
		if d.Hour.Equal(hour) && d.Late == late && d.Terms == n.event.Terms {
			d.Quantity += n.event.Quantity
			d.First = earliest(d.First, first)
			d.Events = append(d.Events, n.event.ID)
			return
		}
	}
	g.places[n.tally] = append(g.places[n.tally], len(g.deltas))
	d := deltaOf(l, n.event.Feature)
	d.Hour, d.Else, d.First, d.Late = hour, hourOf(g.now), first, late
	d.Quantity, d.Terms = n.event.Quantity, n.event.Terms
	d.Events, d.Seen = []EventID{n.event.ID}, g.now
	g.deltas = append(g.deltas, d)
}

// counts is the second for which an event counts: its time, if the hour of that can still be
// open, else now, late (BILLING B09). It is never ahead of now, nor before the license began.
func (g *gathering) counts(at, starts time.Time) (second time.Time, late bool) {
	now := g.now.Truncate(time.Second)
	if at.IsZero() || at.After(now) {
		return now, false
	}
	at = earliest(latest(at, starts), now).UTC().Truncate(time.Second)
	if hourOf(at).Before(hourOf(g.now.Add(-g.meter.cfg.CloseAfter))) {
		return now, true
	}
	return at, false
}

// holds tells whether the tally can count so much more (BILLING B08).
func (y *tally) holds(quantity int64) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return quantity <= maxCounted && y.counted <= maxCounted-quantity
}

// expect makes room for units that are on their way into the ledger.
func (y *tally) expect(quantity int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.counted += quantity
}
