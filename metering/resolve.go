package metering

import (
	"time"

	"github.com/weirhq/weir/policy"
)

// The ways in which a check ends, as weir_checks_resolved_total spells them (BILLING B04).
const (
	howCounted     = "counted"
	howNotServed   = "not_served"
	howUnmeasured  = "unmeasured"  // served, but the response did not give the quantity
	howUnconfirmed = "unconfirmed" // no access log entry came
)

// Resolve takes what an access log entry says of a check: its units are counted now, or
// will not be, or it is still under way. The refusal of an entry that ends no check is
// counted.
func (m *Meter) Resolve(e *Ending) Refusal {
	why := m.resolve(e)
	if why != "" {
		m.Refused(why)
	}
	return why
}

// Refused counts an access log entry that ends no check.
func (m *Meter) Refused(why Refusal) { m.metrics.refused.WithLabelValues(string(why)).Inc() }

func (m *Meter) resolve(e *Ending) Refusal {
	r, ok := m.notary.read(e.Token, e.Route)
	if !ok {
		return RefusedForged
	}
	if r.Kind == policy.Uncounted {
		return ""
	}
	y := m.tallyOf(r.Tally)
	if y == nil {
		return RefusedUnknown
	}
	if y.record.key != e.License {
		return RefusedOtherLicense
	}
	m.heard.Store(true)
	return m.end(y, &r, e)
}

// Abandon ends a check whose caller went away before the answer: nothing was served,
// and a retry is a request of its own.
func (m *Meter) Abandon(id string, r *policy.Receipt) {
	y := m.tallyOf(r.Tally)
	if y == nil || r.Kind != policy.Pending && r.Kind != policy.Shadowed {
		return
	}
	release := func() { m.end(y, r, &Ending{How: NotServed}) }
	if id == "" {
		release()
		return
	}
	m.window.leave(id, r.Number, release)
}

// Pending is how many checks wait for their access log entry.
func (m *Meter) Pending() int64 { return m.pending.Load() }

// end takes an entry of a tally's check over.
func (m *Meter) end(y *tally, r *policy.Receipt, e *Ending) Refusal {
	var end ended
	switch r.Kind {
	case policy.Pending:
		end = y.end(&m.used, r, e, m.now())
	case policy.Shadowed:
		end = y.endShadow(&m.used, r, e)
	}
	if end.how != "" {
		m.pending.Add(-1)
		m.metrics.resolved.WithLabelValues(end.how).Inc()
	}
	m.changed(y, end.due)
	return end.why
}

// ended is what an entry changed.
type ended struct {
	why Refusal
	how string // the check came to this end; empty: to none
	due due    // as of take
}

// end takes an entry of a check that waits.
func (y *tally) end(used *usedTokens, r *policy.Receipt, e *Ending, now time.Time) ended {
	y.mu.Lock()
	defer y.mu.Unlock()
	t := Token{r.Epoch, r.Number}
	at, moved := y.waits.alive[t]
	if !moved {
		if used.has(t) {
			return ended{why: RefusedUsed}
		}
		if y.waits.lost(r, y.record.meter.epoch) {
			return ended{why: RefusedUnknown}
		}
		at = spot{r.Minute, r.Terms}
	}
	c := y.waits.find(at)
	if c == nil || c.count == 0 {
		return ended{why: RefusedUnknown}
	}
	if e.How == Alive {
		to := max(minuteOf(now), y.waits.settled+1)
		if to <= at.minute {
			return ended{}
		}
		used.set(t, minuteTime(to))
		y.waits.move(c, t, r, to, y.record.meter.window.now())
		return ended{due: y.queue()}
	}
	used.set(t, minuteTime(at.minute))
	terms := c.terms
	y.waits.resolve(c, t, r)
	units, how := e.units(r)
	y.countLate(units, terms, now)
	return ended{how: how, due: y.queue()}
}

// endShadow takes an entry of a check that was let through in shadow mode: nothing waits
// for it but a metric.
func (y *tally) endShadow(used *usedTokens, r *policy.Receipt, e *Ending) ended {
	if e.How == Alive {
		return ended{}
	}
	if !used.set(Token{r.Epoch, r.Number}, minuteTime(r.Minute)) {
		return ended{why: RefusedUsed}
	}
	units, _ := e.units(r)
	if units == 0 {
		return ended{}
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.shadow += min(units, maxCounted-y.shadow)
	return ended{due: y.queue()}
}

// units are what the check counts in the end, and how it ends.
func (e *Ending) units(r *policy.Receipt) (n int64, how string) {
	switch {
	case e.How != Served:
		return 0, howNotServed
	case !e.FromResponse:
		return r.Quantity, howCounted
	case !e.Measured || e.Quantity < 0:
		return 0, howUnmeasured
	default:
		return e.Quantity, howCounted
	}
}
