package metering

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/internal/boltfile"
)

// openFile opens the file at path, and makes an empty ledger where there is none.
func openFile(path string) (*bbolt.DB, error) {
	db, err := boltfile.Open(path, makeBuckets)
	return db, named(err)
}

func makeBuckets(tx *bbolt.Tx) error {
	for _, name := range []string{bucketMeta, bucketBooks, bucketOpen, bucketRows, bucketDue, bucketLost} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(bucketMeta)).Put([]byte(metaFormat), []byte(format))
}

// guard runs what reads a file that may be corrupt.
func guard(read func() error) error { return named(boltfile.Guard(read)) }

// named gives an error of the file the name that it has here.
func named(err error) error {
	switch {
	case errors.Is(err, boltfile.ErrInUse):
		return ErrInUse
	case errors.Is(err, boltfile.ErrDamaged):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	default:
		return err
	}
}
