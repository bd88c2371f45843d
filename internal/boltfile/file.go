package boltfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// releaseTimeout is how long Release waits for transactions that are under way.
const releaseTimeout = 5 * time.Second

// File is an open file that may get into trouble.
type File struct {
	DB *bbolt.DB
	// ReadOnly tells that the file system can't be written: the file was opened to be read.
	ReadOnly bool

	file    *os.File
	size    int64 // at least so long has the file to be
	settled bool
}

// OpenFile opens the file at path as Open does. On a file system that is read-only it
// opens the file to be read.
func OpenFile(path string, first func(*bbolt.Tx) error) (*File, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, first); err != nil {
			return nil, fmt.Errorf("make %s: %w", filepath.Base(path), err)
		}
	} else if err != nil {
		return nil, err
	}
	if err := checkMeta(path); err != nil {
		return nil, err
	}
	f, err := openAs(path, false)
	if errors.Is(err, syscall.EROFS) {
		return openAs(path, true)
	}
	return f, err
}

func openAs(path string, readOnly bool) (*File, error) {
	f := &File{ReadOnly: readOnly}
	o := &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, ReadOnly: readOnly,
		OpenFile: func(name string, flag int, mode os.FileMode) (file *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			f.file = file
			return file, err
		},
	}
	err := Guard(func() (err error) {
		f.DB, err = bbolt.Open(path, 0o600, o)
		return err
	})
	if err == nil {
		var info os.FileInfo
		if info, err = f.file.Stat(); err == nil {
			f.size = info.Size()
			return f, nil
		}
	}
	f.giveUp() // bbolt has left it open where it panicked
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrInUse
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil, err
}

// Whole tells whether the file is there as it was left: bbolt would fault in one that
// was cut off, and hold its locks for ever.
func (f *File) Whole() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink == 0 {
		return fmt.Errorf("%w: it was removed", ErrDamaged)
	}
	if info.Size() < f.size {
		return fmt.Errorf("%w: %d bytes of %d are there", ErrDamaged, info.Size(), f.size)
	}
	f.size = info.Size()
	return nil
}

// Settle makes durable what the file shows: a page that failed to reach the disk stays in
// the system's memory, looks as if it had been written, and no further fsync tries it again. The
// pages behind a meta page are durable before that is written (bbolt: Tx.Commit), so
// it is enough to write the newest one again.
func (f *File) Settle() error {
	if f.settled {
		return nil
	}
	m, ok := newestMeta(f.file)
	if !ok {
		return fmt.Errorf("%w: no page says what it is", ErrDamaged)
	}
	page := make([]byte, metaLength)
	if _, err := f.file.ReadAt(page, m.offset); err != nil {
		return err
	}
	if _, err := f.file.WriteAt(page, m.offset); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.settled = true
	return nil
}

// Release closes the file, whatever state it is in: one in which bbolt is stuck is left
// to it, without the lock that would keep others out.
func (f *File) Release() error {
	closed := make(chan error, 1)
	go func() { closed <- Guard(f.DB.Close) }() // ends with the transactions under way
	select {
	case err := <-closed:
		return err
	case <-time.After(releaseTimeout):
		f.giveUp()
		return errors.New("close file: a transaction does not end")
	}
}

// giveUp frees the lock and the descriptor of a file that bbolt can't close.
func (f *File) giveUp() {
	if f.file == nil {
		return
	}
	_ = syscall.Flock(int(f.file.Fd()), syscall.LOCK_UN) // closed already: nothing is held
	_ = f.file.Close()
}
