package marketplace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/internal/boltfile"
	"github.com/weirhq/weir/policy"
)

// subscriptionFile is subscriptions.db in the state directory: each subscriber's history as JSON, by license key,
// sealed. There is no file before the first event.
type subscriptionFile struct {
	path string
	log  *slog.Logger
	db   *bbolt.DB // nil: there is no file yet
	// lost tells that there was no file at the start, or none that could be read.
	lost bool
}

// Names of the file and in it.
const (
	subscriptionsName      = "subscriptions.db"
	subscriptionsAsideName = "subscriptions.db.damaged-"

	bucketMeta          = "meta"
	bucketSubscriptions = "subscriptions"

	metaFormat          = "format"
	metaSum             = "sum"
	subscriptionsFormat = "1" // another layout gets another one
)

// errSubscriptionsFormat is no damage: an operator has gone back to an older weir.
var errSubscriptionsFormat = errors.New("the file is of another version of weir")

func newSubscriptionFile(dir string, log *slog.Logger) *subscriptionFile {
	return &subscriptionFile{path: filepath.Join(dir, subscriptionsName), log: log}
}

// load reads every history, but of those who left long ago. A damaged file is set aside under another name.
func (f *subscriptionFile) load(now time.Time) (map[policy.Key]history, error) {
	none := map[policy.Key]history{}
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		f.lost = true
		return none, nil
	}
	err := f.open()
	var found map[policy.Key]history
	if err == nil {
		found, err = f.read()
	}
	if errors.Is(err, boltfile.ErrDamaged) {
		f.lost = true
		return none, errors.Join(f.close(), f.setAside(err, now))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", subscriptionsName, err), f.close())
	}
	return found, f.forget(found, now)
}

// setAside gives a damaged file another name, so that it can be looked at and is never read again.
func (f *subscriptionFile) setAside(why error, now time.Time) error {
	aside := subscriptionsAsideName + now.UTC().Format("20060102T150405Z")
	f.log.Error("stored subscriptions are not readable and set aside: what the entitlement copy knows of them goes on", "error", why, "aside", aside)
	if err := os.Rename(f.path, filepath.Join(filepath.Dir(f.path), aside)); err != nil {
		return fmt.Errorf("set %s aside: %w", subscriptionsName, err)
	}
	return nil
}

func (f *subscriptionFile) open() error {
	db, err := boltfile.Open(f.path, func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketMeta, bucketSubscriptions} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		meta := tx.Bucket([]byte(bucketMeta))
		return errors.Join(
			meta.Put([]byte(metaFormat), boltfile.Seal([]byte(metaFormat), []byte(subscriptionsFormat))),
			meta.Put([]byte(metaSum), make([]byte, boltfile.SumLength)),
		)
	})
	if err == nil {
		f.db = db
	}
	return err
}

// close closes the file; what was written stands in it already.
func (f *subscriptionFile) close() error {
	if f.db == nil {
		return nil
	}
	db := f.db
	f.db = nil
	if err := boltfile.Guard(db.Close); err != nil {
		return fmt.Errorf("close %s: %w", subscriptionsName, err)
	}
	return nil
}

func (f *subscriptionFile) read() (map[policy.Key]history, error) {
	found := map[policy.Key]history{}
	err := boltfile.Guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			meta, all := tx.Bucket([]byte(bucketMeta)), tx.Bucket([]byte(bucketSubscriptions))
			if meta == nil || all == nil {
				return fmt.Errorf("%w: a part is missing", boltfile.ErrDamaged)
			}
			switch format, ok := boltfile.Unseal([]byte(metaFormat), meta.Get([]byte(metaFormat))); {
			case !ok:
				return fmt.Errorf("%w: it does not say its format", boltfile.ErrDamaged)
			case string(format) != subscriptionsFormat:
				return errSubscriptionsFormat
			}
			return boltfile.Each(all, meta.Get([]byte(metaSum)), func(key, value []byte) error {
				var h history
				if err := json.Unmarshal(value, &h); err != nil {
					return fmt.Errorf("%w: the history of %q can't be read", boltfile.ErrDamaged, key)
				}
				found[policy.Key(key)] = h
				return nil
			})
		})
	})
	return found, err
}

// forget takes those out who left long ago.
func (f *subscriptionFile) forget(all map[policy.Key]history, now time.Time) error {
	var over []policy.Key
	for key, h := range all {
		if n := len(h.Happenings); !h.stands().active && n > 0 && now.Sub(h.Happenings[n-1].At) > forgetAfter {
			over = append(over, key)
			delete(all, key)
		}
	}
	return f.write(over, func(policy.Key) []byte { return nil })
}

// put makes a history durable.
func (f *subscriptionFile) put(key policy.Key, h history) error {
	value, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if f.db == nil {
		if err := f.open(); err != nil {
			return fmt.Errorf("make %s: %w", subscriptionsName, err)
		}
	}
	return f.write([]policy.Key{key}, func(policy.Key) []byte { return value })
}

// write puts values, nil taking them out, in one commit.
func (f *subscriptionFile) write(keys []policy.Key, value func(policy.Key) []byte) error {
	if len(keys) == 0 {
		return nil
	}
	err := boltfile.Guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) (err error) {
			meta, all := tx.Bucket([]byte(bucketMeta)), tx.Bucket([]byte(bucketSubscriptions))
			sum := meta.Get([]byte(metaSum))
			for _, key := range keys {
				if sum, err = boltfile.Put(all, sum, []byte(key), value(key)); err != nil {
					return err
				}
			}
			return meta.Put([]byte(metaSum), sum)
		})
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", subscriptionsName, err)
	}
	return nil
}
