package metering

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"
)

// newBolt is the ledger in the file at path, which start opens. aside tells that a file which is torn is set
// aside, then and at any later time, to go on with a new one (BILLING B20).
func newBolt(path string, cfg Config, place Place, now func() time.Time, log *slog.Logger, aside bool) *Bolt {
	b := &Bolt{cfg: cfg, place: place, now: now, log: log}
	b.file = &ledgerFile{path: path, log: log, verify: b.verify}
	if aside {
		b.file.setAside = b.setAside
	}
	return b
}

// start opens the file for the first time. What is unsettled has to be there before the place is
// looked at: first, if there is one, adds to it.
func (b *Bolt) start(reg prometheus.Registerer, first func() error) (*Bolt, error) {
	if _, err := b.file.whole(false); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", b.file.path, err)
	}
	b.metrics = newBoltMetrics(b, reg)
	var err error
	if first != nil {
		err = first()
	}
	if err == nil {
		err = b.settlePlace()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", b.file.path, err), b.file.close())
	}
	return b, nil
}

// Close releases the file.
func (b *Bolt) Close() error { return b.file.close() }

// verify reads everything that is not settled: books, open hours, the tokens of checks, and the rows
// that are due; and where there was a sign of damage all others too, usage events among them.
func (b *Bolt) verify(tx *bbolt.Tx, all bool) error {
	meta := tx.Bucket([]byte(bucketMeta))
	if meta == nil {
		return fmt.Errorf("%w: its part %q is missing", ErrCorrupt, bucketMeta)
	}
	if err := checkFormat(string(meta.Get([]byte(metaFormat)))); err != nil {
		return err // before a look at the parts, of which another version has others
	}
	t, err := newBoltTx(tx, nil)
	if err != nil {
		return err
	}
	var begun beginning
	if err := errors.Join(t.getMeta(metaBegun, &begun), t.verifyMeta()); err != nil {
		return err
	}
	if err := t.verifyBooks(); err != nil {
		return err
	}
	if err := t.eachBlock(func(*TokenBlock) error { return nil }); err != nil {
		return err
	}
	if err := t.eachDue(time.Time{}, func(*Row) (bool, error) { return true, nil }); err != nil {
		return err
	}
	if all {
		if err := errors.Join(t.verifyRows(), t.verifyEvents()); err != nil {
			return err
		}
	}
	b.begun.Store(&begun)
	return nil
}

// checkFormat tells another version's file from one that is damaged.
func checkFormat(got string) error {
	version, ok := strings.CutPrefix(got, formatName)
	switch _, err := strconv.ParseUint(version, 10, 32); {
	case got == format:
		return nil
	case ok && err == nil:
		return fmt.Errorf("format %q is not %q, which this version of weir reads", got, format)
	default:
		return fmt.Errorf("%w: it says that its format is %q", ErrCorrupt, got)
	}
}

// verifyMeta reads what the file says of itself.
func (t *boltTx) verifyMeta() error {
	return t.meta.ForEach(func(k, _ []byte) error {
		if string(k) == metaFormat {
			return nil
		}
		var v json.RawMessage
		return t.getMeta(string(k), &v)
	})
}

// verifyBooks reads every book, and looks that those and the index of open hours agree: keys
// have no checksum.
func (t *boltTx) verifyBooks() error {
	open := t.open.Cursor()
	err := t.books.ForEach(func(key, _ []byte) error {
		k, err := t.book(key)
		if err != nil {
			return err
		}
		if !bytes.Equal(key, bookKey(k.License, k.Feature)) {
			return fmt.Errorf("%w: a book of %q is at %q", ErrCorrupt, k.License, key)
		}
		if len(k.Pending.Cells) > 0 && t.waiting.Get(key) == nil {
			return fmt.Errorf("%w: the checks in flight of %q are in no index", ErrCorrupt, key)
		}
		for _, h := range k.hours() {
			if found, _ := open.Seek(openKey(h, key)); !bytes.Equal(found, openKey(h, key)) {
				return fmt.Errorf("%w: an open hour of %q is in no index", ErrCorrupt, key)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.open.ForEach(func(k, _ []byte) error {
		if len(k) < 8 || t.books.Get(k[8:]) == nil {
			return fmt.Errorf("%w: the book of an open hour is missing", ErrCorrupt)
		}
		return nil
	})
}

// verifyRows reads every row, settled ones too, and looks that it is where the indexes say.
func (t *boltTx) verifyRows() error {
	due := t.due.Cursor()
	err := t.rows.ForEach(func(key, _ []byte) error {
		r, err := t.row(key)
		switch {
		case err != nil:
			return err
		case !bytes.Equal(key, rowKey(r.Hour, r.ID)):
			return fmt.Errorf("%w: row %s is at %q", ErrCorrupt, r.ID, key)
		case r.Units > 0 && t.books.Get(bookKey(r.License, r.Feature)) == nil:
			return fmt.Errorf("%w: the book of row %s is missing", ErrCorrupt, r.ID)
		}
		if found, _ := due.Seek(dueKey(r)); r.State.unsettled() && !bytes.Equal(found, dueKey(r)) {
			return fmt.Errorf("%w: row %s is not among those that are due", ErrCorrupt, r.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.lost.ForEach(func(key, _ []byte) error {
		_, err := t.indexed(key)
		return err
	})
}

// newBoltTx finds the buckets of a file that may be damaged.
func newBoltTx(tx *bbolt.Tx, begun *beginning) (*boltTx, error) {
	t := &boltTx{begun: begun}
	for name, bucket := range map[string]**bbolt.Bucket{
		bucketMeta: &t.meta, bucketBooks: &t.books, bucketOpen: &t.open, bucketRows: &t.rows, bucketDue: &t.due,
		bucketLost: &t.lost, bucketEvents: &t.events, bucketArrivals: &t.arrivals,
		bucketWaiting: &t.waiting, bucketTokens: &t.tokens,
	} {
		if *bucket = tx.Bucket([]byte(name)); *bucket == nil {
			return nil, fmt.Errorf("%w: its part %q is missing", ErrCorrupt, name)
		}
	}
	return t, nil
}

func (b *Bolt) view(read func(*boltTx) error) error {
	return b.file.view(func(tx *bbolt.Tx) error {
		t, err := newBoltTx(tx, b.begun.Load())
		if err != nil {
			return err
		}
		return read(t)
	})
}

// update runs change in one transaction, and counts what it changed once that is durable. now is
// AWS time; zero where no row can come to its end.
func (b *Bolt) update(now time.Time, change func(*boltTx) error) error {
	var t *boltTx
	began := time.Now()
	err := b.file.update(func(tx *bbolt.Tx) (err error) {
		if t, err = newBoltTx(tx, b.begun.Load()); err != nil {
			return err
		}
		t.now = now
		if err := errors.Join(t.begin(b.now), change(t)); err != nil {
			return err
		}
		return t.countStates()
	})
	if err != nil {
		return err
	}
	b.begun.Store(t.begun)
	b.metrics.write.Observe(time.Since(began).Seconds())
	b.metrics.changed(t)
	return nil
}
