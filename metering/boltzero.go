package metering

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// freezeZero adds records of 0 for closed hours that have none, a part at a time, and says how many. Products
// of which another writer seems to send get none (BILLING B21).
func (b *Bolt) freezeZero(ctx context.Context, now, closed time.Time, zero []ZeroKey) (made int, err error) {
	for part := range slices.Chunk(zero, freezeChunk) {
		if err := ctx.Err(); err != nil {
			return made, err
		}
		var rows []Row
		err := b.update(now, func(t *boltTx) error {
			writers, err := t.writers()
			if err != nil {
				return err
			}
			rows = nil
			for i := range part {
				z := &part[i]
				r := z.row(b.cfg.Send)
				if _, other := writers[z.Product]; other || !z.Hour.Before(closed) || z.Hour.Before(t.begun.from()) || t.rows.Get(rowKey(r.Hour, r.ID)) != nil {
					continue
				}
				if err := t.putRow(nil, &r); err != nil {
					return err
				}
				rows = append(rows, r)
			}
			return nil
		})
		if err != nil {
			return made, fmt.Errorf("freeze records of 0: %w", err)
		}
		made += len(rows)
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
