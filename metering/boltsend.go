package metering

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// Due lists the records to send: nothing in a dry run, or while the place is another one.
func (b *Bolt) Due(ctx context.Context, now time.Time, n int) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if b.elsewhere() || !b.cfg.Send {
		return nil, nil
	}
	var records []Record
	err := b.view(func(t *boltTx) error {
		product, listed := "", 0
		return t.eachDue(now, func(r *Row) (bool, error) {
			if r.Product != product {
				product, listed = r.Product, 0
			}
			if !r.Next.After(now) {
				records = append(records, r.Record)
				listed++
			}
			return listed < n, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list due records: %w", err)
	}
	slices.SortStableFunc(records, func(a, b Record) int { return a.Deadline.Compare(b.Deadline) })
	return records, nil
}

// Sending marks records, all or none.
func (b *Bolt) Sending(ctx context.Context, _ time.Time, records []Record) error {
	if err := errors.Join(ctx.Err(), b.Place()); err != nil {
		return err
	}
	err := b.update(time.Time{}, func(t *boltTx) error {
		for i := range records {
			before, err := t.row(rowKey(hourOf(records[i].Timestamp), records[i].ID))
			if err != nil {
				return err
			}
			if before == nil || before.State != records[i].State || !before.State.unsettled() {
				return fmt.Errorf("record %s: %w", records[i].ID, ErrMoved)
			}
			r := *before
			r.sending()
			if err := t.putRow(before, &r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("mark records as sent: %w", err)
	}
	return nil
}

// Settle enters what AWS answered.
func (b *Bolt) Settle(ctx context.Context, now time.Time, records []Record, outcomes []Outcome) ([]Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(records) != len(outcomes) {
		return nil, fmt.Errorf("settle %d records with %d outcomes", len(records), len(outcomes))
	}
	var changed []Row
	err := b.update(now, func(t *boltTx) error {
		changed = nil
		for i := range records {
			before, err := t.row(rowKey(hourOf(records[i].Timestamp), records[i].ID))
			if err != nil {
				return err
			}
			if before == nil || before.State != records[i].State || !before.State.unsettled() {
				continue
			}
			r := *before
			r.settle(now, outcomes[i])
			if err := t.putRow(before, &r); err != nil {
				return err
			}
			if r.State == Conflict {
				if err := t.noteWriter(now, &r); err != nil {
					return err
				}
			}
			changed = append(changed, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("settle records: %w", err)
	}
	return changed, b.settlePlace()
}

// Retry lets the blocked records be due at once, a part at a time.
func (b *Bolt) Retry(ctx context.Context) error {
	var keys [][]byte
	err := b.view(func(t *boltTx) error {
		return t.eachDue(time.Time{}, func(r *Row) (bool, error) {
			if r.State == Blocked {
				keys = append(keys, rowKey(r.Hour, r.ID))
			}
			return true, ctx.Err()
		})
	})
	for part := range slices.Chunk(keys, endChunk) {
		if err == nil {
			err = b.update(time.Time{}, func(t *boltTx) error { return t.retry(part) })
		}
	}
	if err != nil {
		return fmt.Errorf("retry blocked records: %w", err)
	}
	return nil
}

func (t *boltTx) retry(keys [][]byte) error {
	for _, key := range keys {
		before, err := t.row(key)
		if err != nil {
			return err
		}
		if before == nil || before.State != Blocked {
			continue
		}
		r := *before
		r.Next = r.Timestamp // long ago, and still blocked: it stays alone
		if err := t.putRow(before, &r); err != nil {
			return err
		}
	}
	return nil
}

// Place is nil, or says why nothing may be sent from here.
func (b *Bolt) Place() error {
	if err := b.placeErr.Load(); err != nil {
		return *err
	}
	return nil
}

// elsewhere tells whether the configured place is another one than that of what is unsettled.
func (b *Bolt) elsewhere() bool { return b.Place() != nil }

// settlePlace takes the configured place over where nothing unsettled belongs to
// another one, and remembers why not otherwise: AWS de-duplicates per region and kind of agreement.
func (b *Bolt) settlePlace() error {
	if known := b.placeErr.Load() != nil; known && !b.elsewhere() {
		return nil
	}
	var settled bool
	err := b.view(func(t *boltTx) error {
		known, next, err := t.nextPlace(b.place)
		settled = known.Region == next.Region && maps.Equal(known.Agreements, next.Agreements)
		return err
	})
	if err == nil && !settled { // a disk that is full does not matter where nothing has to be written
		err = b.update(time.Time{}, func(t *boltTx) error {
			_, next, err := t.nextPlace(b.place)
			if err != nil {
				return err
			}
			return t.putMeta(metaPlace, next)
		})
	}
	if err != nil && !errors.Is(err, ErrPlace) {
		return fmt.Errorf("check place: %w", err)
	}
	b.placed(err)
	return nil
}

// placed remembers why nothing may be sent, or nil, and says when that changes.
func (b *Bolt) placed(why error) {
	before := b.placeErr.Swap(&why)
	was := before != nil && *before != nil
	if why != nil && !was {
		b.log.Error("usage is counted and not sent, it belongs to another region or kind of agreement", "error", why)
	} else if why == nil && was {
		b.log.Info("usage is sent again, nothing of another place is left")
	}
}

// nextPlace is the place that is known and what becomes of it; an ErrPlace where it has to stay.
func (t *boltTx) nextPlace(wanted Place) (known, next Place, err error) {
	if err := t.getMeta(metaPlace, &known); err != nil {
		return known, next, err
	}
	if err := t.conflict(known, wanted); err != nil {
		return known, next, err
	}
	next = Place{Region: wanted.Region, Agreements: map[string]string{}}
	maps.Copy(next.Agreements, known.Agreements)
	maps.Copy(next.Agreements, wanted.Agreements)
	return known, next, nil
}

// conflict is an ErrPlace where unsettled usage belongs to the known place and the
// wanted one is another.
func (t *boltTx) conflict(known, wanted Place) error {
	if known.Region != "" && known.Region != wanted.Region {
		if n, err := t.unsettled(func(string) bool { return true }); err != nil || n > 0 {
			return errors.Join(err, fmt.Errorf("%w: %d rows were counted for region %s, the configuration has %s; go back to it until they are settled",
				ErrPlace, n, known.Region, wanted.Region))
		}
	}
	for product, kind := range wanted.Agreements {
		was := known.Agreements[product]
		if was == "" || was == kind {
			continue
		}
		if n, err := t.unsettled(func(p string) bool { return p == product }); err != nil || n > 0 {
			return errors.Join(err, fmt.Errorf("%w: %d rows of product %s were counted for %s agreements, the configuration has %s; go back to it until they are settled",
				ErrPlace, n, product, was, kind))
		}
	}
	return nil
}

// unsettled counts the open and unsettled rows, and the books with checks in flight, of products; direct customers' apart: those are never sent.
func (t *boltTx) unsettled(of func(product string) bool) (n int, err error) {
	err = t.eachDue(time.Time{}, func(r *Row) (bool, error) {
		if of(r.Product) {
			n++
		}
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	count := func(key []byte) error {
		book, err := t.book(key)
		if err == nil && book != nil && book.License.Kind() != policy.KindDirect && of(book.Product) {
			n++
		}
		return err
	}
	if err := t.open.ForEach(func(k, _ []byte) error { return count(k[8:]) }); err != nil {
		return 0, err
	}
	err = t.waiting.ForEach(func(k, _ []byte) error { return count(k) })
	return n, err
}
