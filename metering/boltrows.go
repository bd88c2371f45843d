package metering

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"
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
		return nil, "", fmt.Errorf("list rows: after %q is no next of an earlier page", f.After)
	}
	err = b.view(func(t *boltTx) error {
		open, err := t.openRows(ctx, &f)
		if err != nil {
			return err
		}
		ended, err := t.filedRows(ctx, &f, after, limit+1)
		if err != nil {
			return err
		}
		rows = append(ended, open...)
		return nil
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

// openRows are the rows of hours that are not frozen, as they stand.
func (t *boltTx) openRows(ctx context.Context, f *Filter) ([]Row, error) {
	if f.State != "" && f.State != Open {
		return nil, nil
	}
	var rows []Row
	err := t.open.ForEach(func(k, _ []byte) error {
		hour := keyTime(k)
		if !f.Hour.IsZero() && !hour.Equal(f.Hour) {
			return ctx.Err()
		}
		book, err := t.book(k[8:])
		if err != nil || book == nil {
			return err
		}
		for i := range book.Lines {
			l := &book.Lines[i]
			o, found := l.take(hour)
			if !found {
				continue
			}
			r := book.row(l, o, true)
			r.State, r.Units, r.Quantity = Open, o.Units, min(o.Units, math.MaxInt64/millionths)*millionths
			if f.admits(&r) {
				rows = append(rows, r)
			}
		}
		return ctx.Err()
	})
	return rows, err
}

// filedRows are at most n rows that are frozen or further, after a key.
func (t *boltTx) filedRows(ctx context.Context, f *Filter, after []byte, n int) ([]Row, error) {
	if f.State == Open {
		return nil, nil
	}
	if f.State.unsettled() {
		return t.unsettledRows(f)
	}
	from := after
	if first := f.first(); bytes.Compare(first, from) > 0 {
		from = first
	}
	var rows []Row
	c := t.rows.Cursor()
	for k, _ := c.Seek(from); k != nil && len(rows) < n; k, _ = c.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !f.Hour.IsZero() && keyTime(k).After(f.Hour) {
			break
		}
		r, err := t.row(k)
		if err != nil {
			return nil, err
		}
		if f.admits(r) && !bytes.Equal(k, after) {
			rows = append(rows, *r)
		}
	}
	return rows, nil
}

// unsettledRows finds the few rows that are not settled among the many that are.
func (t *boltTx) unsettledRows(f *Filter) ([]Row, error) {
	var rows []Row
	err := t.eachDue(time.Time{}, func(r *Row) (bool, error) {
		if f.admits(r) {
			rows = append(rows, *r)
		}
		return true, nil
	})
	return rows, err
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
