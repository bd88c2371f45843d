package metering

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Commit adds deltas, all in one transaction.
func (b *Bolt) Commit(ctx context.Context, writer string, seq uint64, deltas []Delta) ([]Total, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	totals := make([]Total, len(deltas))
	err := b.update(time.Time{}, func(t *boltTx) error {
		closed, err := t.closed()
		if err != nil {
			return err
		}
		books := byBook(deltas)
		events := map[time.Time][]EventID{}
		for _, key := range slices.Sorted(maps.Keys(books)) { // in the order of the file
			indexes := books[key]
			total, added, err := t.commit([]byte(key), writer, seq, deltas, indexes, closed)
			if err != nil {
				return err
			}
			for _, i := range indexes {
				totals[i] = total
				if d := &deltas[i]; added && len(d.Events) > 0 {
					events[d.Seen] = append(events[d.Seen], d.Events...)
				}
			}
		}
		for seen, ids := range events {
			if err := t.putEvents(seen, ids); err != nil {
				return err
			}
		}
		return t.putTokens(deltas)
	})
	if err != nil {
		return nil, fmt.Errorf("commit %d counts: %w", len(deltas), err)
	}
	return totals, nil
}

// byBook groups the indexes of deltas by the key of their book.
func byBook(deltas []Delta) map[string][]int {
	books := map[string][]int{}
	for i := range deltas {
		key := string(bookKey(deltas[i].License, deltas[i].Feature))
		books[key] = append(books[key], i)
	}
	return books
}

// commit adds the deltas of one book, unless the writer's sequence is there already: added
// tells.
func (t *boltTx) commit(key []byte, writer string, seq uint64, deltas []Delta, indexes []int, closed time.Time) (total Total, added bool, err error) {
	k, err := t.book(key)
	if err != nil {
		return Total{}, false, err
	}
	if k == nil {
		k = newBook(deltas[indexes[0]].book())
	}
	if seq <= k.Writers.of(writer) {
		return k.total(writer), false, nil
	}
	before := k.hours()
	for _, i := range indexes {
		k.apply(&deltas[i], closed)
	}
	k.Pending.tidy()
	k.Writers.set(writer, seq)
	return k.total(writer), true, t.putBook(key, k, before)
}

// Totals reads the totals of every license and feature.
func (b *Bolt) Totals(ctx context.Context, writer string) ([]Total, error) {
	var totals []Total
	err := b.view(func(t *boltTx) error {
		return t.books.ForEach(func(key, _ []byte) error {
			k, err := t.book(key)
			if err != nil {
				return err
			}
			totals = append(totals, k.total(writer))
			return ctx.Err()
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	return totals, nil
}
