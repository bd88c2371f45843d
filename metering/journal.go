package metering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	// foldEvery is how often what is in the journal goes to the ledger: many commits of a license are one change there.
	foldEvery = time.Second
	// maxJournal bounds what waits in the journal, in bytes: beyond it a commit waits for the ledger.
	maxJournal = 64 << 20
	// keepBytes bounds the memory that is kept from one commit to the next.
	keepBytes = 4 << 20
	// maxBooks bounds the books in memory between two folds, of about 1 KiB each.
	maxBooks = 32_768
)

// Journal is a ledger on a local file, whose commits go to a journal beside it: appended and
// durable after one fdatasync. About once a second it is folded into the ledger and begun anew.
//
// Every method shows what is committed. Those whose answer the journal could change fold it
// first; the others are the ledger's own.
//
// A fold is one transaction for one file of the journal, and each book knows the last commit of
// each writer that it holds: a crash at any moment, or a repeated fold, counts nothing twice.
//
// A file of which a write or an fdatasync failed is never written again: what of it was
// acknowledged is durable, the next file says up to where, and the commit goes there (BILLING B20).
type Journal struct {
	*Bolt
	path     string // of the files, without their numbers
	create   func(path string) (journalFile, error)
	setAside bool  // a file that is damaged, to go on without it
	bound    int64 // of what waits: maxJournal

	folding sync.Mutex // one fold at a time; taken before mu
	failure atomic.Pointer[error]
	wake    chan struct{} // holds one token when a fold should not wait

	mu      sync.Mutex // of what follows; held while a commit is written
	closed  bool
	number  uint64               // of the last file
	active  *segment             // nil: the next commit begins one
	sealed  []*segment           // oldest first: they wait for their fold
	left    []limit              // files that could not be removed
	books   map[bookID]*standing // as they stand with all that is committed; any may be missing
	open    time.Time            // the first hour that is open, as of the last look
	writing writing

	commits prometheus.Histogram
}

var _ Ledger = (*Journal)(nil)

// writing is the commit that is being written.
type writing struct {
	places  []*standing // of all its deltas, by index
	fresh   []*Delta    // those that their book does not hold yet
	of      []*standing // of these, by index
	changes []*change   // of these, in the segment that is written
	totals  []Total     // of all its deltas, by index: the caller's until the next commit
	body    []byte
	frames  []byte
}

// reset forgets the commit; what it took of memory serves the next one.
func (w *writing) reset() {
	w.places, w.fresh, w.of, w.changes = again(w.places), again(w.fresh), again(w.of), again(w.changes)
	if cap(w.totals) > keepElements {
		w.totals = nil
	}
	if cap(w.body) > keepBytes {
		w.body, w.frames = nil, nil
	}
}

// standing is a book as it stands with everything in the journal.
type standing struct {
	*book
	change *change // what of it is in a segment
	in     *segment
}

// OpenJournal opens the ledger in the file at path with its journal beside it, makes what is not there, and takes over
// what a crash has left in the journal. ErrInUse tells of another process that holds the file, ErrCorrupt that it
// is torn, or the journal is where it was acknowledged; both are then left as they are.
func OpenJournal(path string, cfg Config, place Place, now func() time.Time, log *slog.Logger, reg prometheus.Registerer) (*Journal, error) {
	return newJournal(newBolt(path, cfg, place, now, log, false), false, reg)
}

// OpenJournalOrSetAside opens the ledger as OpenJournal does, and sets a file that is torn aside, now and at any later
// time, to go on with a new one; a file of the journal once what is whole in it is counted (BILLING B20).
func OpenJournalOrSetAside(path string, cfg Config, place Place, now func() time.Time, log *slog.Logger, reg prometheus.Registerer) (*Journal, error) {
	return newJournal(newBolt(path, cfg, place, now, log, true), true, reg)
}

func newJournal(b *Bolt, setAside bool, reg prometheus.Registerer) (*Journal, error) {
	j := &Journal{
		Bolt: b, path: b.file.path + ".journal", create: createOSFile, setAside: setAside, bound: maxJournal,
		wake: make(chan struct{}, 1), books: map[bookID]*standing{},
	}
	register := promauto.With(reg)
	j.commits = register.NewHistogram(prometheus.HistogramOpts{
		Name: "weir_ledger_commit_seconds", Help: "Time that a commit took until it was durable in the journal.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	})
	register.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_ledger_journal_bytes", Help: "What of the journal waits to be taken over into the ledger.",
	}, func() float64 { return float64(j.waiting()) })
	if _, err := b.start(reg, j.catchUp); err != nil {
		return nil, err
	}
	return j, nil
}

// Run folds the journal into the ledger until ctx ends. What is left then is Close's, or the next start's.
func (j *Journal) Run(ctx context.Context) error {
	ticks := time.NewTicker(foldEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		case <-j.wake:
		}
		_ = j.Fold(ctx) // it is said there, and Expire returns it
	}
}

// Commit makes the deltas durable in the journal. While that can't be folded nothing more goes in: what
// callers are told is what the ledger can do (BILLING B20).
func (j *Journal) Commit(ctx context.Context, writer string, seq uint64, deltas []Delta) ([]Total, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if j.trouble() != nil || j.waiting() > j.bound {
		if err := j.Fold(ctx); err != nil {
			return nil, fmt.Errorf("commit %d counts: %w", len(deltas), err)
		}
	}
	began := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	totals, err := j.commit(writer, seq, deltas)
	if err != nil {
		return nil, fmt.Errorf("commit %d counts: %w", len(deltas), err)
	}
	j.commits.Observe(time.Since(began).Seconds())
	return totals, nil
}

// commit writes what no book holds yet, and then shows it. The caller holds mu.
func (j *Journal) commit(writer string, seq uint64, deltas []Delta) ([]Total, error) {
	if j.closed {
		return nil, errors.New("ledger is closed")
	}
	w := &j.writing
	defer w.reset()
	if err := j.stand(deltas); err != nil {
		return nil, err
	}
	for i, k := range w.places {
		if seq > k.Writers.of(writer) {
			w.fresh, w.of = append(w.fresh, &deltas[i]), append(w.of, k)
		}
	}
	if len(w.fresh) > 0 {
		if err := j.append(writer, seq); err != nil {
			return nil, err
		}
		j.show(writer, seq)
	}
	w.totals = slices.Grow(w.totals[:0], len(deltas))[:len(deltas)]
	for i, k := range w.places {
		k.tell(&w.totals[i], writer)
	}
	return w.totals, nil
}

// show takes the fresh deltas over into books and changes.
func (j *Journal) show(writer string, seq uint64) {
	w := &j.writing
	for i, d := range w.fresh {
		w.of[i].apply(d, j.open)
		j.active.add(w.changes[i], writer, seq, d)
	}
	for _, k := range w.of {
		k.Pending.tidy()
		k.Writers.set(writer, seq)
	}
}

// stand has the books of deltas in memory: as the ledger has them, with what of the journal that lacks.
func (j *Journal) stand(deltas []Delta) error {
	var missing []bookID
	var keys []string
	for i := range deltas {
		id := deltas[i].book()
		k := j.books[id]
		if k == nil {
			k = &standing{}
			j.books[id] = k
			missing, keys = append(missing, id), append(keys, string(bookKey(id.license, id.feature)))
		}
		j.writing.places = append(j.writing.places, k)
	}
	if len(missing) == 0 {
		return nil
	}
	books, open, err := j.standing(keys)
	if err != nil {
		for _, id := range missing {
			delete(j.books, id)
		}
		return err
	}
	j.open = open
	for i, id := range missing {
		k := books[i]
		if k == nil {
			k = newBook(id)
		}
		for _, s := range j.unfolded() {
			if c := s.changes[id]; c != nil && !c.in(k) {
				c.apply(k, open)
			}
		}
		j.books[id].book = k
	}
	return nil
}

// unfolded are the segments that wait, oldest first. The caller holds mu.
func (j *Journal) unfolded() []*segment {
	if j.active == nil {
		return j.sealed
	}
	return append(j.sealed[:len(j.sealed):len(j.sealed)], j.active)
}

// append makes the fresh deltas durable, in a new file where the active one fails.
func (j *Journal) append(writer string, seq uint64) (err error) {
	for range 2 {
		if j.active == nil {
			if err = j.begin(); err != nil {
				continue
			}
		}
		if err = j.write(j.active, writer, seq); err == nil {
			return nil
		}
		j.log.Warn("a file of the journal could not be written, and is written no more", "file", j.name(j.active.number), "error", err)
		j.seal()
		select {
		case j.wake <- struct{}{}: // what was durable may be so no more
		default:
		}
	}
	return fmt.Errorf("write journal: %w", err)
}

// begin makes the next file.
func (j *Journal) begin() error {
	j.number++
	file, err := j.create(j.name(j.number))
	if err != nil {
		return err
	}
	j.active = newSegment(j.number)
	j.active.file = file
	return nil
}

// write appends the commit of the fresh deltas to a segment's file. After an error nobody knows what is there.
func (j *Journal) write(s *segment, writer string, seq uint64) error {
	if err := s.file.Whole(s.size); err != nil {
		return err
	}
	w := &j.writing
	w.changes = w.changes[:0]
	for i, k := range w.of {
		if k.in != s {
			k.in, k.change = s, s.change(w.fresh[i].book())
		}
		w.changes = append(w.changes, k.change)
	}
	w.frames = w.frames[:0]
	if s.size == 0 {
		first, limits := &coder{}, j.limits()
		opening(first, &limits)
		w.frames = frame(w.frames, s.number, 0, first.buf)
	}
	w.body = s.encode(w.body[:0], writer, seq, w.fresh, w.changes)
	w.frames = frame(w.frames, s.number, s.size+int64(len(w.frames)), w.body)
	if _, err := s.file.Write(w.frames); err != nil {
		return err
	}
	if err := s.file.Datasync(); err != nil {
		return err
	}
	s.size += int64(len(w.frames))
	return nil
}

// limits are those of all earlier files that may be there.
func (j *Journal) limits() []limit {
	limits := j.left
	for _, s := range j.sealed {
		limits = append(limits[:len(limits):len(limits)], limit{s.number, uint64(s.size)})
	}
	return limits
}

// seal ends the active segment. The caller holds mu.
func (j *Journal) seal() {
	s := j.active
	if s == nil {
		return
	}
	j.active = nil
	if err := s.file.Close(); err != nil {
		j.log.Debug("a file of the journal could not be closed in order", "error", err) // what counts of it is durable
	}
	s.file = nil
	j.sealed = append(j.sealed, s)
}

// name is that of a segment's file.
func (j *Journal) name(number uint64) string { return fmt.Sprintf("%s-%016d", j.path, number) }

// waiting is how much is not folded, in bytes.
func (j *Journal) waiting() (size int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.unfolded() {
		size += s.size
	}
	return size
}

// Close folds what it can and releases the files. What can't be folded is in the journal at the next start.
func (j *Journal) Close() error {
	err := j.Fold(context.Background())
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	if err != nil {
		j.log.Warn("the last counts stay in the journal until the next start", "directory", filepath.Dir(j.path), "error", err)
	}
	j.seal()
	return j.Bolt.Close()
}

// remove removes a segment's file, once all of it is in the ledger. One that can't be
// removed is no harm: it holds nothing new.
func (j *Journal) remove(s *segment) {
	if err := os.Remove(j.name(s.number)); err != nil && !errors.Is(err, os.ErrNotExist) {
		j.left = append(j.left, limit{s.number, uint64(s.size)})
		j.log.Warn("a file of the journal could not be removed", "error", err)
	}
}
