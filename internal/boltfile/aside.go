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
)

// asideStamp is how the name of a file that was set aside tells when: UTC.
const asideStamp = "20060102T150405Z"

// maxAsides bounds the files that one second can set aside.
const maxAsides = 100

// SetAside begins a new file in the place of the damaged one at path, which stays, whole
// as it is, under the name that is returned: path.corrupt-<UTC time>. Nobody else has it
// open meanwhile, and there is a file at path at every moment. Empty: there was none.
func SetAside(path string, now time.Time, first func(tx *bbolt.Tx, aside string) error) (aside string, err error) {
	old, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", create(path, func(tx *bbolt.Tx) error { return first(tx, "") })
	} else if err != nil {
		return "", err
	}
	defer old.Close() // and with it the lock
	if err := syscall.Flock(int(old.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", ErrInUse
	}
	if same, err := isAt(old, path); err != nil || !same {
		return "", errors.Join(err, ErrInUse) // another process has set it aside
	}
	if err := old.Chmod(0o600); err != nil {
		return "", err
	}
	if aside, err = freeName(old, path, now); err != nil {
		return "", err
	}
	made, err := makeBeside(path, func(tx *bbolt.Tx) error { return first(tx, aside) })
	if err != nil {
		return "", err
	}
	if err := swap(path, aside, made); err != nil {
		return "", errors.Join(err, os.Remove(made))
	}
	return aside, syncDir(filepath.Dir(path))
}

// swap gives the file at path the name aside, and the one that was made its place.
func swap(path, aside, made string) error {
	if err := os.Link(path, aside); err != nil && !errors.Is(err, fs.ErrExist) {
		// A file system without links: for a moment nothing is at path.
		if err := os.Rename(path, aside); err != nil {
			return err
		}
	}
	return os.Rename(made, path)
}

// isAt tells whether path names this open file.
func isAt(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there), err
}

// freeName is a name for the file that no other has: one that is linked to it
// already was given by an attempt that did not end.
func freeName(f *os.File, path string, now time.Time) (string, error) {
	known, err := Asides(path)
	if err != nil {
		return "", err
	}
	for _, name := range known {
		if same, err := isAt(f, name); err == nil && same {
			return name, nil
		}
	}
	base := path + ".corrupt-" + now.UTC().Format(asideStamp)
	name := base
	for i := 2; i < maxAsides; i++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return "", fmt.Errorf("name %s: %w", base, fs.ErrExist)
}

// Asides lists the files that were set aside from path, by name.
func Asides(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if base := filepath.Base(path) + ".corrupt-"; len(e.Name()) > len(base) && e.Name()[:len(base)] == base {
			names = append(names, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return names, nil
}

// MoveAside gives any other damaged file the name path.corrupt-<UTC time> and returns it. Nobody has it open.
func MoveAside(file, path string, now time.Time) (aside string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if aside, err = freeName(f, path, now); err != nil {
		return "", err
	}
	if err := os.Rename(file, aside); err != nil {
		return "", err
	}
	return aside, syncDir(filepath.Dir(path))
}
