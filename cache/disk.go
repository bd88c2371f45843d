package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// disk keeps the copy of the entitlements in the state directory. The copy is whole
// or absent at every instant: a new one is written beside it, synced, and takes its
// name.
type disk struct {
	dir   string
	files files
	log   *slog.Logger
}

// Names in the state directory. What is set aside gets the time as a suffix.
const (
	copyName    = "entitlements"
	newCopyName = "entitlements.new"
	asideName   = "entitlements.damaged-"
)

// maxCopy bounds what is read into memory: 100,000 licenses take 30 MB.
const maxCopy = 1 << 30

// files is what the copy needs of a file system.
type files interface {
	Read(name string) ([]byte, error)
	// Create makes an empty file that only its owner may read and write.
	Create(name string) (file, error)
	Rename(from, to string) error
	// SyncDir makes what was created and renamed in a directory durable.
	SyncDir(dir string) error
}

// file is one file that is being written.
type file interface {
	io.WriteCloser
	Sync() error
}

func newDisk(dir string, f files, log *slog.Logger) *disk { return &disk{dir, f, log} }

// load reads the copy. One that is not whole is set aside under another name, so
// that it can be looked at and is never read again; then there is none.
func (d *disk) load(now time.Time) copied {
	b, err := d.files.Read(filepath.Join(d.dir, copyName))
	if errors.Is(err, fs.ErrNotExist) {
		return copied{}
	}
	if err == nil {
		var made copied
		if made, err = decode(b); err == nil {
			return made
		}
	}
	aside := asideName + now.UTC().Format("20060102T150405Z")
	d.log.Error("entitlement copy is not usable and set aside", "error", err.Error(), "aside", aside)
	if err := d.files.Rename(filepath.Join(d.dir, copyName), filepath.Join(d.dir, aside)); err != nil {
		d.log.Error("entitlement copy can't be set aside", "error", err.Error())
	}
	return copied{}
}

// store replaces the copy.
func (d *disk) store(b []byte) error {
	name := filepath.Join(d.dir, newCopyName)
	f, err := d.files.Create(name)
	if err != nil {
		return fmt.Errorf("create %s: %w", newCopyName, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", newCopyName, err)
	}
	if err := d.files.Rename(name, filepath.Join(d.dir, copyName)); err != nil {
		return fmt.Errorf("replace %s: %w", copyName, err)
	}
	if err := d.files.SyncDir(d.dir); err != nil {
		return fmt.Errorf("sync directory of %s: %w", copyName, err)
	}
	return nil
}

// osFiles is the real file system.
type osFiles struct{}

func (osFiles) Read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxCopy {
		return nil, errors.Join(err, fmt.Errorf("larger than %d bytes", maxCopy))
	}
	return io.ReadAll(io.LimitReader(f, maxCopy))
}

func (osFiles) Create(name string) (file, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }

func (osFiles) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
