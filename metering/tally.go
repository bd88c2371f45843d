package metering

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/weirhq/weir/policy"
)

// maxCounted is how much one license and feature can ever count: sums beyond could
// overflow once a request's largest quantity, of 15 digits, is added (BILLING B08).
const maxCounted = math.MaxInt64 / 4

// keepOfTally bounds what a list of one tally keeps of its memory, in elements: of many tallies most are idle.
const keepOfTally = 4

// tally is the usage of one feature of one license in memory. Its lock is short,
// and no refresh, commit or other license ever holds it for more than a few
// instructions.
type tally struct {
	record  *record
	feature string
	name    uint64 // in receipts

	mu      sync.Mutex
	periods [policy.Periods]span
	counted int64   // since ever
	counts  []cell  // not handed to a commit yet
	shadow  int64   // counted apart, not shown in the metric yet
	queued  bool    // in the meter's list of changed tallies
	listed  bool    // in the meter's list of those with checks in flight
	terms   *agreed // the latest
	waits   waits   // checks in flight
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
	terms    *agreed
}

// due tells which of the meter's lists a tally has to be put on.
type due struct{ commit, waits bool }

// tallyName names a license and feature in receipts, the same in every process.
func tallyName(license policy.Key, feature string) uint64 {
	sum := sha256.Sum256([]byte(string(license) + "\x00" + feature))
	return binary.BigEndian.Uint64(sum[:])
}

// take looks, and counts or holds unless t only looks; b is overwritten with how the tally stands. The caller
// has to put it on the lists that it is due on. Local is the time as of window.now.
func (y *tally) take(t *policy.Taking, starts time.Time, number uint64, local time.Duration, b *policy.Balance) (due due) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.roll(t.At, &t.Terms, starts)
	period := &y.periods[t.Terms.Every]
	*b = policy.Balance{Terms: t.Terms, Used: period.Used, Held: y.waits.held, Start: period.Start, End: period.end}
	if t.Terms.Every == policy.Term {
		b.End = t.Terms.Until
	}
	b.OK, b.Waiting = y.fits(t, b.Used)
	if !b.OK || t.Look {
		return due
	}
	b.Receipt = policy.Receipt{
		Kind: policy.Counted, Tally: y.name, Number: number, Quantity: t.Quantity, Need: t.Need,
		Minute: max(minuteOf(t.At), y.record.meter.floor.Load()),
	}
	switch {
	case t.Served && t.Shadow:
		b.Receipt.Kind = policy.Shadowed
		return due
	case t.Served:
		y.waits.issue(t, y.agreed(&t.Terms), &b.Receipt, local)
		b.Held = y.waits.held
	case t.Quantity == 0:
		return due
	case t.Shadow:
		y.shadow += t.Quantity
	default:
		y.count(t.Quantity, y.agreed(&t.Terms), t.At)
		b.Used = period.Used
	}
	return y.queue()
}

// fits tells whether the quota has room for a request and, where it has not, whether it
// would have without what is merely held (BILLING B05).
func (y *tally) fits(t *policy.Taking, used int64) (ok, waiting bool) {
	if t.Quantity < 0 || t.Need < 0 || max(y.counted, y.waits.units, y.waits.held) > maxCounted-max(t.Quantity, t.Need) {
		return false, false
	}
	if t.Terms.Then == policy.ThenBill || t.Terms.Included == policy.Unlimited {
		return true, false
	}
	left := t.Terms.Included - used - t.Need
	return left >= y.waits.held, 0 <= left && left < y.waits.held
}

// agreed is the one value of terms: the latest, mostly, else that of something that is counted or waits.
func (y *tally) agreed(t *policy.Terms) *agreed {
	if y.terms != nil && y.terms.Terms == *t {
		return y.terms
	}
	y.terms = nil
	for i := range y.counts {
		if known := y.counts[i].terms; known.Terms == *t {
			y.terms = known
		}
	}
	for i := range y.waits.cells {
		if known := y.waits.cells[i].terms; known.Terms == *t {
			y.terms = known
		}
	}
	if y.terms == nil {
		y.terms = agreedOn(t)
	}
	return y.terms
}

// queue tells which of the meter's lists the tally has to be put on, now that it has something to commit.
func (y *tally) queue() due {
	d := due{commit: !y.queued, waits: !y.listed && len(y.waits.cells) > 0}
	y.queued, y.listed = true, y.listed || d.waits
	return d
}

// count adds to every period, whatever the terms ask for, so that a change of plan
// goes on with what was counted (BILLING B06). The periods are rolled to at.
func (y *tally) count(quantity int64, terms *agreed, at time.Time) {
	y.counted += quantity
	for p := range y.periods {
		y.periods[p].Used += quantity
	}
	hour := y.periods[policy.Hour].Start
	if at.Before(hour) { // the clock went back: the ledger knows whether that hour is open
		hour = hourOf(at)
	}
	for i := range y.counts {
		if c := &y.counts[i]; c.terms.same(terms) && c.hour.Equal(hour) {
			c.quantity += quantity
			return
		}
	}
	y.counts = append(y.counts, cell{hour: hour, first: at.Truncate(time.Second), quantity: quantity, terms: terms})
}

// countLate counts what is known only now of a check that was let through earlier on these terms.
func (y *tally) countLate(quantity int64, terms *agreed, at time.Time) {
	quantity = min(quantity, 2*maxCounted-y.counted) // never less than 0: many responses may have told of more than was left
	if quantity <= 0 {
		return
	}
	y.roll(at, &terms.Terms, y.record.license.Load().Starts)
	y.count(quantity, terms, at)
}

// roll begins the periods that hold an instant. A step back of the clock begins none: the
// quota that holds is that of the latest (BILLING B18).
func (y *tally) roll(at time.Time, terms *policy.Terms, starts time.Time) {
	for p := range policy.Term {
		if s := &y.periods[p]; !at.Before(s.end) {
			start, end := p.Bounds(at, time.Time{}, time.Time{})
			if start.Before(s.Start) {
				_, end = p.Bounds(s.Start, time.Time{}, time.Time{})
			} else if start.After(s.Start) {
				s.PeriodTotal = PeriodTotal{Start: start}
			}
			s.end = end
		}
	}
	term := &y.periods[policy.Term]
	if start := periodStart(policy.Term, at, terms, starts, term.Start); start.After(term.Start) {
		term.PeriodTotal = PeriodTotal{Start: start}
	}
}

// drained is what a tally hands over to a commit.
type drained struct {
	counts []cell
	moves  []movement
	shadow int64
	turn   uint32 // of the checks let through
}

// drain hands over what is to be committed, with what was counted in shadow. The lists of d before are
// used again, and so are the tally's, unless a burst has made them large.
func (y *tally) drain(d *drained) {
	y.mu.Lock()
	defer y.mu.Unlock()
	d.counts, d.moves = append(again(d.counts), y.counts...), append(again(d.moves), y.waits.moves...)
	d.shadow, d.turn = y.shadow, y.waits.turn
	y.counts, y.waits.moves = emptied(y.counts, keepOfTally), emptied(y.waits.moves, keepOfTally)
	y.waits.turn++
	y.queued, y.shadow = false, 0
}

// load takes over what the ledger has.
func (y *tally) load(t *Total) {
	y.counted = t.Counted
	for p := range y.periods {
		y.periods[p].PeriodTotal = t.Periods[p]
	}
	y.waits.load(t, y.record.meter.window.now())
}
