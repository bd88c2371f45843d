package metering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// putLost keeps the index of the rows that AWS will not bill: a handful among the many of a year.
func (t *boltTx) putLost(before, r *Row) error {
	was := before != nil && before.State.lost()
	switch key := rowKey(r.Hour, r.ID); {
	case was && !r.State.lost():
		return t.lost.Delete(key)
	case !was && r.State.lost():
		return t.lost.Put(key, nil)
	default:
		return nil
	}
}

// Rebook gives the units of a lost row to the license's open hour.
func (b *Bolt) Rebook(ctx context.Context, now time.Time, id string) (Row, error) {
	var rebooked Row
	key, err := b.find(ctx, id)
	if err == nil {
		err = b.update(now, func(t *boltTx) (err error) {
			rebooked, err = t.rebook(now, key)
			return err
		})
	}
	if err == nil {
		err = b.settlePlace()
	}
	if err != nil {
		return Row{}, fmt.Errorf("rebook %s: %w", id, err)
	}
	b.log.Warn("usage record rebooked by hand, its units go to the present hour", "record", id, "product", rebooked.Product,
		"license", rebooked.License, "dimension", rebooked.Dimension, "hour", rebooked.Hour, "units", rebooked.Units)
	return rebooked, nil
}

// find is the key of a row by its id: among the lost ones, else anywhere, newest first, so that people
// hear what the row is instead.
func (b *Bolt) find(ctx context.Context, id string) (key []byte, err error) {
	err = b.view(func(t *boltTx) error {
		for k := range keysOf(t.lost.Cursor()) {
			if string(k[8:]) == id {
				key = bytes.Clone(k)
				return nil
			}
		}
		c := t.rows.Cursor()
		for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
			if string(k[8:]) == id {
				key = bytes.Clone(k)
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return t.isOpen(ctx, id)
	})
	return key, err
}

// isOpen says what a row is that is in no bucket: open, or nothing.
func (t *boltTx) isOpen(ctx context.Context, id string) error {
	open, err := t.openRows(ctx, &Filter{}, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(open, func(r Row) bool { return r.ID == id }) {
		return fmt.Errorf("%w: it is open, its units are still to be sent", ErrNotLost)
	}
	return ErrNoRow
}

// rebook moves the units of a row in the transaction.
func (t *boltTx) rebook(now time.Time, key []byte) (Row, error) {
	before, err := t.row(key)
	switch {
	case err != nil:
		return Row{}, err
	case before == nil:
		return Row{}, ErrNoRow // removed since it was looked for
	case before.State == Stranded:
		return Row{}, fmt.Errorf("%w: it is stranded, counted after the license's last record", ErrEnded)
	case !before.State.lost():
		return Row{}, fmt.Errorf("%w: it is %s", ErrNotLost, before.State)
	case before.Units == 0:
		return Row{}, fmt.Errorf("%w: it is a record of 0", ErrNotLost)
	}
	r := *before
	place := bookKey(r.License, r.Feature)
	k, err := t.book(place)
	switch {
	case err != nil:
		return Row{}, err
	case k == nil:
		return Row{}, fmt.Errorf("%w: the book of row %s is missing", ErrCorrupt, r.ID)
	case !k.Ends.IsZero():
		return Row{}, fmt.Errorf("%w: at %s", ErrEnded, k.Ends.UTC().Format(time.RFC3339))
	}
	closed, err := t.closed()
	if err != nil {
		return Row{}, err
	}
	hours := k.hours()
	k.rebook(&r, now, closed)
	r.State, r.Settled = Rebooked, time.Time{}
	return r, errors.Join(t.putBook(place, k, hours), t.putRow(before, &r))
}

// noteWriter notes a conflict: another writer is its first cause, and durably so (BILLING B21).
func (t *boltTx) noteWriter(now time.Time, r *Row) error {
	writers, err := t.writers()
	if err != nil {
		return err
	}
	w, known := writers[r.Product]
	if !known {
		w = OtherWriter{Product: r.Product, Since: now, Record: r.ID}
	}
	w.Conflicts++
	writers[r.Product] = w
	return t.putMeta(metaWriters, writers)
}

func (t *boltTx) writers() (map[string]OtherWriter, error) {
	writers := map[string]OtherWriter{}
	err := t.getMeta(metaWriters, &writers)
	return writers, err
}

// OtherWriters lists the signs of other writers that nobody has acknowledged, by product.
func (b *Bolt) OtherWriters(ctx context.Context) ([]OtherWriter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var found []OtherWriter
	err := b.view(func(t *boltTx) error {
		writers, err := t.writers()
		for _, product := range slices.Sorted(maps.Keys(writers)) {
			found = append(found, writers[product])
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list other writers: %w", err)
	}
	return found, nil
}

// Acknowledge forgets the sign of another writer of a product.
func (b *Bolt) Acknowledge(ctx context.Context, product string) (w OtherWriter, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return w, false, err
	}
	err = b.update(time.Time{}, func(t *boltTx) error {
		writers, err := t.writers()
		if err != nil {
			return err
		}
		if w, found = writers[product]; !found {
			return nil
		}
		delete(writers, product)
		return t.putMeta(metaWriters, writers)
	})
	if err != nil {
		return w, false, fmt.Errorf("acknowledge conflicts of product %s: %w", product, err)
	}
	if found {
		b.log.Info("conflicts acknowledged", "product", product, "conflicts", w.Conflicts, "since", w.Since)
	}
	return w, found, nil
}
