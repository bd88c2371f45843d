package metering

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// journalFile is what a journal writes a segment to.
type journalFile interface {
	Write(p []byte) (int, error)
	// Datasync returns once everything written is on disk.
	Datasync() error
	// Whole is nil where the file is in its place and so many bytes long.
	Whole(size int64) error
	Close() error
}

// osFile is a segment's file on disk.
type osFile struct{ *os.File }

// createOSFile makes a file, whose name is durable when it returns. There must be none.
func createOSFile(path string) (journalFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return osFile{f}, nil
}

func (f osFile) Datasync() error { return datasync(f.File) }

// Whole asks the system: what is written to a file that was removed would be durable nowhere.
func (f osFile) Whole(size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink == 0 {
		return errors.New("its file was removed")
	}
	if info.Size() != size {
		return fmt.Errorf("its file has %d bytes, and %d were written", info.Size(), size)
	}
	return nil
}

// syncDir makes the entries of a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
