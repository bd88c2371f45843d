package metering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/policy"
)

const (
	// commitEvery is how far apart commits begin: half of the 50 ms that a count may wait (BILLING B07)
	// is left to the write itself. After a pause the first count is written at once.
	commitEvery = 25 * time.Millisecond
	// tick is how often the meter looks whether an hour has ended, in AWS time.
	tick = time.Second
	// The waits between attempts to write a ledger that can't be written.
	minRewrite = 100 * time.Millisecond
	maxRewrite = 5 * time.Second
	// stopTimeout is how long the last commit may take.
	stopTimeout = 10 * time.Second
)

// commit is what one Ledger.Commit is given. Until that has succeeded it is neither
// changed nor overtaken, so that one whose outcome is not known never counts twice.
type commit struct {
	seq    uint64
	deltas []Delta
}

// keepElements bounds the memory that one list keeps for its next use: about 4 MiB of deltas.
const keepElements = 8192

// again empties a list; what it took of memory serves the next use, unless a burst has made that large.
func again[T any](list []T) []T { return emptied(list, keepElements) }

// emptied is a list without its elements, and without its memory where that holds more than so many.
func emptied[T any](list []T, most int) []T {
	if cap(list) > most {
		return nil
	}
	clear(list)
	return list[:0]
}

// Run commits what is counted within 50 ms and freezes hours that have ended, until
// ctx ends; then it commits what is left. Its error is of that last commit.
func (m *Meter) Run(ctx context.Context) error {
	var both errgroup.Group
	both.Go(func() error { return m.runCommits(ctx) })
	both.Go(func() error { m.runClosing(ctx); return nil })
	return both.Wait()
}

func (m *Meter) runCommits(ctx context.Context) error {
	var again retry
	var began time.Time // the last commit
	for {
		wake := m.wake
		if again.at != nil {
			wake = nil // nothing but the retry goes to a ledger that can't be written
		}
		select {
		case <-ctx.Done():
			return m.stop(ctx)
		case <-wake:
			m.wait(ctx, time.Until(began.Add(commitEvery)))
			began = time.Now()
			again.plan(m.Flush(ctx))
		case <-again.at:
			again.plan(m.Flush(ctx))
		}
	}
}

// runClosing is apart from the commits, which an hour with many licenses must not hold up.
func (m *Meter) runClosing(ctx context.Context) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		err := m.close(ctx)
		if ctx.Err() != nil {
			return
		}
		m.closing.note(m.log, err)
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// health is how the last attempt to write the ledger went.
type health struct{ failure atomic.Pointer[error] }

func (h *health) err() error {
	if err := h.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// note remembers how an attempt went, and says when that changes.
func (h *health) note(log *slog.Logger, err error) {
	if before := h.err(); err != nil && before == nil {
		log.Error("ledger can't be written, counts are kept in memory", "error", err)
	} else if err == nil && before != nil {
		log.Info("ledger can be written again")
	}
	h.failure.Store(&err)
}

// retry waits longer after each failure.
type retry struct {
	at   <-chan time.Time // nil: nothing failed
	wait time.Duration
}

// plan sets the next attempt after one that ended with err.
func (r *retry) plan(err error) {
	if err == nil {
		*r = retry{}
		return
	}
	r.wait = min(max(2*r.wait, minRewrite), maxRewrite)
	r.at = time.After(r.wait)
}

// stop commits what is left when Run ends, and waits a while for a disk that is in trouble.
func (m *Meter) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	for again := new(retry); ; {
		err := m.Flush(ctx)
		if err == nil {
			return nil
		}
		again.plan(err)
		select {
		case <-again.at:
		case <-ctx.Done():
			return fmt.Errorf("commit the last counts: %w", err)
		}
	}
}

// wait waits, less when ctx ends.
func (m *Meter) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Flush commits everything that was counted before it was called.
func (m *Meter) Flush(ctx context.Context) error {
	select {
	case <-m.committing:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { m.committing <- struct{}{} }()
	err := m.commit(ctx)
	if err != nil && ctx.Err() != nil {
		return err // of the caller, not of the ledger
	}
	m.commits.note(m.log, err)
	return err
}

// close ends what waited too long, freezes the hours that have ended, once what was counted in
// them is committed, removes what is old, and ends the records whose deadline has passed.
func (m *Meter) close(ctx context.Context) error {
	now := m.now()
	m.settle(now)
	if err := m.attend(ctx, now); err != nil {
		return err
	}
	if closed := hourOf(now.Add(-m.cfg.CloseAfter)); closed.After(m.closed) {
		if err := m.Flush(ctx); err != nil {
			return err
		}
		if err := m.ledger.Freeze(ctx, now, nil); err != nil {
			return err
		}
		if err := m.freezeZeros(ctx, now, closed); err != nil {
			return err
		}
		m.closed = closed
		if err := errors.Join(m.ledger.Prune(ctx, now), m.forget(ctx, now)); err != nil {
			return err
		}
	}
	m.lookAtDates(now, m.closed)
	if len(m.lastHours()) > 0 {
		m.wakeUp() // one may have waited long enough
	}
	ended, err := m.ledger.Expire(ctx, now)
	m.tellEnded(ended)
	return errors.Join(err, m.ledger.Forget(ctx, now))
}

// tellEnded says of each row with units that AWS did not bill what became of it, and of records of 0
// how many they are.
func (m *Meter) tellEnded(ended []Row) {
	zeros := 0
	for i := range ended {
		if ended[i].Units == 0 {
			zeros++
			continue
		}
		m.tell(&ended[i])
	}
	if zeros > 0 {
		m.log.Warn("records of 0 reached their deadline unsent", "records", zeros)
	}
}

// tell says of a row that AWS did not bill what became of it.
func (m *Meter) tell(r *Row) {
	log := m.log.With("record", r.ID, "product", r.Product, "license", r.License, "dimension", r.Dimension,
		"hour", r.Hour, "units", r.Units, "error", r.Error)
	if r.State == Rebooked {
		log.Warn("usage record reached its deadline unsent, its units go to the present hour")
		return
	}
	log.Error("usage record expired, AWS will not bill these units")
}

// commit commits what is new, and then has last hours frozen. The caller has the token.
func (m *Meter) commit(ctx context.Context) error {
	m.giveUp(m.now())
	if err := m.write(ctx); err != nil { // one that failed before
		return err
	}
	for m.drain() {
		if err := m.write(ctx); err != nil {
			return err
		}
		if len(m.lastHours()) == 0 {
			return nil // what is counted meanwhile is the next commit's
		}
	}
	return m.commitLast(ctx)
}

// drain makes the next batch of everything that is new, and tells whether that is anything. The
// batch before has to be written.
func (m *Meter) drain() bool {
	empty := again(m.draining)
	m.dirty.Lock()
	m.draining, m.dirty.tallies = m.dirty.tallies, empty
	m.dirty.Unlock()
	d := &m.drained
	for _, y := range m.draining {
		y.drain(d)
		l := y.record.license.Load()
		if d.shadow > 0 {
			m.metrics.shadow.WithLabelValues(productLabel(l.Product), y.feature).Add(float64(d.shadow))
		}
		for i := range d.counts {
			m.metrics.counted(l, d.counts[i].terms.Dimension, d.counts[i].quantity)
		}
		m.batch.add(l, y.feature, m.epoch, d)
	}
	if len(m.batch.deltas) == 0 {
		return false
	}
	m.batch.seq++
	return true
}

// add adds what one tally hands over.
func (c *commit) add(l *policy.License, feature string, epoch uint64, d *drained) {
	base := deltaOf(l, feature)
	for i := range d.moves {
		move, next := &d.moves[i], c.next(&base)
		next.Kind, next.Minute, next.Terms = move.kind, minuteTime(move.from.minute), move.terms.Terms
		next.Count, next.Quantity, next.Held, next.Tokens = move.count, move.units, move.held, move.tokens
		switch move.kind {
		case Issued:
			next.Epoch, next.Turn = epoch, d.turn
		case Moved:
			next.To = minuteTime(move.to)
		}
	}
	for i := range d.counts {
		cell, next := &d.counts[i], c.next(&base)
		next.Hour, next.First, next.Quantity, next.Terms = cell.hour, cell.first, cell.quantity, cell.terms.Terms
	}
}

// deltaOf is what every delta says of a license and feature.
func deltaOf(l *policy.License, feature string) Delta {
	return Delta{
		License: l.Key, Account: l.Account, Customer: l.Customer, Product: l.Product, Feature: feature,
		Starts: l.Starts, Ends: l.Ended,
	}
}

// next appends a delta that begins as base does; the pointer is good until the next call.
func (c *commit) next(base *Delta) *Delta {
	c.deltas = append(c.deltas, *base)
	return &c.deltas[len(c.deltas)-1]
}
