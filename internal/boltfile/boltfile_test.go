package boltfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// first is what the files of these tests begin with.
func first(tx *bbolt.Tx) error {
	_, err := tx.CreateBucket([]byte("things"))
	return err
}

func open(t *testing.T, path string) *bbolt.DB {
	t.Helper()
	db, err := Open(path, first)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestNewFileIsItsOwnersAloneAndHoldsWhatItBeginsWith(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "things.db")
	db := open(t, path)
	err := db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("things")) == nil {
			t.Error("the bucket is not there")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v %v", info, err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("left in the directory: %v %v", all, err)
	}
}

func TestFileThatCannotBeFilledIsNotThere(t *testing.T) {
	dir, failed := t.TempDir(), errors.New("no room")
	if _, err := Open(filepath.Join(dir, "things.db"), func(*bbolt.Tx) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 0 {
		t.Errorf("left in the directory: %v %v", all, err)
	}
}

func TestOpenFileIsInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "things.db")
	open(t, path)
	if _, err := Open(path, first); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
}

func TestFileThatIsCutOffIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "things.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for n := 0; n < len(whole); n += 511 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := Open(path, first)
		switch {
		case errors.Is(err, ErrDamaged):
			damaged++
		case err != nil:
			t.Errorf("cut off at byte %d: %v", n, err)
		default: // bbolt makes files longer than they need be: what is cut off was not in use
			if err := errors.Join(db.View(func(tx *bbolt.Tx) error { return errors.Join(collect(tx.Check())...) }), db.Close()); err != nil {
				t.Errorf("cut off at byte %d: taken for whole: %v", n, err)
			}
		}
	}
	if damaged < 10 {
		t.Errorf("%d of the files were damaged", damaged)
	}
}

func collect(found <-chan error) (errs []error) {
	for err := range found {
		errs = append(errs, err)
	}
	return errs
}

func TestPanicBelowIsDamage(t *testing.T) {
	if err := Guard(func() error { panic("page 7 is nonsense") }); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	wanted := errors.New("wanted")
	if err := Guard(func() error { return wanted }); !errors.Is(err, wanted) || errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}
