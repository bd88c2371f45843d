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
//
// A [File] can be given up after any trouble, and says before it is written again that
// what it shows is on disk. [SetAside] begins a new file in the place of a damaged one,
// and [Read] finds what is whole in that without bbolt.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
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
	f, err := OpenFile(path, first)
	if err != nil {
		return nil, err
	}
	return f.DB, nil
}

// create makes a file under another name and links it to path, so that a file without
// content is never taken for a new one.
func create(path string, first func(*bbolt.Tx) error) (err error) {
	made, err := makeBeside(path, first)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(made)) }()
	if err := os.Link(made, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeBeside makes a whole file beside path, which the caller has to rename or remove.
func makeBeside(path string, first func(*bbolt.Tx) error) (made string, err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	if err := temp.Close(); err != nil {
		return "", err
	}
	db, err := bbolt.Open(temp.Name(), 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return "", err
	}
	return temp.Name(), errors.Join(db.Update(first), db.Close())
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
	metaRoot      = metaHeader + 16
	minPageSize   = 1024 // where bbolt looks for a second meta page: this doubled, up to 14 times
	pageSizeSteps = 15
)

// meta is what a meta page says of the file.
type meta struct {
	offset   int64 // where the meta page is
	pageSize int64
	pages    uint64
	root     uint64 // the page of the root bucket
	tx       uint64
}

// checkMeta compares the file with what its meta pages say: bbolt would read beyond the end of
// a torn one, and in place of a damaged meta page take the older one.
func checkMeta(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m, ok := newestMeta(f)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case !ok:
		return fmt.Errorf("%w: no page of its %d bytes says what it is", ErrDamaged, info.Size())
	case info.Size() < m.size():
		return fmt.Errorf("%w: %d bytes of %d are there", ErrDamaged, info.Size(), m.size())
	case !m.paired(f):
		return fmt.Errorf("%w: one of its two meta pages makes no sense, and it may be that of the last change", ErrDamaged)
	}
	return nil
}

// newestMeta finds the meta page of the last transaction, wherever the page size puts it.
func newestMeta(f io.ReaderAt) (newest meta, found bool) {
	for i := range pageSizeSteps + 1 {
		offset := int64(0)
		if i > 0 {
			offset = minPageSize << (i - 1)
		}
		m, ok := readMeta(f, offset)
		if ok && (!found || m.tx > newest.tx) {
			newest, found = m, true
		}
	}
	return newest, found
}

// paired tells whether the other meta page is right too. bbolt would take the file for what it was a
// change before; no crash leaves it so, since a meta page is less than a sector.
func (m meta) paired(f io.ReaderAt) bool {
	other := int64(0)
	if m.offset == 0 {
		other = m.pageSize
	}
	_, ok := readMeta(f, other)
	return ok
}

// size is how long the meta page says that the file is.
func (m meta) size() int64 { return int64(m.pages) * m.pageSize }

// readMeta reads the meta page at an offset.
func readMeta(f io.ReaderAt, offset int64) (meta, bool) {
	var page [metaLength]byte
	if _, err := f.ReadAt(page[:], offset); err != nil {
		return meta{}, false
	}
	sum := fnv.New64a()
	sum.Write(page[metaHeader:metaSum])
	native := binary.NativeEndian
	if native.Uint32(page[metaHeader:]) != metaMagic || native.Uint64(page[metaSum:]) != sum.Sum64() {
		return meta{}, false
	}
	return meta{
		offset: offset, pageSize: int64(native.Uint32(page[metaPageSize:])), pages: native.Uint64(page[metaPages:]),
		root: native.Uint64(page[metaRoot:]), tx: native.Uint64(page[metaTx:]),
	}, true
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
