package metering

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// OpenBolt opens a ledger as OpenJournal does, without a journal: the tests hold it to the contract by itself too.
func OpenBolt(path string, cfg Config, place Place, now func() time.Time, log *slog.Logger, reg prometheus.Registerer) (*Bolt, error) {
	return newBolt(path, cfg, place, now, log, false).start(reg, nil)
}

// OpenBoltOrSetAside opens one as OpenJournalOrSetAside does.
func OpenBoltOrSetAside(path string, cfg Config, place Place, now func() time.Time, log *slog.Logger, reg prometheus.Registerer) (*Bolt, error) {
	return newBolt(path, cfg, place, now, log, true).start(reg, nil)
}

// Tick does what Run does every second.
func (m *Meter) Tick(ctx context.Context) error { return m.close(ctx) }

// JournalFile is what a journal writes to.
type JournalFile = journalFile

// CreateJournalFile makes one on disk.
func CreateJournalFile(path string) (JournalFile, error) { return createOSFile(path) }

// Creating has a journal make its files in another way.
func (j *Journal) Creating(create func(path string) (JournalFile, error)) *Journal {
	j.create = create
	return j
}

// Crash ends a journal as the end of its process does.
func (j *Journal) Crash() error {
	j.folding.Lock()
	defer j.folding.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed, j.sealed, j.active = true, nil, nil
	return j.Bolt.Close()
}

// JournalFrame is the content of a journal's file of one frame.
func JournalFrame(number uint64, body []byte) []byte { return frame(nil, number, 0, body) }

// Bounded has a journal hold so many bytes at most, and what a commit brings.
func (j *Journal) Bounded(bytes int64) *Journal {
	j.bound = bytes
	return j
}

// Waiting is how many bytes are not folded.
func (j *Journal) Waiting() int64 { return j.waiting() }
