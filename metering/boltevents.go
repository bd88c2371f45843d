package metering

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/boltfile"
)

const (
	// arrivalIDs bounds the ids in one value of the bucket arrivals.
	arrivalIDs = 1000
	// forgetArrivals bounds the values of arrivals whose ids one transaction forgets, so
	// that commits get their turn between.
	forgetArrivals = 5
)

// Recall looks usage events up by their ids.
func (b *Bolt) Recall(ctx context.Context, now time.Time, ids []EventID) (Memory, error) {
	m := Memory{Known: make([]bool, len(ids))}
	err := b.view(func(t *boltTx) error {
		if err := t.getMeta(metaEvents, &m.Held); err != nil {
			return err
		}
		if k, _ := t.arrivals.Cursor().First(); k != nil {
			m.Oldest = keyTime(k)
		}
		for i := range ids {
			at, found, err := t.event(ids[i])
			if err != nil {
				return err
			}
			m.Known[i] = found && now.Before(at.Add(eventsKnown))
		}
		return ctx.Err()
	})
	if err != nil {
		return Memory{}, fmt.Errorf("look up usage events: %w", err)
	}
	return m, nil
}

// event is when the event of an id came.
func (t *boltTx) event(id EventID) (at time.Time, found bool, err error) {
	value := t.events.Get(id[:])
	if value == nil {
		return time.Time{}, false, nil
	}
	at, ok := unsealEvent(id, value)
	if !ok {
		return time.Time{}, false, fmt.Errorf("%w: checksum of a usage event is wrong", ErrCorrupt)
	}
	return at, true, nil
}

// unsealEvent is when an event came, if the checksum over its id and that is right.
func unsealEvent(id EventID, value []byte) (at time.Time, ok bool) {
	if len(value) != 8 || binary.BigEndian.Uint32(value[4:]) != eventSum(id, value[:4]) {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint32(value)), 0).UTC(), true
}

func eventSum(id EventID, at []byte) uint32 {
	return crc32.Update(crc32.Checksum(id[:], castagnoli()), castagnoli(), at)
}

// putEvents remembers events that came at one time.
func (t *boltTx) putEvents(at time.Time, ids []EventID) error {
	at = seenSecond(at)
	var held int64
	if err := t.getMeta(metaEvents, &held); err != nil {
		return err
	}
	slices.SortFunc(ids, compareIDs) // in the order of the file
	values := make([]byte, 8*len(ids))
	for i, id := range ids {
		if t.events.Get(id[:]) == nil {
			held++
		}
		value := binary.BigEndian.AppendUint32(values[8*i:8*i], uint32(at.Unix()))
		value = binary.BigEndian.AppendUint32(value, eventSum(id, value))
		if err := t.events.Put(ids[i][:], value); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(ids, arrivalIDs) {
		number, err := t.arrivals.NextSequence()
		if err != nil {
			return err
		}
		if err := t.arrivals.Put(binary.BigEndian.AppendUint64(timeKey(nil, at), number), sealIDs(some)); err != nil {
			return err
		}
	}
	return t.putMeta(metaEvents, held)
}

func compareIDs(a, b EventID) int { return bytes.Compare(a[:], b[:]) }

// sealIDs writes ids behind their checksum.
func sealIDs(ids []EventID) []byte {
	value := make([]byte, 4, 4+len(EventID{})*len(ids))
	for i := range ids {
		value = append(value, ids[i][:]...)
	}
	binary.BigEndian.PutUint32(value, crc32.Checksum(value[4:], castagnoli()))
	return value
}

func unsealIDs(value []byte) ([]EventID, error) {
	const size = len(EventID{})
	if len(value) < 4 || len(value[4:])%size != 0 || binary.BigEndian.Uint32(value) != crc32.Checksum(value[4:], castagnoli()) {
		return nil, fmt.Errorf("%w: checksum of usage events is wrong", ErrCorrupt)
	}
	ids := make([]EventID, 0, len(value[4:])/size)
	for id := range slices.Chunk(value[4:], size) {
		ids = append(ids, EventID(id))
	}
	return ids, nil
}

// Forget removes the ids of usage events that came eventsKnown ago or longer, a part at a time.
func (b *Bolt) Forget(ctx context.Context, now time.Time) error {
	for before := now.Add(-eventsKnown); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var keys [][]byte
		err := b.view(func(t *boltTx) error { keys = t.arrived(before); return nil })
		if err == nil && len(keys) > 0 {
			err = b.update(time.Time{}, func(t *boltTx) error { return t.forgetEvents(keys) })
		}
		if err != nil {
			return fmt.Errorf("forget usage events of before %s: %w", before.Format(time.RFC3339), err)
		}
		if len(keys) < forgetArrivals {
			return nil
		}
	}
}

// arrived finds arrivals up to an instant, as many as a transaction should forget.
func (t *boltTx) arrived(until time.Time) (keys [][]byte) {
	c := t.arrivals.Cursor()
	for k, _ := c.First(); k != nil && !keyTime(k).After(until) && len(keys) < forgetArrivals; k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	return keys
}

func (t *boltTx) forgetEvents(arrivals [][]byte) error {
	var held int64
	if err := t.getMeta(metaEvents, &held); err != nil {
		return err
	}
	for _, key := range arrivals {
		ids, err := unsealIDs(t.arrivals.Get(key))
		if err != nil {
			return err
		}
		for _, id := range ids {
			at, found, err := t.event(id)
			if err != nil {
				return err
			}
			if !found || !at.Equal(keyTime(key)) {
				continue // it came once more since
			}
			held--
			if err := t.events.Delete(id[:]); err != nil {
				return err
			}
		}
		if err := t.arrivals.Delete(key); err != nil {
			return err
		}
	}
	return t.putMeta(metaEvents, held)
}

// eventsIn are the usage events of a damaged file that are known still, by when they came, as
// far as they can be read.
func eventsIn(path string, now time.Time) map[time.Time][]EventID {
	events := map[time.Time][]EventID{}
	_, err := boltfile.Read(path, func(e boltfile.Entry) {
		if len(e.Key) != len(EventID{}) {
			return
		}
		id := EventID(e.Key)
		if at, ok := unsealEvent(id, e.Value); ok && now.Before(at.Add(eventsKnown)) {
			events[at] = append(events[at], id)
		}
	})
	if err != nil {
		return nil // there is nothing to read
	}
	return events
}

// verifyEvents reads every usage event.
func (t *boltTx) verifyEvents() error {
	err := t.events.ForEach(func(key, _ []byte) error {
		if len(key) != len(EventID{}) {
			return fmt.Errorf("%w: %q is no id of a usage event", ErrCorrupt, key)
		}
		_, _, err := t.event(EventID(key))
		return err
	})
	if err != nil {
		return err
	}
	return t.arrivals.ForEach(func(_, value []byte) error {
		_, err := unsealIDs(value)
		return err
	})
}
