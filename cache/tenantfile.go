package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/internal/boltfile"
)

// tenantFile is tenants.db in the state directory: what tenants are tied to at run
// time, and which claims were used. There is no file before the first tie.
//
// Each value begins with a sum of itself and its key, and the file holds the sum of all
// these, so that a value that is wrong, or missing, is noticed when the file is read.
type tenantFile struct {
	path string
	log  *slog.Logger
	db   *bbolt.DB // nil: there is no file yet
}

// Names of the file and in it.
const (
	tenantsName      = "tenants.db"
	tenantsAsideName = "tenants.db.damaged-"

	bucketMeta    = "meta"
	bucketTenants = "tenants"
	bucketClaims  = "claims" // by the instant at which the claim ends, then its id: the tenant that used it

	metaFormat    = "format"
	metaSum       = "sum"
	tenantsFormat = "1" // another layout gets another one
)

// errTenantsFormat is no damage: an operator has gone back to an older weir.
var errTenantsFormat = errors.New("the file is of another version of weir")

// stored is a tenant as it stands in the file.
type stored struct {
	id   string
	tied tied
}

// openTenants opens the file in dir and reads it. One that is damaged is set aside
// under another name; then there are no tenants but those of the configuration.
func openTenants(dir string, now time.Time, log *slog.Logger) (*tenantFile, []stored, error) {
	f := &tenantFile{path: filepath.Join(dir, tenantsName), log: log}
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		return f, nil, nil
	}
	err := f.open()
	var all []stored
	if err == nil {
		all, err = f.read()
	}
	if err == nil { // what was read stays mapped into memory: 200,000 tenants are 45 MB that nothing reads again
		f.close()
		err = f.open()
	}
	if errors.Is(err, boltfile.ErrDamaged) {
		f.close()
		return f, nil, f.setAside(err, now)
	}
	if err != nil {
		f.close()
		return nil, nil, fmt.Errorf("open %s: %w", tenantsName, err)
	}
	return f, all, nil
}

// setAside gives a damaged file another name, so that it can be looked at and is never
// read again.
func (f *tenantFile) setAside(why error, now time.Time) error {
	aside := tenantsAsideName + now.UTC().Format("20060102T150405Z")
	f.log.Error("registered tenants are not readable and set aside: tie them again", "error", why.Error(), "aside", aside)
	if err := os.Rename(f.path, filepath.Join(filepath.Dir(f.path), aside)); err != nil {
		return fmt.Errorf("set %s aside: %w", tenantsName, err)
	}
	return nil
}

func (f *tenantFile) open() error {
	db, err := boltfile.Open(f.path, func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketMeta, bucketTenants, bucketClaims} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return errors.Join(
			tx.Bucket([]byte(bucketMeta)).Put([]byte(metaFormat), boltfile.Seal([]byte(metaFormat), []byte(tenantsFormat))),
			tx.Bucket([]byte(bucketMeta)).Put([]byte(metaSum), make([]byte, boltfile.SumLength)),
		)
	})
	if err == nil {
		f.db = db
	}
	return err
}

// close closes the file; what was written stands in it already.
func (f *tenantFile) close() {
	if f.db == nil {
		return
	}
	if err := boltfile.Guard(f.db.Close); err != nil {
		f.log.Error("registered tenants can't be closed", "error", err.Error())
	}
	f.db = nil
}

// read reads every tenant. Their texts are parts of one: 200,000 are one thing to the
// garbage collector.
func (f *tenantFile) read() (all []stored, err error) {
	var text []byte
	var ends []int // of each id and each tied, in turn, in text
	err = boltfile.Guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			meta, tenants := tx.Bucket([]byte(bucketMeta)), tx.Bucket([]byte(bucketTenants))
			if meta == nil || tenants == nil || tx.Bucket([]byte(bucketClaims)) == nil {
				return fmt.Errorf("%w: a part is missing", boltfile.ErrDamaged)
			}
			if err := checkFormat(meta); err != nil {
				return err
			}
			return boltfile.Each(tenants, meta.Get([]byte(metaSum)), func(id, said []byte) error {
				text = append(text, id...)
				ends = append(ends, len(text))
				text = append(text, said...)
				ends = append(ends, len(text))
				return nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	whole, begin := string(text), 0
	for i := 0; i < len(ends); i += 2 {
		all = append(all, stored{whole[begin:ends[i]], tied(whole[ends[i]:ends[i+1]])})
		begin = ends[i+1]
	}
	return all, nil
}

func checkFormat(meta *bbolt.Bucket) error {
	format, ok := boltfile.Unseal([]byte(metaFormat), meta.Get([]byte(metaFormat)))
	switch {
	case !ok:
		return fmt.Errorf("%w: it does not say its format", boltfile.ErrDamaged)
	case string(format) != tenantsFormat:
		return errTenantsFormat
	default:
		return nil
	}
}

// write makes changes durable: an empty tied takes the tenant away. With a claim it
// notes that the tenant used it, and forgets claims that ended.
func (f *tenantFile) write(changes []stored, used *Claim, now time.Time) error {
	if f.db == nil {
		if err := f.open(); err != nil {
			return fmt.Errorf("make %s: %w", tenantsName, err)
		}
	}
	err := boltfile.Guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			if used != nil {
				if err := noteClaim(tx.Bucket([]byte(bucketClaims)), used, changes[0].id, now); err != nil {
					return err
				}
			}
			return putTenants(tx, changes)
		})
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", tenantsName, err)
	}
	return nil
}

func putTenants(tx *bbolt.Tx, changes []stored) (err error) {
	meta, tenants := tx.Bucket([]byte(bucketMeta)), tx.Bucket([]byte(bucketTenants))
	sum := meta.Get([]byte(metaSum))
	for _, change := range changes {
		var said []byte
		if change.tied != "" {
			said = []byte(change.tied)
		}
		if sum, err = boltfile.Put(tenants, sum, []byte(change.id), said); err != nil {
			return err
		}
	}
	return meta.Put([]byte(metaSum), sum)
}

// noteClaim notes who used a claim. Claims that ended are of no use to anybody.
func noteClaim(claims *bbolt.Bucket, used *Claim, tenant string, now time.Time) error {
	var over [][]byte
	cursor := claims.Cursor()
	for key, _ := cursor.First(); len(key) >= 8 && int64(binary.BigEndian.Uint64(key)) < now.Add(-claimMemory).Unix(); key, _ = cursor.Next() {
		over = append(over, key)
	}
	for _, key := range over {
		if err := claims.Delete(key); err != nil {
			return err
		}
	}
	key := used.key()
	return claims.Put(key, boltfile.Seal(key, []byte(tenant)))
}

// claimMemory is how much longer than it is good for a claim is remembered: AWS time
// may go back.
const claimMemory = time.Hour

// claimedBy is the tenant that used a claim; empty: none.
func (f *tenantFile) claimedBy(c *Claim) (tenant string, err error) {
	if f.db == nil {
		return "", nil
	}
	err = boltfile.Guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			key := c.key()
			value := tx.Bucket([]byte(bucketClaims)).Get(key)
			if value == nil {
				return nil
			}
			said, ok := boltfile.Unseal(key, value)
			if !ok {
				return fmt.Errorf("%w: the use of a claim is not as it was written", boltfile.ErrDamaged)
			}
			tenant = string(said)
			return nil
		})
	})
	return tenant, err
}

// key orders claims by when they end.
func (c *Claim) key() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(c.Until.Unix())), c.ID...)
}
