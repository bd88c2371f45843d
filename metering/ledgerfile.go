package metering

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/weirhq/weir/internal/boltfile"
)

// reopenEvery is how soon a file that could not be opened is tried again: every write
// asks for it, and to verify a large one takes its time.
const reopenEvery = 100 * time.Millisecond

// ledgerFile is a ledger's file through all trouble (BILLING B20). After a write that
// failed, or a sign of damage, nothing is read from or written to it before it was closed,
// opened anew and verified; what bbolt or the system hold of it in memory may not be what is on disk.
type ledgerFile struct {
	path   string
	log    *slog.Logger
	verify func(tx *bbolt.Tx, all bool) error
	// setAside begins a new file in the place of one that is damaged; nil: it stays.
	setAside func(damage error) error

	open    atomic.Pointer[boltfile.File] // nil: closed
	trouble atomic.Pointer[error]         // of the open file, or of the one before it; nil: none

	mu      sync.Mutex // of writing, opening, and what follows
	opened  bool       // ever
	closed  bool       // for good
	tried   time.Time  // local time of the last attempt to open it
	refused error      // how that went
}

// view reads in one transaction.
func (f *ledgerFile) view(read func(*bbolt.Tx) error) error {
	for again := true; ; again = false {
		file := f.open.Load()
		if file == nil || f.trouble.Load() != nil {
			var err error
			f.mu.Lock()
			file, err = f.whole(false)
			f.mu.Unlock()
			if err != nil {
				return err
			}
		}
		err := guard(func() error { return file.DB.View(read) })
		if again && errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
			continue // closed in between: the next one is another
		}
		if errors.Is(err, ErrCorrupt) {
			f.suspect(file, err)
		}
		return err
	}
}

// update changes the file in one transaction. Whether one that failed is on disk is not
// known: who repeats it has to do so in a way that counts once.
func (f *ledgerFile) update(change func(*bbolt.Tx) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.whole(true)
	if err != nil {
		return err
	}
	if err := file.Settle(); err != nil {
		err = named(err)
		f.suspect(file, err)
		return err
	}
	rolledBack := false
	err = guard(func() error {
		return file.DB.Update(func(tx *bbolt.Tx) error {
			err := change(tx)
			rolledBack = err != nil
			return err
		})
	})
	if err != nil && (!rolledBack || errors.Is(err, ErrCorrupt)) {
		f.suspect(file, err)
	}
	return err
}

// suspect notes trouble with a file, unless another one is open by now.
func (f *ledgerFile) suspect(file *boltfile.File, err error) {
	if f.open.Load() == file {
		f.trouble.CompareAndSwap(nil, &err)
	}
}

// whole is the open file, opened anew where there was trouble. The caller holds mu.
func (f *ledgerFile) whole(toWrite bool) (*boltfile.File, error) {
	if f.closed {
		return nil, errors.New("ledger is closed")
	}
	file := f.open.Load()
	if file != nil && f.trouble.Load() == nil {
		if err := named(file.Whole()); err != nil {
			f.suspect(file, err)
		} else if !toWrite || !file.ReadOnly {
			return file, nil
		}
	}
	if f.refused != nil && time.Since(f.tried) < reopenEvery {
		return nil, f.refused
	}
	f.refused = f.reopen()
	f.tried = time.Now()
	file = f.open.Load()
	if f.refused == nil && toWrite && file.ReadOnly {
		return nil, fmt.Errorf("open ledger: %w", bolterrors.ErrDatabaseReadOnly)
	}
	return file, f.refused
}

// reopen closes the file and opens it anew.
func (f *ledgerFile) reopen() error {
	var cause error
	if trouble := f.trouble.Load(); trouble != nil {
		cause = *trouble
	}
	f.release(cause != nil)
	err := f.openVerified(errors.Is(cause, ErrCorrupt))
	if errors.Is(err, ErrCorrupt) && f.setAside != nil {
		err = f.replace(err)
	}
	if err != nil {
		return err
	}
	f.trouble.Store(nil)
	f.opened = true
	return nil
}

// release closes the file. After trouble the next one to open it has to see what is on disk.
func (f *ledgerFile) release(troubled bool) {
	if file := f.open.Swap(nil); file != nil {
		if err := file.Release(); err != nil {
			f.log.Warn("ledger could not be closed in order", "error", err)
		}
	}
	if !troubled {
		return
	}
	if err := boltfile.Forget(f.path); err != nil {
		f.log.Debug("ledger can't be read anew from the disk", "error", err)
	}
}

// replace sets a damaged file aside and opens a new one. A disk that fails while weir runs may come back with
// the file as it was.
func (f *ledgerFile) replace(damage error) error {
	if err := boltfile.Readable(f.path); f.opened && err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read ledger: %w", err)
	}
	if err := f.setAside(damage); err != nil {
		return err
	}
	return f.openVerified(false)
}

// openVerified opens the file and reads what matters, or all of it.
func (f *ledgerFile) openVerified(all bool) error {
	first := makeBuckets
	if f.opened {
		first = func(*bbolt.Tx) error { return fmt.Errorf("%w: its file was removed", ErrCorrupt) } // and is not begun anew in silence
	}
	file, err := boltfile.OpenFile(f.path, first)
	if err != nil {
		return named(err)
	}
	err = guard(func() error { return file.DB.View(func(tx *bbolt.Tx) error { return f.verify(tx, all) }) })
	if err != nil {
		return errors.Join(fmt.Errorf("verify: %w", err), file.Release())
	}
	f.open.Store(file)
	return nil
}

// close ends the use of the file.
func (f *ledgerFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if file := f.open.Swap(nil); file != nil {
		return file.Release()
	}
	return nil
}

// guard runs what reads or writes a file that may be corrupt.
func guard(do func() error) error { return named(boltfile.Guard(do)) }

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
