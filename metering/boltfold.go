package metering

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// standing reads the books of changes as they stand, nil where there is none, and the first hour that is open.
func (b *Bolt) standing(keys []string) (books []*book, closed time.Time, err error) {
	books = make([]*book, len(keys))
	err = b.view(func(t *boltTx) (err error) {
		if closed, err = t.closed(); err != nil {
			return err
		}
		for i, key := range keys {
			if books[i], err = t.book([]byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, closed, fmt.Errorf("read books: %w", err)
	}
	return books, closed, nil
}

// fold adds the changes of one segment of a journal in one transaction: to each book once, however
// often it is asked to.
func (b *Bolt) fold(changes []*change) error {
	slices.SortFunc(changes, func(a, b *change) int { return cmp.Compare(a.key, b.key) }) // in the order of the file
	err := b.update(time.Time{}, func(t *boltTx) error {
		closed, err := t.closed()
		if err != nil {
			return err
		}
		events := map[time.Time][]EventID{}
		var tokens []Delta
		for _, c := range changes {
			if err := t.fold(c, closed, events); err != nil {
				return err
			}
			for i := range c.deltas {
				if len(c.deltas[i].Tokens) > 0 {
					tokens = append(tokens, c.deltas[i])
				}
			}
		}
		for seen, ids := range events {
			if err := t.putEvents(seen, ids); err != nil {
				return err
			}
		}
		return t.putTokens(tokens)
	})
	if err != nil {
		return fmt.Errorf("take over the journal's counts of %d licenses and features: %w", len(changes), err)
	}
	return nil
}

// fold adds one change to its book, and its events to those by second, unless the book holds it.
func (t *boltTx) fold(c *change, closed time.Time, events map[time.Time][]EventID) error {
	k, err := t.book([]byte(c.key))
	if err != nil {
		return err
	}
	if k == nil {
		k = newBook(c.id)
	}
	if c.in(k) {
		return nil
	}
	before := k.hours()
	c.apply(k, closed)
	for i := range c.deltas {
		if d := &c.deltas[i]; len(d.Events) > 0 {
			seen := seenSecond(d.Seen)
			events[seen] = append(events[seen], d.Events...)
		}
	}
	return t.putBook([]byte(c.key), k, before)
}
