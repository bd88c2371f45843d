package metering

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/policy"
)

// keysOf yields the keys of a bucket in their order.
func keysOf(c *bbolt.Cursor) iter.Seq[[]byte] {
	return func(yield func(k []byte) bool) {
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if !yield(k) {
				return
			}
		}
	}
}

// dueEntry is what a key of the bucket due says of its row.
type dueEntry struct {
	product  []byte
	deadline time.Time
	hour     time.Time
	row      []byte // its key in rows
}

func parseDue(k []byte) dueEntry {
	i := bytes.IndexByte(k, 0)
	row := k[i+1+8:]
	return dueEntry{k[:i], keyTime(k[i+1:]), keyTime(row), row}
}

// Backlog sums up the unsettled rows by product, from the keys of what is due: however
// many wait, a look at them is cheap.
func (b *Bolt) Backlog(ctx context.Context) ([]Backlog, error) {
	var sums []Backlog
	err := b.view(func(t *boltTx) error {
		for k := range keysOf(t.due.Cursor()) {
			e := parseDue(k)
			if len(sums) == 0 || sums[len(sums)-1].Product != string(e.product) {
				sums = append(sums, Backlog{Product: string(e.product), Oldest: e.hour, Deadline: e.deadline})
			}
			sum := &sums[len(sums)-1]
			sum.Records++
			sum.Oldest = earliest(sum.Oldest, e.hour)
			if sum.Ending.IsZero() {
				ends, err := t.endSets(&e)
				if err != nil {
					return err
				}
				if ends {
					sum.Ending = e.deadline
				}
			}
			if sum.Records%endChunk == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sum up unsettled records: %w", err)
	}
	return sums, nil
}

// endSets tells whether the end of the license sets a row's deadline. Only a row of the hour in which
// its license began, whose timestamp is none of the key's, has to be read for that.
func (t *boltTx) endSets(e *dueEntry) (bool, error) {
	usual := deadline(e.hour, time.Time{})
	if !e.deadline.After(usual) {
		return e.deadline.Before(usual), nil
	}
	r, err := t.indexed(e.row)
	if err != nil {
		return false, err
	}
	return !r.Ends.IsZero() && r.Deadline.Equal(r.Ends.Add(takenAfterEnd)), nil
}

// endRows brings the deadlines of a license's unsettled rows in line with its end. The rows are looked for
// apart from the transactions that change them, so that commits get their turn between.
func (b *Bolt) endRows(ctx context.Context, license policy.Key, ends time.Time) error {
	if ends.IsZero() {
		return nil
	}
	var keys [][]byte
	mark := []byte(licenseMark(license))
	err := b.view(func(t *boltTx) error {
		for k := range keysOf(t.due.Cursor()) {
			if e := parseDue(k); bytes.HasPrefix(e.row[8:], mark) {
				keys = append(keys, bytes.Clone(e.row))
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	for len(keys) > 0 && err == nil {
		part := keys[:min(len(keys), endChunk)]
		keys = keys[len(part):]
		err = b.update(time.Time{}, func(t *boltTx) error { return t.endRows(part, license, ends) })
	}
	return err
}

func (t *boltTx) endRows(keys [][]byte, license policy.Key, ends time.Time) error {
	for _, key := range keys {
		before, err := t.row(key)
		if err != nil {
			return err
		}
		if before == nil || before.License != license || !before.State.unsettled() || before.Ends.Equal(ends) {
			continue
		}
		r := *before
		r.Ends, r.Deadline = ends, deadline(r.Timestamp, ends)
		if err := t.putRow(before, &r); err != nil {
			return err
		}
	}
	return nil
}
