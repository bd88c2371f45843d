package metering

import (
	"context"
	"slices"
	"time"
)

const (
	// patience is how long after the last sign of life a check waits for its entry, in AWS time (BILLING B04).
	patience = 15 * time.Minute
	// quiet is how long a minute is left alone after its last check, in local time: a clock
	// that jumps must not overtake the entries that Envoy is about to send.
	quiet = 5 * time.Second
	// localPatience ends a minute when AWS's time stands still or has gone back.
	localPatience = patience + time.Minute
	// rememberTokens is how long used tokens are remembered, in AWS time: longer than their minutes wait.
	rememberTokens = time.Hour
)

// settle ends the checks whose entry has not come in time, as metering.unconfirmed says.
func (m *Meter) settle(now time.Time) {
	local := m.window.now()
	over := func(c *wait) bool {
		idle := local - c.touched
		return idle >= localPatience ||
			idle >= quiet && !now.Before(minuteTime(c.minute+1).Add(patience))
	}
	var unconfirmed int64
	for _, y := range m.waitingTallies() {
		unconfirmed += m.settleTally(y, over, now)
	}
	if unconfirmed == 0 {
		return
	}
	log := m.log.With("checks", unconfirmed, "unconfirmed", m.cfg.Unconfirmed)
	if m.heard.Swap(false) {
		log.Warn("no access log entry came of some checks")
		return
	}
	log.Error("no access log entry came at all while checks flow: does Envoy send its access log to weir?")
}

// settleTally ends the cells of a tally that are over, and returns how many checks that were.
func (m *Meter) settleTally(y *tally, over func(*wait) bool, now time.Time) int64 {
	n, due := y.giveUp(over, m.cfg.Unconfirmed == UnconfirmedCount, now)
	if n > 0 {
		m.pending.Add(-n)
		m.metrics.resolved.WithLabelValues(howUnconfirmed).Add(float64(n))
	}
	m.changed(y, due)
	return n
}

// giveUp ends cells. What only the response could have told is not billed.
func (y *tally) giveUp(over func(*wait) bool, count bool, now time.Time) (checks int64, due due) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for i := 0; i < len(y.waits.cells); {
		if !over(&y.waits.cells[i]) {
			i++
			continue
		}
		c, waited := y.waits.settle(i)
		if !waited {
			continue
		}
		checks += c.count
		if count {
			y.countLate(c.units, c.terms, now)
		}
	}
	if checks > 0 {
		due = y.queue()
	}
	return checks, due
}

// waitingTallies are the tallies with checks in flight; those that have none any longer are left out from now on.
func (m *Meter) waitingTallies() []*tally {
	m.waiting.Lock()
	defer m.waiting.Unlock()
	m.waiting.tallies = slices.DeleteFunc(m.waiting.tallies, func(y *tally) bool {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.listed = len(y.waits.cells) > 0
		return !y.listed
	})
	return slices.Clone(m.waiting.tallies)
}

// forget forgets the tokens of minutes that are long over. Of what waits, all are remembered,
// and no check is let through in a minute of which some are forgotten.
func (m *Meter) forget(ctx context.Context, now time.Time) error {
	before := now.Add(-rememberTokens)
	for _, y := range m.waitingTallies() {
		y.mu.Lock()
		for i := range y.waits.cells {
			before = earliest(before, minuteTime(y.waits.cells[i].minute))
		}
		y.mu.Unlock()
	}
	m.floor.Store(max(m.floor.Load(), minuteOf(before)))
	m.used.forget(before)
	return m.ledger.ForgetTokens(ctx, before)
}
