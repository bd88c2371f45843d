package metering

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// The bounds of a page of rows.
const (
	defaultRows = 100
	maxRows     = 1000
)

// Rows lists rows by hour and id, at most f.Limit of them, and the place to go on from.
func (b *Bolt) Rows(ctx context.Context, f Filter) (rows []Row, next string, err error) {
	limit := min(f.Limit, maxRows)
	if limit <= 0 {
		limit = defaultRows
	}
	after, err := hex.DecodeString(f.After)
	if err != nil {
		return nil, "", fmt.Errorf("list rows: after %q: %w", f.After, ErrNoPage)
	}
	err = b.view(func(t *boltTx) error {
		filed, err := t.filedRows(ctx, &f, after, limit+1)
		if err != nil {
			return err
		}
		var from, to time.Time // open hours that can be on this page
		if len(after) >= 8 {
			from = keyTime(after)
		}
		if len(filed) > limit {
			to = filed[limit].Hour
		}
		open, err := t.openRows(ctx, &f, from, to)
		rows = append(filed, open...)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list rows: %w", err)
	}
	rows = slices.DeleteFunc(rows, func(r Row) bool { return bytes.Compare(rowKey(r.Hour, r.ID), after) <= 0 })
	slices.SortFunc(rows, func(a, b Row) int { return bytes.Compare(rowKey(a.Hour, a.ID), rowKey(b.Hour, b.ID)) })
	if len(rows) > limit {
		rows = rows[:limit]
		last := &rows[limit-1]
		next = hex.EncodeToString(rowKey(last.Hour, last.ID))
	}
	return rows, next, nil
}

// openRows are the rows of hours that are not frozen, as they stand: of hours from one to another, which may
// be zero for no bound.
func (t *boltTx) openRows(ctx context.Context, f *Filter, from, to time.Time) ([]Row, error) {
	if f.State != "" && f.State != Open {
		return nil, nil
	}
	var rows []Row
	c := t.open.Cursor()
	for k, _ := c.Seek(timeKey(nil, from)); k != nil; k, _ = c.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hour := keyTime(k)
		if !to.IsZero() && hour.After(to) {
			break
		}
		if !f.Hour.IsZero() && !hour.Equal(f.Hour) || f.License != "" && !bytes.HasPrefix(k[8:], bookKey(f.License, "")) {
			continue
		}
		book, err := t.book(k[8:])
		if err != nil {
			return nil, err
		}
		rows = append(rows, book.openRows(f, hour)...)
	}
	return rows, nil
}

// openRows are the rows of an hour that is not frozen; the book gives them up.
func (b *book) openRows(f *Filter, hour time.Time) (rows []Row) {
	if b == nil {
		return nil
	}
	for i := range b.Lines {
		l := &b.Lines[i]
		o, found := l.take(hour)
		if !found {
			continue
		}
		r := b.row(l, o, true)
		r.State, r.Units, r.Quantity = Open, o.Units, min(o.Units, math.MaxInt64/millionths)*millionths
		if f.admits(&r) {
			rows = append(rows, r)
		}
	}
	return rows
}

// filedRows are at most n rows that are frozen or further, after a key.
func (t *boltTx) filedRows(ctx context.Context, f *Filter, after []byte, n int) ([]Row, error) {
	switch {
	case f.State == Open:
		return nil, nil
	case f.State.unsettled():
		return t.unsettledRows(ctx, f, after, n)
	case f.State.lost():
		return t.rowsOf(ctx, t.lost, f, after, n)
	default:
		return t.rowsOf(ctx, t.rows, f, after, n)
	}
}

// rowsOf are at most n rows after a key whose keys are in a bucket.
func (t *boltTx) rowsOf(ctx context.Context, bucket *bbolt.Bucket, f *Filter, after []byte, n int) ([]Row, error) {
	from := after
	if first := f.first(); bytes.Compare(first, from) > 0 {
		from = first
	}
	var rows []Row
	mark := f.mark()
	c := bucket.Cursor()
	for k, _ := c.Seek(from); k != nil && len(rows) < n; k, _ = c.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !f.Hour.IsZero() && keyTime(k).After(f.Hour) {
			break
		}
		if !bytes.HasPrefix(k[8:], mark) || bytes.Equal(k, after) {
			continue
		}
		r, err := t.indexed(k)
		if err != nil {
			return nil, err
		}
		if f.admits(r) {
			rows = append(rows, *r)
		}
	}
	return rows, nil
}

// unsettledRows finds the few rows that are not settled among the many that are: at most n after a key.
func (t *boltTx) unsettledRows(ctx context.Context, f *Filter, after []byte, n int) ([]Row, error) {
	var keys [][]byte
	mark := f.mark()
	for k := range keysOf(t.due.Cursor()) {
		e := parseDue(k)
		if bytes.Compare(e.row, after) > 0 && bytes.HasPrefix(e.row[8:], mark) && (f.Hour.IsZero() || e.hour.Equal(f.Hour)) {
			keys = append(keys, e.row) // good as long as the transaction
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	var rows []Row
	for _, k := range keys {
		if len(rows) == n {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r, err := t.indexed(k)
		if err != nil {
			return nil, err
		}
		if f.admits(r) {
			rows = append(rows, *r)
		}
	}
	return rows, nil
}

// mark is how the ids of the rows of the filter's license begin.
func (f *Filter) mark() []byte {
	if f.License == "" {
		return nil
	}
	return []byte(licenseMark(f.License))
}

// first is where the rows of the filter's hour begin.
func (f *Filter) first() []byte {
	if f.Hour.IsZero() {
		return nil
	}
	return timeKey(nil, f.Hour)
}

// admits tells whether the filter chooses the row.
func (f *Filter) admits(r *Row) bool {
	return (f.License == "" || f.License == r.License) &&
		(f.Dimension == "" || f.Dimension == r.Dimension) &&
		(f.State == "" || f.State == r.State) &&
		(f.Hour.IsZero() || f.Hour.Equal(r.Hour))
}

// States counts the rows in each state, each open hour of a license and feature as one.
func (b *Bolt) States(context.Context) (map[State]int64, error) {
	var states map[State]int64
	err := b.view(func(t *boltTx) (err error) {
		if states, err = t.states(); err != nil {
			return err
		}
		states[Open] = int64(t.open.Stats().KeyN)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count rows: %w", err)
	}
	return states, nil
}
