package metering

import (
	"context"
	"errors"
	"time"

	"github.com/weirhq/weir/internal/boltfile"
	"github.com/weirhq/weir/policy"
)

// Fold takes everything that is committed over into the ledger.
func (j *Journal) Fold(ctx context.Context) error {
	j.folding.Lock()
	defer j.folding.Unlock()
	err := j.foldSealed(ctx) // first what an earlier fold has left
	if err == nil {
		j.mu.Lock()
		if j.active != nil {
			j.seal()
		}
		j.mu.Unlock()
		err = j.foldSealed(ctx)
	}
	if err == nil || ctx.Err() == nil {
		j.note(err)
	}
	return err
}

// note remembers how a fold went, and says when that changes.
func (j *Journal) note(err error) {
	before := j.trouble()
	if err != nil && before == nil {
		j.log.Error("the ledger can't be written, counts are kept in its journal", "error", err)
	} else if err == nil && before != nil {
		j.log.Info("the ledger has taken over its journal's counts again")
	}
	j.failure.Store(&err)
}

// trouble is how the last fold went.
func (j *Journal) trouble() error {
	if err := j.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (j *Journal) foldSealed(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		j.mu.Lock()
		if len(j.sealed) == 0 {
			j.mu.Unlock()
			return nil
		}
		s := j.sealed[0]
		j.mu.Unlock()
		if changes := s.list(); len(changes) > 0 {
			if err := j.fold(changes); err != nil {
				return err
			}
		}
		j.folded(s)
	}
}

// folded forgets a segment that is in the ledger.
func (j *Journal) folded(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sealed = j.sealed[1:]
	if len(j.books) > maxBooks {
		clear(j.books)
	}
	if s.damage == nil {
		j.remove(s)
		return
	}
	aside, err := boltfile.MoveAside(j.name(s.number), j.path, time.Now())
	if err != nil {
		j.log.Error("a damaged file of the journal could not be set aside", "file", j.name(s.number), "error", errors.Join(s.damage, err))
		j.left = append(j.left, limit{s.number, uint64(s.size)})
		return
	}
	j.log.Error("a file of the journal is damaged and was set aside: what is whole in it is counted, the rest is lost",
		"file", aside, "error", s.damage, "hint", "your application's own logs may tell what was used in the second before weir ended")
}

// Damaged lists the files of the journal that were set aside and are still there.
func (j *Journal) Damaged() []string {
	names, err := boltfile.Asides(j.path)
	if err != nil {
		return nil // of the directory, which the file's own trouble tells of
	}
	return names
}

// forgetBooks has books read anew that the ledger has changed by itself: those of a license, or all.
func (j *Journal) forgetBooks(license policy.Key) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if license == "" {
		clear(j.books)
		return
	}
	for id := range j.books {
		if id.license == license {
			delete(j.books, id)
		}
	}
}

// Freeze freezes what was committed before.
func (j *Journal) Freeze(ctx context.Context, now time.Time, zero []ZeroKey) error {
	if err := j.Fold(ctx); err != nil {
		return err
	}
	defer j.forgetBooks("")
	return j.Bolt.Freeze(ctx, now, zero)
}

// FreezeLicense freezes what was committed before for one license.
func (j *Journal) FreezeLicense(ctx context.Context, now time.Time, license policy.Key, ends time.Time) error {
	if err := j.Fold(ctx); err != nil {
		return err
	}
	defer j.forgetBooks(license)
	return j.Bolt.FreezeLicense(ctx, now, license, ends)
}

// Expire ends rows; while the journal can't be folded it says why.
func (j *Journal) Expire(ctx context.Context, now time.Time) ([]Row, error) {
	if j.trouble() != nil {
		if err := j.Fold(ctx); err != nil {
			return nil, err
		}
	}
	ended, err := j.Bolt.Expire(ctx, now)
	if len(ended) > 0 {
		j.forgetBooks("") // units went back to some
	}
	return ended, err
}

// Rebook gives a row's units to its license's open hour.
func (j *Journal) Rebook(ctx context.Context, now time.Time, id string) (Row, error) {
	if err := j.Fold(ctx); err != nil {
		return Row{}, err
	}
	defer j.forgetBooks("")
	return j.Bolt.Rebook(ctx, now, id)
}

// Prune removes old rows, of which the books keep the sums.
func (j *Journal) Prune(ctx context.Context, now time.Time) error {
	defer j.forgetBooks("")
	return j.Bolt.Prune(ctx, now)
}

// Recall looks usage events up: in the journal first, for the ledger has them before they leave that.
func (j *Journal) Recall(ctx context.Context, now time.Time, ids []EventID) (Memory, error) {
	known, held, oldest := j.recall(ids)
	m, err := j.Bolt.Recall(ctx, now, ids)
	if err != nil {
		return m, err
	}
	for i := range known {
		m.Known[i] = m.Known[i] || known[i]
	}
	m.Held += held
	if m.Oldest.IsZero() || !oldest.IsZero() && oldest.Before(m.Oldest) {
		m.Oldest = oldest
	}
	return m, nil
}

func (j *Journal) recall(ids []EventID) (known []bool, held int64, oldest time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	known = make([]bool, len(ids))
	for _, s := range j.unfolded() {
		if len(s.events) == 0 {
			continue
		}
		for i := range ids {
			if _, found := s.events[ids[i]]; found {
				known[i] = true
			}
		}
		held += int64(len(s.events))
		if oldest.IsZero() || s.oldest.Before(oldest) {
			oldest = s.oldest
		}
	}
	return known, held, oldest
}

// Tokens reads which tokens are used.
func (j *Journal) Tokens(ctx context.Context) ([]TokenBlock, time.Time, error) {
	if err := j.Fold(ctx); err != nil {
		return nil, time.Time{}, err
	}
	return j.Bolt.Tokens(ctx)
}

// Totals reads the totals of every license and feature.
func (j *Journal) Totals(ctx context.Context, writer string) ([]Total, error) {
	if err := j.Fold(ctx); err != nil {
		return nil, err
	}
	return j.Bolt.Totals(ctx, writer)
}

// Rows lists rows.
func (j *Journal) Rows(ctx context.Context, f Filter) (rows []Row, next string, err error) {
	if err := j.Fold(ctx); err != nil {
		return nil, "", err
	}
	return j.Bolt.Rows(ctx, f)
}

// States counts the rows in each state.
func (j *Journal) States(ctx context.Context) (map[State]int64, error) {
	if err := j.Fold(ctx); err != nil {
		return nil, err
	}
	return j.Bolt.States(ctx)
}
