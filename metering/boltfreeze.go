package metering

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/weirhq/weir/policy"
)

// freezeChunk bounds the books that one transaction freezes, so that commits get
// their turn between: a count is on disk within 50 ms, at the end of an hour as well.
const freezeChunk = 500

// Freeze closes the hours that ended at least closeAfter before now.
func (b *Bolt) Freeze(ctx context.Context, now time.Time, zero []ZeroKey) error {
	closed := hourOf(now.Add(-b.cfg.CloseAfter))
	rows, units := 0, int64(0)
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var frozen []Row
		err := b.update(now, func(t *boltTx) (err error) {
			defer func() { frozen = t.moved }()
			// The hours close first: what is committed between chunks goes to later ones.
			before, err := t.closed()
			if err != nil {
				return err
			}
			if closed = latest(closed, before); closed.After(before) {
				if err := t.putMeta(metaClosed, closed); err != nil {
					return err
				}
			}
			more, err = t.freezeOpen(closed, b.cfg.Send)
			return err
		})
		if err != nil {
			return fmt.Errorf("freeze hours before %s: %w", closed.Format(time.RFC3339), err)
		}
		rows += len(frozen)
		for i := range frozen {
			units += frozen[i].Units
		}
	}
	zeros, err := b.freezeZero(ctx, now, closed, zero)
	if err != nil {
		return err
	}
	if rows+zeros > 0 {
		b.log.Info("hours frozen", "before", closed, "records", rows, "units", units, "zero_records", zeros)
	}
	return b.settlePlace()
}

// freezeOpen freezes open hours before closed, as many as a transaction should, and tells whether there are more.
func (t *boltTx) freezeOpen(closed time.Time, send bool) (more bool, err error) {
	var keys [][]byte
	c := t.open.Cursor()
	for k, _ := c.First(); k != nil && keyTime(k).Before(closed); k, _ = c.Next() {
		if len(keys) == freezeChunk {
			more = true
			break
		}
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		hour, key := keyTime(k), k[8:]
		book, err := t.book(key)
		if err != nil {
			return false, err
		}
		if book == nil {
			return false, fmt.Errorf("%w: the book of an open hour is missing", ErrCorrupt)
		}
		if err := t.freezeBook(key, book, []time.Time{hour}, closed, send); err != nil {
			return false, err
		}
	}
	return more, nil
}

// freezeBook freezes hours of a book.
func (t *boltTx) freezeBook(key []byte, k *book, hours []time.Time, closed time.Time, send bool) error {
	before := k.hours()
	for _, hour := range hours {
		taken := func(r Row) bool { return t.rows.Get(rowKey(r.Hour, r.ID)) != nil }
		rows, carried := k.freeze(hour, k.open(hour.Add(time.Hour), closed), send, taken)
		for i := range rows {
			if err := t.putRow(nil, &rows[i]); err != nil {
				return err
			}
		}
		t.carried += carried
	}
	return t.putBook(key, k, before)
}

// FreezeLicense closes the hours of one license up to and with the present one.
func (b *Bolt) FreezeLicense(ctx context.Context, now time.Time, license policy.Key, ends time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// What is frozen already comes first, for who sees the license's end in the ledger takes this
	// as done; and once more for what was frozen meanwhile.
	err := b.endRows(ctx, license, ends)
	if err == nil {
		err = b.update(now, func(t *boltTx) error { return t.freezeLicense(now, license, ends, b.cfg.Send) })
	}
	if err == nil {
		err = b.endRows(ctx, license, ends)
	}
	if err != nil {
		return fmt.Errorf("freeze license %s: %w", license, err)
	}
	return nil
}

func (t *boltTx) freezeLicense(now time.Time, license policy.Key, ends time.Time, send bool) error {
	closed, err := t.closed()
	if err != nil {
		return err
	}
	prefix := bookKey(license, "")
	var keys [][]byte
	c := t.books.Cursor()
	for key, _ := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = c.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	for _, key := range keys {
		k, err := t.book(key)
		if err != nil {
			return err
		}
		k.Closed = latest(k.Closed, hourOf(now).Add(time.Hour))
		if !ends.IsZero() {
			k.Ends = ends
		}
		var hours []time.Time
		for _, h := range k.hours() {
			if h.Before(k.Closed) {
				hours = append(hours, h)
			}
		}
		if err := t.freezeBook(key, k, hours, closed, send); err != nil {
			return err
		}
	}
	return nil
}
