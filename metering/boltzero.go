package metering

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// zeroChunk bounds the records of 0 that one transaction makes: a commit that has to wait for one is still
// on disk within 50 ms.
const zeroChunk = 250

// freezeZero adds records of 0 for closed hours that have none, a part at a time, and says how many. Products
// of which another writer seems to send get none (BILLING B21).
func (b *Bolt) freezeZero(ctx context.Context, now, closed time.Time, zero []ZeroKey) (made int, err error) {
	rows := make([]Row, 0, len(zero))
	for i := range zero {
		if zero[i].Hour.Before(closed) {
			rows = append(rows, zero[i].row(b.cfg.Send))
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.ID, b.ID) }) // in the order of the file
	for part := range slices.Chunk(rows, zeroChunk) {
		if err := ctx.Err(); err != nil {
			return made, err
		}
		n := 0
		err := b.update(now, func(t *boltTx) (err error) {
			n, err = t.freezeZero(part)
			return err
		})
		if err != nil {
			return made, fmt.Errorf("freeze records of 0: %w", err)
		}
		made += n
	}
	return made, nil
}

// freezeZero files those rows whose place is free, and says how many.
func (t *boltTx) freezeZero(rows []Row) (made int, err error) {
	writers, err := t.writers()
	if err != nil {
		return 0, err
	}
	for i := range rows {
		r := &rows[i]
		if _, other := writers[r.Product]; other || r.Hour.Before(t.begun.from()) || t.rows.Get(rowKey(r.Hour, r.ID)) != nil {
			continue
		}
		if err := t.putRow(nil, r); err != nil {
			return 0, err
		}
		made++
	}
	return made, nil
}

// row is the row of a record of 0.
func (z *ZeroKey) row(send bool) Row {
	r := Row{Record: Record{
		ID: rowID(z.License, z.Dimension, z.Hour), Product: z.Product, License: z.License, Account: z.Account,
		Customer: z.Customer, Dimension: z.Dimension, Timestamp: z.Hour, Deadline: deadline(z.Hour, z.Ends), State: Frozen,
	}, Hour: z.Hour, Ends: z.Ends}
	if !send || z.License.Kind() == policy.KindDirect {
		r.State = Dry
	}
	return r
}

// Presence tells when weir was running.
func (b *Bolt) Presence(ctx context.Context) (p Presence, err error) {
	if err := ctx.Err(); err != nil {
		return p, err
	}
	if err := b.view(func(t *boltTx) error { return t.getMeta(metaPresence, &p) }); err != nil {
		return p, fmt.Errorf("read presence: %w", err)
	}
	return p, nil
}

// SetPresence keeps when weir was running.
func (b *Bolt) SetPresence(ctx context.Context, p Presence) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.update(time.Time{}, func(t *boltTx) error { return t.putMeta(metaPresence, p) }); err != nil {
		return fmt.Errorf("keep presence: %w", err)
	}
	return nil
}
