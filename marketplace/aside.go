package marketplace

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// maxAside is how many messages are kept; beyond it the oldest goes.
	maxAside = 1_000
	// maxMessage is the longest message that is read, and the most of one that is
	// kept, in bytes. AWS's events are 1 to 2 KB; EventBridge allows 256 KB.
	maxMessage = 256 << 10
	// asideTime begins each file's name.
	asideTime = "20060102T150405.000000000Z"
)

// aside keeps messages that could not be understood, for people to look at: one file each, in
// the order of their names, that of their arrival.
type aside struct {
	dir string
	mu  sync.Mutex
}

// put keeps a message durably enough to delete it from its queue.
func (a *aside) put(at time.Time, body []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return fmt.Errorf("set message aside: %w", err)
	}
	sum := sha256.Sum256(body)
	name := at.UTC().Format(asideTime) + "-" + hex.EncodeToString(sum[:6]) + ".msg"
	if err := a.write(filepath.Join(a.dir, name), body[:min(len(body), maxMessage)]); err != nil {
		return fmt.Errorf("set message aside: %w", err)
	}
	if err := a.removeOldest(); err != nil {
		return fmt.Errorf("set message aside: %w", err)
	}
	return nil
}

// write makes the file. The same message at the same time is there already.
func (a *aside) write(path string, body []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.Write(body)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// removeOldest removes what is kept beyond maxAside.
func (a *aside) removeOldest() error {
	kept, err := filepath.Glob(filepath.Join(a.dir, "*.msg")) // sorted by name
	if err != nil {
		return err
	}
	for _, path := range kept[:max(0, len(kept)-maxAside)] {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
