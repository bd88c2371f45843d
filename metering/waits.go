package metering

import (
	"maps"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// waits are the checks of one tally that wait for their access log entry, in memory.
// The tally's lock guards them.
type waits struct {
	cells   []wait
	units   int64 // known at the check, of all cells
	held    int64 // of all cells
	settled int64 // the latest minute whose checks ended without an entry; none is issued in it again
	// alive are the checks that a sign of life has brought to a later minute than their token's.
	alive map[Token]spot
	moves []movement // not handed to a commit yet
	turn  uint32     // the commit that takes the next ones
	// disk is, by the epoch of another process, the last turn of it that the ledger has.
	disk map[uint64]uint32
}

// spot names a cell.
type spot struct {
	minute int64 // since 1970, AWS time
	terms  uint32
}

// agreed are the terms of a tally, one value for all that is counted and waits on them. It never changes.
type agreed struct {
	policy.Terms
	print uint32 // names them in a token
}

func agreedOn(t *policy.Terms) *agreed { return &agreed{*t, fingerprint(t)} }

func (a *agreed) same(o *agreed) bool { return a == o || a.Terms == o.Terms }

// wait sums the checks of one minute and one set of terms.
type wait struct {
	spot
	terms   *agreed
	count   int64
	units   int64
	held    int64
	touched time.Duration // local time, as of window.now, of the last check that came in
}

// movement is what a commit tells the ledger of checks.
type movement struct {
	kind  Kind
	from  spot
	to    int64 // the minute that Moved moves to
	terms *agreed
	count int64
	units int64
	held  int64
	// tokens are those of the checks, where they are used from now on.
	tokens Tokens
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

func minuteTime(minute int64) time.Time { return time.Unix(60*minute, 0).UTC() }

// issue lets a check wait on terms, and completes its receipt.
func (w *waits) issue(t *policy.Taking, terms *agreed, r *policy.Receipt, local time.Duration) {
	r.Kind, r.Minute = policy.Pending, max(r.Minute, w.settled+1)
	r.Terms, r.Turn = terms.print, w.turn
	c := w.cell(r.Minute, terms)
	c.add(t.Quantity, t.Need, local)
	w.units += t.Quantity
	w.held += t.Need
	w.note(&movement{kind: Issued, from: c.spot, terms: c.terms, units: t.Quantity, held: t.Need})
}

// cell finds or makes a cell; the pointer is good until the next call.
func (w *waits) cell(minute int64, terms *agreed) *wait {
	at := spot{minute, terms.print}
	if c := w.find(at); c != nil {
		return c
	}
	w.cells = append(w.cells, wait{spot: at, terms: terms})
	return &w.cells[len(w.cells)-1]
}

// find is the cell at a spot; nil where there is none.
func (w *waits) find(at spot) *wait {
	for i := len(w.cells) - 1; i >= 0; i-- {
		if w.cells[i].spot == at {
			return &w.cells[i]
		}
	}
	return nil
}

func (c *wait) add(units, held int64, local time.Duration) {
	c.count++
	c.units += units
	c.held += held
	c.touched = local
}

func (c *wait) remove(r *policy.Receipt) {
	c.count--
	c.units -= r.Quantity
	c.held -= r.Need
}

// lost tells of a check of another process that the ledger never heard of: a crash came first.
func (w *waits) lost(r *policy.Receipt, epoch uint64) bool {
	return r.Epoch != epoch && r.Turn > w.disk[r.Epoch]
}

// move brings a check to a later minute: it is alive.
func (w *waits) move(from *wait, t Token, r *policy.Receipt, minute int64, local time.Duration) {
	from.remove(r)
	w.note(&movement{
		kind: Moved, from: from.spot, to: minute, terms: from.terms, units: r.Quantity, held: r.Need, tokens: Tokens{t},
	})
	to := w.cell(minute, from.terms)
	to.add(r.Quantity, r.Need, local)
	if w.alive == nil {
		w.alive = map[Token]spot{}
	}
	w.alive[t] = to.spot
}

// resolve ends the waiting of a check.
func (w *waits) resolve(c *wait, t Token, r *policy.Receipt) {
	c.remove(r)
	w.units -= r.Quantity
	w.held -= r.Need
	delete(w.alive, t)
	w.note(&movement{kind: Resolved, from: c.spot, terms: c.terms, units: r.Quantity, held: r.Need, tokens: Tokens{t}})
}

// settle removes a cell, and tells whether checks waited in it. Then its minute is over for
// good: a late entry of it finds no cell.
func (w *waits) settle(i int) (c wait, waited bool) {
	c = w.cells[i]
	w.cells = slices.Delete(w.cells, i, i+1)
	if c.count == 0 {
		return c, false
	}
	w.units -= c.units
	w.held -= c.held
	w.settled = max(w.settled, c.minute)
	maps.DeleteFunc(w.alive, func(_ Token, at spot) bool { return at == c.spot })
	w.note(&movement{kind: Settled, from: c.spot, terms: c.terms, count: c.count, units: c.units, held: c.held})
	return c, true
}

// note keeps a movement for the next commit, together with others of its kind and spot.
// Nothing passes a Moved: what came to a minute by it has to be there before it leaves.
func (w *waits) note(n *movement) {
	if n.kind != Settled {
		n.count = 1
	}
	for i := len(w.moves) - 1; i >= 0; i-- {
		m := &w.moves[i]
		if m.kind == n.kind && m.from == n.from && m.to == n.to {
			m.count += n.count
			m.units += n.units
			m.held += n.held
			m.tokens = append(m.tokens, n.tokens...)
			return
		}
		if m.kind == Moved || n.kind == Moved {
			break
		}
	}
	w.moves = append(w.moves, *n)
}

// load takes over what the ledger has.
func (w *waits) load(t *Total, local time.Duration) {
	if !t.Settled.IsZero() {
		w.settled = minuteOf(t.Settled)
	}
	for _, d := range t.Turns {
		if w.disk == nil {
			w.disk = map[uint64]uint32{}
		}
		w.disk[d.Epoch] = d.Turn
	}
	for i := range t.Pending {
		p := &t.Pending[i]
		terms := agreedOn(&p.Terms)
		at := spot{minuteOf(p.Minute), terms.print}
		w.cells = append(w.cells, wait{spot: at, terms: terms, count: p.Count, units: p.Units, held: p.Held, touched: local})
		w.units += p.Units
		w.held += p.Held
		for _, moved := range p.Moved {
			if w.alive == nil {
				w.alive = map[Token]spot{}
			}
			w.alive[moved] = at
		}
	}
}

// inFlight counts the checks that were let through before an instant; zero: all.
func (w *waits) inFlight(before time.Time) (n int64) {
	for i := range w.cells {
		if before.IsZero() || minuteTime(w.cells[i].minute).Before(before) {
			n += w.cells[i].count
		}
	}
	return n
}
