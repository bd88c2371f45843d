package metering

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/internal/boltfile"
)

// beginning is what a ledger remembers of a damaged one in whose place it was begun. Of
// the hours up to that moment the damaged one may have sent records, and AWS takes one for each
// license, dimension and hour: nothing is ever counted in them or sent for them here (BILLING B20).
type beginning struct {
	From    time.Time `json:"from"`             // the first hour that may be counted in
	Settled bool      `json:"settled"`          // from is by AWS's time
	Aside   string    `json:"aside,omitempty"`  // the name of the damaged file; empty: it was gone
	Damage  string    `json:"damage,omitempty"` // what was wrong with it
}

// from is the first hour that may be counted in; zero: any.
func (b *beginning) from() time.Time {
	if b == nil {
		return time.Time{}
	}
	return b.From
}

// begin closes the hours up to the present one at the first change of a ledger that was begun in the
// place of a damaged one: when its file is made AWS's time may not be known yet.
func (t *boltTx) begin(now func() time.Time) error {
	if t.begun == nil || t.begun.From.IsZero() || t.begun.Settled {
		return nil
	}
	begun := *t.begun
	begun.From, begun.Settled = latest(begun.From, afterPresent(now())), true
	t.begun = &begun
	return t.putMeta(metaBegun, begun)
}

// afterPresent is the first hour after the present one.
func afterPresent(now time.Time) time.Time { return hourOf(now).Add(time.Hour) }

// setAside begins a new file in the place of the damaged one.
func (b *Bolt) setAside(damage error) error {
	begun := beginning{From: latest(afterPresent(b.now()), closedIn(b.file.path)), Damage: damage.Error()}
	events := eventsIn(b.file.path, b.now())
	aside, err := boltfile.SetAside(b.file.path, time.Now(), func(tx *bbolt.Tx, aside string) error {
		begun.Aside = filepath.Base(aside)
		return b.fill(tx, begun, events)
	})
	if err != nil {
		return named(fmt.Errorf("set aside the corrupt ledger: %w", err))
	}
	if aside == "" {
		b.log.Error("the ledger's file is gone: what it held can't be sent; counting goes on in a new file, for hours that begin later",
			"file", b.file.path, "from", begun.From)
		return nil
	}
	b.log.Error("the ledger is corrupt and was set aside: what it holds is not sent; counting goes on in a new file, for hours that begin later",
		"file", aside, "from", begun.From, "error", damage,
		"hint", "keep the file and run `weir usage salvage "+aside+"`: it shows what AWS was not asked to bill, and what can be done")
	return nil
}

// fill puts into a new file what it has to begin with. No place is left over from the damaged
// one, but its usage events stay known: the units of one that is sent again are in there.
func (b *Bolt) fill(tx *bbolt.Tx, begun beginning, events map[time.Time][]EventID) error {
	if err := makeBuckets(tx); err != nil {
		return err
	}
	t, err := newBoltTx(tx, nil)
	if err != nil {
		return err
	}
	for at, ids := range events {
		if err := t.putEvents(at, ids); err != nil {
			return err
		}
	}
	var none error
	b.placeErr.Store(&none)
	return errors.Join(t.putMeta(metaBegun, begun), t.putMeta(metaPlace, b.place))
}

func makeBuckets(tx *bbolt.Tx) error {
	for _, name := range []string{
		bucketMeta, bucketBooks, bucketOpen, bucketRows, bucketDue, bucketLost, bucketEvents, bucketArrivals,
		bucketWaiting, bucketTokens,
	} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(bucketMeta)).Put([]byte(metaFormat), []byte(format))
}

// closedIn is the first hour that was open in a damaged file, as far as it can still be read: its
// clock may have been ahead.
func closedIn(path string) (closed time.Time) {
	_, err := boltfile.Read(path, func(e boltfile.Entry) {
		var h time.Time
		var begun beginning
		switch string(e.Key) {
		case metaClosed:
			if unseal(e.Value, &h) == nil {
				closed = latest(closed, h)
			}
		case metaBegun:
			if unseal(e.Value, &begun) == nil {
				closed = latest(closed, begun.From)
			}
		}
	})
	if err != nil {
		return time.Time{}
	}
	return closed
}

// Aside lists the files that were set aside and are still there.
func (b *Bolt) Aside() []string {
	names, err := boltfile.Asides(b.file.path)
	if err != nil {
		return nil // of the directory, which the file's own trouble tells of
	}
	return names
}
