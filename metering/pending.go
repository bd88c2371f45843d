package metering

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// Token names one check for good: its number, within the process that let it through.
type Token struct{ Epoch, Number uint64 }

// Tokens are those of several checks.
type Tokens []Token

// Turn is the last commit of a process in which checks were let through: of later ones,
// whose tokens may be out, a crash has left nothing.
type Turn struct {
	Epoch  uint64
	Turn   uint32
	Minute time.Time // the latest of its checks
}

// PendingCell sums the checks of one minute and one set of terms that wait for their
// access log entry (BILLING B04).
type PendingCell struct {
	Minute time.Time // of issue, or of the last sign of life
	Terms  policy.Terms
	Count  int64 // checks
	Units  int64 // known at the check
	Held   int64
	Moved  Tokens // the checks among them that a sign of life has brought here
}

// pending is the part of a book that holds checks in flight.
type pending struct {
	Cells    []PendingCell
	Issued   int64 // checks since ever
	Resolved int64 // of them, those that have come to an end
	// Settled is the latest minute whose checks ended without an entry: none is issued in it again.
	Settled time.Time
	// Turns are those of the processes whose checks may wait.
	Turns []Turn
}

// apply takes over what a delta says of checks. The deltas of a commit may bring a cell
// below 0 on the way; tidy ends that.
func (p *pending) apply(d *Delta) {
	switch d.Kind {
	case Issued:
		p.Issued += d.Count
		p.note(d)
		p.cell(d.Minute, &d.Terms).add(d, 1)
	case Moved:
		from := p.cell(d.Minute, &d.Terms)
		from.add(d, -1)
		from.forget(d.Tokens)
		to := p.cell(d.To, &d.Terms)
		to.add(d, 1)
		to.Moved = append(to.Moved, d.Tokens...)
	case Resolved, Settled:
		p.Resolved += d.Count
		c := p.cell(d.Minute, &d.Terms)
		c.add(d, -1)
		c.forget(d.Tokens)
		if d.Kind == Settled {
			p.Settled = latest(p.Settled, d.Minute)
		}
	}
}

// note keeps the turn of checks let through.
func (p *pending) note(d *Delta) {
	i := slices.IndexFunc(p.Turns, func(t Turn) bool { return t.Epoch == d.Epoch })
	if i < 0 {
		p.Turns = append(p.Turns, Turn{Epoch: d.Epoch})
		i = len(p.Turns) - 1
	}
	t := &p.Turns[i]
	t.Turn, t.Minute = max(t.Turn, d.Turn), latest(t.Minute, d.Minute)
}

// cell finds or makes a cell; the pointer is good until the next call.
func (p *pending) cell(minute time.Time, terms *policy.Terms) *PendingCell {
	for i := len(p.Cells) - 1; i >= 0; i-- { // the latest minute is the last
		if c := &p.Cells[i]; c.Minute.Equal(minute) && sameTerms(&c.Terms, terms) {
			return c
		}
	}
	p.Cells = append(p.Cells, PendingCell{Minute: minute, Terms: *terms})
	return &p.Cells[len(p.Cells)-1]
}

// tidy removes the cells in which nothing waits, and the turns of processes none of whose checks can wait
// where it was let through. One below 0 ended checks of which this
// book never heard, because it is of a new file: they count as issued here.
func (p *pending) tidy() {
	p.Cells = slices.DeleteFunc(p.Cells, func(c PendingCell) bool {
		p.Issued -= min(c.Count, 0)
		return c.Count <= 0
	})
	p.Turns = slices.DeleteFunc(p.Turns, func(t Turn) bool {
		return !slices.ContainsFunc(p.Cells, func(c PendingCell) bool { return !c.Minute.After(t.Minute) })
	})
}

func (c *PendingCell) add(d *Delta, sign int64) {
	c.Count += sign * d.Count
	c.Units += sign * d.Quantity
	c.Held += sign * d.Held
}

// forget takes checks off the list of those that were moved here.
func (c *PendingCell) forget(tokens Tokens) {
	if len(c.Moved) == 0 || len(tokens) == 0 {
		return
	}
	gone := make(map[Token]bool, len(tokens))
	for _, t := range tokens {
		gone[t] = true
	}
	c.Moved = slices.DeleteFunc(c.Moved, func(t Token) bool { return gone[t] })
}

// sameTerms compares terms of which some were read from a file: times by their instant.
func sameTerms(a, b *policy.Terms) bool {
	return a.Included == b.Included && a.Every == b.Every && a.Then == b.Then && a.Per == b.Per &&
		a.Since.Equal(b.Since) && a.Until.Equal(b.Until) && a.Dimension == b.Dimension
}

// fingerprint names terms in a token. The seller makes the terms, no client does: few are in
// use at once, and 32 bits tell them apart.
func fingerprint(t *policy.Terms) uint32 {
	text := fmt.Sprintf("%d %d %d %d %d %q %d", t.Included, t.Every, t.Since.UnixNano(), t.Until.UnixNano(), t.Then, t.Dimension, t.Per)
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint32(sum[:])
}
