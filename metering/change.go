package metering

import (
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// bookID names a book: what is kept for one license and feature.
type bookID struct {
	license policy.Key
	feature string
}

func (d *Delta) book() bookID { return bookID{d.License, d.Feature} }

// change is what one segment of a journal holds for one book. Its deltas add up to what was
// committed, one after the other; several commits of the same are one.
type change struct {
	key    string // of the book in the ledger
	id     bookID
	seqs   sequences
	deltas []Delta

	number uint64 // its name in the segment
	told   bool   // the segment describes it:
	said   Delta  // as it describes this
}

// sequences are the last commits of writers, of which there are few, in the order of their names.
type sequences []serial

// serial is the last commit of a writer.
type serial struct {
	writer string
	seq    uint64
}

// of is the last commit of a writer; 0: there is none.
func (s sequences) of(writer string) uint64 {
	for i := range s {
		if s[i].writer == writer {
			return s[i].seq
		}
	}
	return 0
}

// set notes the last commit of a writer.
func (s *sequences) set(writer string, seq uint64) {
	i, found := slices.BinarySearchFunc(*s, writer, func(e serial, name string) int { return strings.Compare(e.writer, name) })
	if !found {
		*s = slices.Insert(*s, i, serial{writer: writer})
	}
	(*s)[i].seq = seq
}

// describes tells whether two deltas of a book say the same of it: who bills it, since when, and on which terms.
func (d *Delta) describes(o *Delta) bool {
	return d.Account == o.Account && d.Customer == o.Customer && d.Product == o.Product && d.Starts.Equal(o.Starts) && d.Ends.Equal(o.Ends)
}

// in tells whether a book holds the change: all of it is written there, or nothing.
func (c *change) in(b *book) bool {
	for _, s := range c.seqs {
		if s.seq > b.Writers.of(s.writer) {
			return false
		}
	}
	return true
}

// apply adds the change to a book that does not hold it.
func (c *change) apply(b *book, closed time.Time) {
	for i := range c.deltas {
		b.apply(&c.deltas[i], closed)
	}
	b.Pending.tidy()
	for _, s := range c.seqs {
		b.Writers.set(s.writer, s.seq)
	}
}

// note notes that a commit is in the change.
func (c *change) note(writer string, seq uint64) {
	c.seqs.set(writer, max(seq, c.seqs.of(writer)))
}

// mergeDepth is how many deltas back one is looked for that another can be added to: a
// license has checks of a few kinds and minutes beside what it counted.
const mergeDepth = 8

// add adds a delta: to an earlier one, where no book can tell the difference.
func (c *change) add(d *Delta) {
	for i := len(c.deltas) - 1; i >= max(0, len(c.deltas)-mergeDepth); i-- {
		e := &c.deltas[i]
		if e.alike(d) {
			e.sum(d)
			return
		}
		if !e.commutes(d) {
			break
		}
	}
	c.deltas = append(c.deltas, *d)
	last := &c.deltas[len(c.deltas)-1]
	last.Events, last.Tokens = slices.Clip(last.Events), slices.Clip(last.Tokens) // what is appended is not the caller's
}

// alike tells whether two deltas differ in nothing but in how much they bring.
func (d *Delta) alike(o *Delta) bool {
	return d.Kind == o.Kind && d.describes(o) && sameTerms(&d.Terms, &o.Terms) && d.Late == o.Late && d.Epoch == o.Epoch &&
		d.Hour.Equal(o.Hour) && d.Else.Equal(o.Else) && d.Minute.Equal(o.Minute) && d.To.Equal(o.To) &&
		(d.Seen.Equal(o.Seen) || seenSecond(d.Seen).Equal(seenSecond(o.Seen)))
}

// sum adds a delta that is alike.
func (d *Delta) sum(o *Delta) {
	d.Quantity += o.Quantity
	d.Count += o.Count
	d.Held += o.Held
	d.Turn = max(d.Turn, o.Turn)
	d.First, d.Seen = earliest(d.First, o.First), latest(d.Seen, o.Seen)
	d.Events = append(d.Events, o.Events...)
	d.Tokens = append(d.Tokens, o.Tokens...)
}

// commutes tells whether a book comes out the same if o is applied before d. Units fill quotas and
// records in their order; a check ends where it was moved to.
func (d *Delta) commutes(o *Delta) bool {
	switch {
	case !d.describes(o):
		return false
	case d.Kind == Counted || o.Kind == Counted:
		return d.Kind != o.Kind
	default:
		return d.Kind != Moved || o.Kind == Issued || o.Kind == Moved
	}
}

// seenSecond is the second by which events that came at an instant are remembered: rounded up, so that none is
// forgotten early.
func seenSecond(seen time.Time) time.Time { return seen.Add(time.Second - 1).Truncate(time.Second) }
