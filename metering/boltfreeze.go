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
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := b.update(now, func(t *boltTx) (err error) {
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
	}
	if err := b.freezeZero(now, closed, zero); err != nil {
		return err
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

// freezeZero adds records of 0 for closed hours that have none.
func (b *Bolt) freezeZero(now, closed time.Time, zero []ZeroKey) error {
	if len(zero) == 0 {
		return nil
	}
	err := b.update(now, func(t *boltTx) error {
		for _, z := range zero {
			r := Row{Record: Record{
				ID: rowID(z.License, z.Dimension, z.Hour), Product: z.Product, License: z.License, Account: z.Account,
				Customer: z.Customer, Dimension: z.Dimension, Timestamp: z.Hour, Deadline: deadline(z.Hour, time.Time{}), State: Frozen,
			}, Hour: z.Hour}
			if !b.cfg.Send || z.License.Kind() == policy.KindDirect {
				r.State = Dry
			}
			if !z.Hour.Before(closed) || t.rows.Get(rowKey(r.Hour, r.ID)) != nil {
				continue
			}
			if err := t.putRow(nil, &r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("freeze records of 0: %w", err)
	}
	return nil
}

// FreezeLicense closes the hours of one license up to and with the present one.
func (b *Bolt) FreezeLicense(ctx context.Context, now time.Time, license policy.Key, ends time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := b.update(now, func(t *boltTx) error {
		if !ends.IsZero() {
			if err := t.endRows(license, ends); err != nil {
				return err
			}
		}
		return t.freezeLicense(now, license, ends, b.cfg.Send)
	})
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

// endRows brings the deadlines of a license's unsettled rows in line with its end.
func (t *boltTx) endRows(license policy.Key, ends time.Time) error {
	var rows []*Row
	err := t.eachDue(time.Time{}, func(r *Row) (bool, error) {
		if r.License == license {
			rows = append(rows, r)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, before := range rows {
		r := *before
		r.Ends, r.Deadline = ends, deadline(r.Timestamp, ends)
		if err := t.putRow(before, &r); err != nil {
			return err
		}
	}
	return nil
}
