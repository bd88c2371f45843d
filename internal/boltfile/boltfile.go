// Package boltfile opens bbolt files that may be damaged.
//
// Start at [Open]. bbolt maps its file into memory and trusts it: a file that was cut
// off, or holds anything else, would end the process. Here that is an error.
//
// # What it guarantees
//
// A crash while a file is made leaves a whole file or none. A file that is shorter than
// it says, or whose pages are nonsense where they are read, is [ErrDamaged] and never a
// panic, as long as what reads it is inside [Guard].
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrDamaged tells that a file is cut off, or is not what it should be.
	ErrDamaged = errors.New("the file is cut off or damaged")
	// ErrInUse tells that another process has the file open.
	ErrInUse = errors.New("another process has the file open")
)

// lockTimeout is how long Open waits for the lock of another process: bbolt tries
// once, and takes 0 for ever.
const lockTimeout = time.Millisecond

// Open opens the file at path. Where there is none it makes one, with what first puts
// into it. Only its owner may read and write it.
func Open(path string, first func(*bbolt.Tx) error) (*bbolt.DB, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, first); err != nil {
			return nil, fmt.Errorf("make %s: %w", filepath.Base(path), err)
		}
	} else if err != nil {
		return nil, err
	}
	if err := checkLength(path); err != nil {
		return nil, err
	}
	var db *bbolt.DB
	err := Guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrInUse
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return db, err
}

// create makes a file under another name and links it to path, so that a file without
// content is never taken for a new one.
func create(path string, first func(*bbolt.Tx) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temp.Name())) }()
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temp.Name(), 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(first), db.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// The layout of a bbolt meta page: a header of 16 bytes, then magic, version, page
// size, flags, the root bucket, the freelist's page, the number of pages, the
// transaction, and FNV-1a of these.
const (
	metaHeader    = 16
	metaMagic     = 0xED0CDAED
	metaPageSize  = metaHeader + 8
	metaPages     = metaHeader + 40
	metaTx        = metaHeader + 48
	metaSum       = metaHeader + 56
	metaLength    = metaHeader + 64
	minPageSize   = 1024 // where bbolt looks for a second meta page: this doubled, up to 14 times
	pageSizeSteps = 15
)

// checkLength compares the file with the number of pages that its newest meta page
// names: bbolt would read beyond a torn one.
func checkLength(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var want int64
	var newest uint64
	found := false
	for i := range pageSizeSteps + 1 {
		offset := int64(0)
		if i > 0 {
			offset = minPageSize << (i - 1)
		}
		length, tx, ok := readMeta(f, offset)
		if ok && (!found || tx > newest) {
			want, newest, found = length, tx, true
		}
	}
	switch {
	case !found:
		return fmt.Errorf("%w: no page of its %d bytes says what it is", ErrDamaged, info.Size())
	case info.Size() < want:
		return fmt.Errorf("%w: %d bytes of %d are there", ErrDamaged, info.Size(), want)
	}
	return nil
}

// readMeta reads the meta page at an offset: how long the file has to be, and of which transaction it is.
func readMeta(f *os.File, offset int64) (length int64, tx uint64, ok bool) {
	var page [metaLength]byte
	if _, err := f.ReadAt(page[:], offset); err != nil {
		return 0, 0, false
	}
	sum := fnv.New64a()
	sum.Write(page[metaHeader:metaSum])
	native := binary.NativeEndian
	if native.Uint32(page[metaHeader:]) != metaMagic || native.Uint64(page[metaSum:]) != sum.Sum64() {
		return 0, 0, false
	}
	size := int64(native.Uint32(page[metaPageSize:]))
	return int64(native.Uint64(page[metaPages:])) * size, native.Uint64(page[metaTx:]), true
}

// Guard runs what reads or writes a file that may be damaged: bbolt panics on pages
// that it does not understand, and a page that can't be read is a fault in mapped memory.
func Guard(do func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return do()
}
