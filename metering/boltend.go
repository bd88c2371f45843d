package metering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// endChunk bounds the rows that one transaction ends or removes, so that commits get their turn between.
const endChunk = 500

// Expire ends the rows whose deadline has passed: rebooked where AWS certainly never
// took them and the license goes on, otherwise expired (BILLING B13). With an error it
// returns those that have come to their end before.
func (b *Bolt) Expire(ctx context.Context, now time.Time) (ended []Row, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return ended, err
		}
		overdue := 0
		err := b.view(func(t *boltTx) error {
			rows, err := t.overdue(now)
			overdue = len(rows)
			return err
		})
		if err != nil {
			return ended, fmt.Errorf("look for overdue rows: %w", err)
		}
		if overdue == 0 {
			break
		}
		var rows []Row
		err = b.update(now, func(t *boltTx) (err error) {
			rows, err = t.expireOverdue(now, b.cfg.Late)
			return err
		})
		if err != nil {
			return ended, fmt.Errorf("expire rows: %w", err)
		}
		ended = append(ended, rows...)
	}
	if len(ended) == 0 {
		return nil, nil
	}
	return ended, b.settlePlace()
}

// overdue finds overdue rows, as many as a transaction should end.
func (t *boltTx) overdue(now time.Time) (rows []*Row, err error) {
	err = t.eachDue(time.Time{}, func(r *Row) (bool, error) {
		if r.overdue(now) && len(rows) < endChunk {
			rows = append(rows, r)
		}
		return !r.Deadline.After(now) && len(rows) < endChunk, nil
	})
	return rows, err
}

func (t *boltTx) expireOverdue(now time.Time, late string) (ended []Row, err error) {
	overdue, err := t.overdue(now)
	if err != nil {
		return nil, err
	}
	for _, before := range overdue {
		r := *before
		if err := t.expire(&r, now, late); err != nil {
			return nil, err
		}
		if err := t.putRow(before, &r); err != nil {
			return nil, err
		}
		ended = append(ended, r)
	}
	return ended, nil
}

// expire gives an overdue row its end.
func (t *boltTx) expire(r *Row, now time.Time, late string) error {
	r.Ambiguous = r.Ambiguous || r.State == Sent // of an attempt that nobody heard of any more
	r.State = Expired
	if late != LateRebook || r.Ambiguous || r.Units == 0 {
		return nil
	}
	key := bookKey(r.License, r.Feature)
	k, err := t.book(key)
	if err != nil || k == nil || !k.Ends.IsZero() {
		return err
	}
	closed, err := t.closed()
	if err != nil {
		return err
	}
	before := k.hours()
	k.rebook(r, now, closed)
	r.State = Rebooked
	return t.putBook(key, k, before)
}

// Prune removes the rows that ended longer ago than they are kept, a part at a time.
func (b *Bolt) Prune(ctx context.Context, now time.Time) error {
	before := now.Add(-b.cfg.Keep)
	for from := []byte(nil); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var next []byte
		var keys [][]byte
		err := b.view(func(t *boltTx) (err error) {
			keys, next, err = t.old(from, before)
			return err
		})
		if err == nil && len(keys) > 0 {
			err = b.update(now, func(t *boltTx) error { return t.prune(keys) })
		}
		if err != nil {
			return fmt.Errorf("prune rows that ended before %s: %w", before.Format(time.RFC3339), err)
		}
		if next == nil {
			return nil
		}
		from = next
	}
}

// old finds the rows that ended before an instant among the next ones of hours before
// it, and where to go on; nil: these were the last.
func (t *boltTx) old(from []byte, before time.Time) (keys [][]byte, next []byte, err error) {
	c := t.rows.Cursor()
	n := 0
	for k, _ := c.Seek(from); k != nil && keyTime(k).Before(before); k, _ = c.Next() {
		if n++; n > endChunk {
			return keys, bytes.Clone(k), nil
		}
		r, err := t.row(k)
		if err != nil {
			return nil, nil, err
		}
		if !r.State.unsettled() && !r.Settled.After(before) {
			keys = append(keys, bytes.Clone(k))
		}
	}
	return keys, nil, nil
}

// prune removes rows; their books remember how much was in them (BILLING B01).
func (t *boltTx) prune(keys [][]byte) error {
	for _, key := range keys {
		r, err := t.row(key)
		if err != nil || r == nil {
			return err
		}
		if err := t.forget(r); err != nil {
			return err
		}
		t.left = append(t.left, r.State)
		if err := errors.Join(t.rows.Delete(key), t.lost.Delete(key)); err != nil {
			return err
		}
	}
	return nil
}

// forget moves what a row held into its book; the units of a rebooked one are in another row.
func (t *boltTx) forget(r *Row) error {
	if r.State == Rebooked || r.Units == 0 {
		return nil
	}
	key := bookKey(r.License, r.Feature)
	k, err := t.book(key)
	if err != nil {
		return err
	}
	if k == nil {
		return fmt.Errorf("%w: the book of row %s is missing", ErrCorrupt, r.ID)
	}
	k.line(r.Dimension, r.Per).Pruned += r.Units
	return t.putBook(key, k, k.hours())
}
