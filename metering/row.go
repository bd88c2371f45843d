package metering

import (
	"crypto/sha256"
	"encoding/base32"
	"math"
	"strconv"
	"time"

	"github.com/weirhq/weir/policy"
)

const (
	// millionths is how a billed unit is written in a record (BILLING B08).
	millionths = 1_000_000
	// maxUnits is what one record can hold (AWS: UsageRecord.Quantity).
	maxUnits = math.MaxInt32
	// takenAfterEnd is how long after a license's end AWS takes its usage (AWS: BatchMeterUsage).
	takenAfterEnd = time.Hour
	// retryBlocked is how long a blocked record waits for its next attempt (BILLING B12).
	retryBlocked = time.Hour
	// unansweredGrace is how long after its deadline a record that is under way may
	// still be answered; no attempt takes longer.
	unansweredGrace = 5 * time.Minute
)

// rowID names the row of a license, dimension and hour: short, and the same whoever makes it, so that there is
// one. It begins with its license's mark, by which rows are found without reading all of them.
func rowID(license policy.Key, dimension string, hour time.Time) string {
	return licenseMark(license) + digest(string(license)+"\x00"+dimension+"\x00"+strconv.FormatInt(hour.Unix(), 10), 12)
}

// licenseMark is how the ids of a license's rows begin. Another license may have the same: one in a million.
func licenseMark(license policy.Key) string { return digest(string(license), 4) }

// digest is a hash of 5 bits a character.
func digest(text string, characters int) string {
	sum := sha256.Sum256([]byte(text))
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(sum[:10])[:characters]
}

// freeze takes the units of an hour out of the book and makes them rows: one for
// each dimension. Units move on to the next open hour where the dimension's row is
// taken already, and where a record can't hold them (BILLING B08, B10): carried
// tells how many of the latter.
func (b *book) freeze(hour, next time.Time, send bool, taken func(Row) bool) (rows []Row, carried int64) {
	made := map[string]bool{}
	for i := range b.Lines {
		l := &b.Lines[i]
		o, found := l.take(hour)
		if !found {
			continue
		}
		row := b.row(l, o, send)
		if made[row.ID] || taken(row) {
			l.add(next, o.Units, true)
			continue
		}
		if over := o.Units - maxUnits; over > 0 {
			l.add(next, over, o.Late)
			carried += over
		}
		made[row.ID] = true
		rows = append(rows, row)
	}
	return rows, carried
}

// row is the row of an open hour as it would be frozen.
func (b *book) row(l *line, o openHour, send bool) Row {
	r := Row{
		Record: Record{
			ID: rowID(b.License, l.Dimension, o.Hour), Product: b.Product, License: b.License,
			Account: b.Account, Customer: b.Customer, Dimension: l.Dimension,
			Timestamp: b.timestamp(o.Hour), Quantity: min(o.Units, maxUnits) * millionths,
			State: Frozen, Late: o.Late,
		},
		Hour: o.Hour, Units: min(o.Units, maxUnits), Feature: b.Feature, Per: l.Per, Ends: b.Ends,
	}
	r.Deadline = deadline(r.Timestamp, b.Ends)
	switch {
	case !send || b.License.Kind() == policy.KindDirect:
		r.State = Dry
	case !b.Ends.IsZero() && r.Timestamp.After(b.Ends):
		r.State = Stranded
	}
	return r
}

// timestamp is the start of the hour or, in the hour in which the license began,
// the first whole second at which weir counted (BILLING B10).
func (b *book) timestamp(hour time.Time) time.Time {
	if !hourOf(b.Starts).Equal(hour) {
		return hour
	}
	began := b.Starts.Truncate(time.Second)
	if up := began.Add(time.Second); began.Before(b.Starts) && hourOf(up).Equal(hour) {
		began = up
	}
	t := latest(b.First.Truncate(time.Second), began)
	if !b.Ends.IsZero() && hourOf(b.Ends).Equal(hour) {
		t = earliest(t, b.Ends.Truncate(time.Second))
	}
	return t.UTC()
}

// deadline is the instant from which on AWS takes the record no longer: 24 h after
// its timestamp, 06:00 UTC on the 1st for the month before, an hour after the
// license ended (AWS: BatchMeterUsage).
func deadline(timestamp, ends time.Time) time.Time {
	d := timestamp.Add(24 * time.Hour)
	d = earliest(d, time.Date(timestamp.Year(), timestamp.Month()+1, 1, 6, 0, 0, 0, time.UTC))
	if !ends.IsZero() {
		d = earliest(d, ends.Add(takenAfterEnd))
	}
	return d
}

// sending marks an attempt. One without an answer before it makes the row ambiguous.
func (r *Row) sending() {
	r.Ambiguous = r.Ambiguous || r.State == Sent
	r.State = Sent
}

// settle enters what an attempt told (BILLING B12).
func (r *Row) settle(now time.Time, o Outcome) {
	r.Error = o.Error
	switch o.Answer {
	case Success:
		r.State, r.MeteringRecordID, r.Error = Accepted, o.MeteringRecordID, ""
	case Duplicate:
		if r.Ambiguous {
			r.State, r.Assumed, r.MeteringRecordID = Accepted, true, o.MeteringRecordID
		} else {
			r.State = Conflict
		}
	case NotSubscribed:
		if o.Active {
			r.block(now)
		} else {
			r.State = Refused
		}
	case Faulty:
		r.block(now)
	case NotRecorded, Unavailable:
		r.again()
	default:
		r.Ambiguous = true
		r.again()
	}
}

// again leaves the row to the next attempt: one that was blocked stays alone.
func (r *Row) again() {
	switch {
	case !r.Next.IsZero():
		r.State = Blocked
	case !r.Ambiguous:
		r.State = Frozen
	}
}

func (r *Row) block(now time.Time) { r.State, r.Next = Blocked, now.Add(retryBlocked) }

// overdue tells whether the row's deadline has passed for good.
func (r *Row) overdue(now time.Time) bool {
	d := r.Deadline
	if r.State == Sent {
		d = d.Add(unansweredGrace)
	}
	return !now.Before(d)
}

// rebook moves the units of a row that AWS certainly never took to the open hour,
// not through the included units again (BILLING B13).
func (b *book) rebook(r *Row, now, closed time.Time) {
	b.line(r.Dimension, r.Per).add(b.open(hourOf(now), closed), r.Units, true)
}
