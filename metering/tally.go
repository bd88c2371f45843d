package metering

import (
	"math"
	"sync"
	"time"

	"github.com/weirhq/weir/policy"
)

// maxCounted is how much one license and feature can ever count: sums beyond could
// overflow once a request's largest quantity, of 15 digits, is added (BILLING B08).
const maxCounted = math.MaxInt64 / 4

// tally is the usage of one feature of one license in memory. Its lock is short,
// and no refresh, commit or other license ever holds it for more than a few
// instructions.
type tally struct {
	record  *record
	feature string

	mu      sync.Mutex
	periods [policy.Periods]span
	counted int64  // since ever
	pending []cell // not handed to a commit yet
	shadow  int64  // counted apart, not shown in the metric yet
	queued  bool   // in the meter's list of changed tallies
}

// span is a period with its end; a term's is not kept.
type span struct {
	PeriodTotal
	end time.Time
}

// cell sums what was counted in one hour on the same terms.
type cell struct {
	hour     time.Time
	first    time.Time
	quantity int64
	terms    policy.Terms
}

// take looks, and counts unless t only looks. changed tells that the tally has
// something to commit now, and that the caller has to put it on the meter's list.
func (y *tally) take(t *policy.Taking, starts time.Time) (b policy.Balance, changed bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.roll(t, starts)
	period := &y.periods[t.Terms.Every]
	b = policy.Balance{Terms: t.Terms, Used: period.Used, Start: period.Start, End: period.end}
	if t.Terms.Every == policy.Term {
		b.End = t.Terms.Until
	}
	b.OK = t.Quantity >= 0 && y.counted <= maxCounted-t.Quantity &&
		(t.Terms.Then == policy.ThenBill || t.Terms.Included == policy.Unlimited || b.Used+b.Held+t.Need <= t.Terms.Included)
	if !b.OK || t.Look || t.Quantity == 0 {
		return b, false
	}
	if t.Shadow {
		y.shadow += t.Quantity
	} else {
		y.count(t)
		b.Used = period.Used
	}
	changed, y.queued = !y.queued, true
	return b, changed
}

// count adds to every period, whatever the terms ask for, so that a change of plan
// goes on with what was counted (BILLING B06).
func (y *tally) count(t *policy.Taking) {
	y.counted += t.Quantity
	for p := range y.periods {
		y.periods[p].Used += t.Quantity
	}
	hour := y.periods[policy.Hour].Start
	if t.At.Before(hour) { // the clock went back: the ledger knows whether that hour is open
		hour = hourOf(t.At)
	}
	for i := range y.pending {
		if c := &y.pending[i]; c.terms == t.Terms && c.hour.Equal(hour) {
			c.quantity += t.Quantity
			return
		}
	}
	y.pending = append(y.pending, cell{
		hour: hour, first: t.At.Truncate(time.Second), quantity: t.Quantity, terms: t.Terms,
	})
}

// roll begins the periods that hold t.At. A step back of the clock begins none: the
// quota that holds is that of the latest (BILLING B18).
func (y *tally) roll(t *policy.Taking, starts time.Time) {
	for p := range policy.Term {
		if s := &y.periods[p]; !t.At.Before(s.end) {
			start, end := p.Bounds(t.At, time.Time{}, time.Time{})
			if start.Before(s.Start) {
				_, end = p.Bounds(s.Start, time.Time{}, time.Time{})
			} else if start.After(s.Start) {
				s.PeriodTotal = PeriodTotal{Start: start}
			}
			s.end = end
		}
	}
	term := &y.periods[policy.Term]
	if start := periodStart(policy.Term, t.At, &t.Terms, starts, term.Start); start.After(term.Start) {
		term.PeriodTotal = PeriodTotal{Start: start}
	}
}

// drain hands over what is pending, with what was counted in shadow.
func (y *tally) drain() (cells []cell, shadow int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.queued = false
	cells, y.pending = y.pending, nil
	shadow, y.shadow = y.shadow, 0
	return cells, shadow
}

// load takes over what the ledger has.
func (y *tally) load(t *Total) {
	y.counted = t.Counted
	for p := range y.periods {
		y.periods[p].PeriodTotal = t.Periods[p]
	}
}
