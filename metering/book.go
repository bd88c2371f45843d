package metering

import (
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// book is everything that a ledger holds of one license and feature before it is
// frozen: one value, changed as a whole. Its arithmetic is pure, so that every
// implementation of Ledger bills alike.
type book struct {
	License  policy.Key
	Feature  string
	Account  string
	Customer string
	Product  string
	Starts   time.Time
	Ends     time.Time
	// First is the first second counted in the hour in which the license began (BILLING B10).
	First time.Time
	// Closed is the first hour that is open for this license, where it is later than the ledger's.
	Closed time.Time
	// Writers holds the last sequence of each writer.
	Writers sequences
	// Periods are the present ones, Before those that ended last: an hour is open beyond the end of its period.
	Periods [policy.Periods]PeriodTotal
	Before  [policy.Periods]PeriodTotal

	Counted  int64
	Included int64
	Billable int64
	Overrun  int64
	Unpriced int64

	Lines []line

	Pending pending
}

// line is what a book bills in one dimension at one rate.
type line struct {
	Dimension string
	Per       int64
	Carry     int64      // counted units below one billed unit
	Pruned    int64      // billed units of rows that are there no longer, rebooked ones aside
	Open      []openHour // by hour
}

// openHour holds the whole billed units of an hour that is not frozen.
type openHour struct {
	Hour  time.Time
	Units int64
	Late  bool
}

func newBook(id bookID) *book {
	return &book{License: id.license, Feature: id.feature}
}

// apply takes a delta over. Hours before closed are frozen.
func (b *book) apply(d *Delta, closed time.Time) {
	b.describe(d)
	if d.Kind != Counted {
		b.Pending.apply(d)
		return
	}
	wanted := b.within(d.Hour)
	hour := b.open(wanted, closed)
	if hour.After(wanted) {
		hour = b.open(latest(hour, b.within(d.Else)), closed)
	}
	used := b.count(hour, d)

	included := fits(d.Terms.Included, used, d.Quantity)
	rest := d.Quantity - included
	b.Counted += d.Quantity
	b.Included += included
	switch {
	case rest == 0:
	case d.Terms.Then == policy.ThenDeny:
		b.Overrun += rest
	case d.Terms.Dimension == "":
		b.Unpriced += rest
	default:
		b.Billable += rest
		l := b.line(d.Terms.Dimension, max(d.Terms.Per, 1))
		l.bill(hour, rest, d.Late || hour.After(d.Hour))
	}
}

// describe takes over what the delta knows of the license: nothing, where its process has not read it yet.
// The license began at the first of the instants that were ever told, since one that was killed sees it
// for the first time again (BILLING B10); but after an end it begins anew.
func (b *book) describe(d *Delta) {
	if d.tells() {
		b.Account, b.Customer, b.Product = d.Account, d.Customer, d.Product
		anew := !b.Ends.IsZero() && d.Starts.After(b.Ends)
		if b.Starts.IsZero() || anew || !d.Starts.IsZero() && d.Starts.Before(b.Starts) {
			b.Starts = d.Starts
		}
		b.Ends = d.Ends
	}
	began := hourOf(b.Starts)
	if !hourOf(b.First).Equal(began) {
		b.First = time.Time{}
	}
	if hourOf(d.First).Equal(began) && (b.First.IsZero() || d.First.Before(b.First)) {
		b.First = d.First
	}
}

// within is the hour, or that in which the license ended: what was let through before and is counted
// after it is of its last hour, as long as that is open (BILLING B15).
func (b *book) within(h time.Time) time.Time {
	if b.Ends.IsZero() {
		return h
	}
	return earliest(h, hourOf(b.Ends))
}

// open is the first hour from h on that is not frozen (BILLING B09).
func (b *book) open(h, closed time.Time) time.Time { return latest(latest(h, closed), b.Closed) }

// count adds to the period of every length and returns what the terms' own held before.
func (b *book) count(hour time.Time, d *Delta) (before int64) {
	for p := range policy.Periods {
		total := b.period(p, periodStart(p, hour, &d.Terms, d.Starts, b.Periods[p].Start))
		if p == d.Terms.Every {
			before = total.Used
		}
		total.Used += d.Quantity
	}
	return before
}

// period is the total of the period that begins at start, which is the present
// one, a new one, or the one before.
func (b *book) period(p policy.Period, start time.Time) *PeriodTotal {
	present := &b.Periods[p]
	switch {
	case start.Before(present.Start):
		return &b.Before[p]
	case start.After(present.Start):
		b.Before[p] = *present
		*present = PeriodTotal{Start: start}
	}
	return present
}

// line is the line of a dimension and rate; the pointer is good until the next call.
func (b *book) line(dimension string, per int64) *line {
	for i := range b.Lines {
		if b.Lines[i].Dimension == dimension && b.Lines[i].Per == per {
			return &b.Lines[i]
		}
	}
	b.Lines = append(b.Lines, line{Dimension: dimension, Per: per})
	return &b.Lines[len(b.Lines)-1]
}

// hours are the hours for which the book holds units that are not frozen.
func (b *book) hours() []time.Time {
	var hours []time.Time
	for i := range b.Lines {
		for _, o := range b.Lines[i].Open {
			if !slices.ContainsFunc(hours, o.Hour.Equal) {
				hours = append(hours, o.Hour)
			}
		}
	}
	return hours
}

// total is how the book stands, for the writer; what it says of checks is good until the next apply.
func (b *book) total(writer string) (t Total) {
	b.tell(&t, writer)
	return t
}

// tell overwrites t with how the book stands, as of total; what its lines took of memory serves again.
func (b *book) tell(t *Total, writer string) {
	lines := t.Lines[:0]
	*t = Total{
		License: b.License, Feature: b.Feature, Seq: b.Writers.of(writer), Periods: b.Periods,
		Counted: b.Counted, Included: b.Included, Billable: b.Billable, Overrun: b.Overrun, Unpriced: b.Unpriced,
		Closed: b.Closed, Issued: b.Pending.Issued, Resolved: b.Pending.Resolved, Pending: b.Pending.Cells, Settled: b.Pending.Settled,
		Turns: b.Pending.Turns,
	}
	if b.Closed.After(b.Ends) {
		t.Ends = b.Ends
	}
	for i := range b.Lines {
		l := &b.Lines[i]
		lines = append(lines, Carry{Dimension: l.Dimension, Per: l.Per, Units: l.Carry, Pruned: l.Pruned})
	}
	if len(lines) > 0 {
		t.Lines = lines
	}
}

// bill adds counted units: whole billed units enter the hour in which the carry
// reaches per, the rest is carried.
func (l *line) bill(hour time.Time, units int64, late bool) {
	l.Carry += units
	whole := l.Carry / l.Per
	l.Carry %= l.Per
	l.add(hour, whole, late)
}

// add puts billed units into an open hour.
func (l *line) add(hour time.Time, units int64, late bool) {
	if units == 0 {
		return
	}
	i, found := slices.BinarySearchFunc(l.Open, hour, func(o openHour, h time.Time) int { return o.Hour.Compare(h) })
	if !found {
		l.Open = slices.Insert(l.Open, i, openHour{Hour: hour})
	}
	l.Open[i].Units += units
	l.Open[i].Late = l.Open[i].Late || late
}

// take removes an hour and returns what it held; false where there is none.
func (l *line) take(hour time.Time) (openHour, bool) {
	i := slices.IndexFunc(l.Open, func(o openHour) bool { return o.Hour.Equal(hour) })
	if i < 0 {
		return openHour{}, false
	}
	o := l.Open[i]
	l.Open = slices.Delete(l.Open, i, i+1)
	return o, true
}

// fits is how much of quantity the included units of a period still cover.
func fits(included, used, quantity int64) int64 {
	if included == policy.Unlimited {
		return quantity
	}
	return min(max(included-used, 0), quantity)
}

// periodStart is the start of the period that holds the hour. A term begins where
// the terms say; where they don't, it is the one that is counted already, or the first.
func periodStart(p policy.Period, hour time.Time, t *policy.Terms, starts, present time.Time) time.Time {
	if p == policy.Term {
		switch {
		case !t.Since.IsZero():
			return latest(t.Since, present)
		case present.IsZero():
			return starts
		default:
			return present
		}
	}
	start, _ := p.Bounds(hour, time.Time{}, time.Time{})
	return start
}

func hourOf(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
