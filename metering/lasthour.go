package metering

import (
	"context"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// lastWait is how long the open hours of a license that has ended, or whose date has
// passed, wait for its checks in flight, in AWS time and in local time (BILLING B15).
const lastWait = 5 * time.Minute

// lastHour is a license whose open hours have to be frozen out of their turn, once its
// checks in flight are over (BILLING B15).
type lastHour struct {
	record *record
	date   time.Time // the license's date that has passed; zero: it has ended
	until  time.Time // AWS time at which the waiting ends
	local  time.Time // local time at which it ends
}

// over tells whether nothing is waited for any longer.
func (h *lastHour) over(now time.Time) bool {
	return !now.Before(h.until) || !time.Now().Before(h.local)
}

// moot tells whether the license goes on after all.
func (h *lastHour) moot(l *policy.License) bool {
	if h.date.IsZero() {
		return l.Ended.IsZero()
	}
	return !l.Ended.IsZero() || !l.LastExpiry().Equal(h.date)
}

// freezeSoon puts a license on the list of last hours; m.mu is held.
func (m *Meter) freezeSoon(r *record, date time.Time) {
	if slices.ContainsFunc(m.last, func(h lastHour) bool { return h.record == r && h.date.Equal(date) }) {
		return
	}
	m.last = append(m.last, lastHour{record: r, date: date, until: m.now().Add(lastWait), local: time.Now().Add(lastWait)})
	m.wakeUp()
}

// lookAtDates looks which licenses' dates have passed since the last look. The hours before
// closed are frozen already.
func (m *Meter) lookAtDates(now, closed time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nextDate.IsZero() || now.Before(m.nextDate) {
		return
	}
	m.nextDate = time.Time{}
	for _, r := range m.records {
		l := r.license.Load()
		date := l.LastExpiry()
		switch {
		case date.IsZero() || !l.Ended.IsZero():
		case now.Before(date):
			m.expect(date)
		case !hourOf(date).Before(closed) && !r.closed.After(date) && r.used():
			m.freezeSoon(r, date)
		}
	}
}

// expect has lookAtDates look at a date; m.mu is held.
func (m *Meter) expect(date time.Time) {
	if !date.IsZero() && (m.nextDate.IsZero() || date.Before(m.nextDate)) {
		m.nextDate = date
	}
}

// giveUp ends the checks that licenses waited for long enough before their last hour is frozen.
func (m *Meter) giveUp(now time.Time) {
	for _, h := range m.lastHours() {
		if !h.over(now) {
			continue
		}
		var n int64
		for _, y := range h.record.all() {
			n += m.settleTally(y, func(c *wait) bool {
				return h.date.IsZero() || minuteTime(c.minute).Before(h.date)
			}, now)
		}
		if n > 0 {
			m.log.Warn("no access log entry came of the last checks of a license", "license", h.record.key, "checks", n)
		}
	}
}

func (m *Meter) lastHours() []lastHour {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.last)
}

// commitLast has the ledger freeze the last hours of the licenses of which no check is in
// flight, while AWS still takes them: for one hour. The caller has the token, and
// everything counted is committed.
func (m *Meter) commitLast(ctx context.Context) error {
	for _, h := range m.lastHours() {
		l := h.record.license.Load()
		if h.moot(l) {
			m.done(h, nil)
			continue
		}
		if h.record.goesOn(h.date) {
			continue
		}
		now := m.now()
		if h.record.used() {
			if err := m.ledger.FreezeLicense(ctx, now, l.Key, l.Ended); err != nil {
				return err
			}
		}
		m.done(h, func(r *record) {
			r.closed = hourOf(now).Add(time.Hour)
			r.ends = l.Ended
		})
	}
	return nil
}

// done takes a license off the list of last hours and remembers what the ledger knows of it now.
func (m *Meter) done(h lastHour, remember func(*record)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = slices.DeleteFunc(m.last, func(o lastHour) bool { return o.record == h.record && o.date.Equal(h.date) })
	if remember != nil {
		remember(h.record)
	}
}

// all are the tallies of a license.
func (r *record) all() []*tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*tally, 0, len(r.tallies))
	for _, y := range r.tallies {
		all = append(all, y)
	}
	return all
}

// goesOn tells whether checks of the license are in flight that were let through before an instant, zero being
// any, or have ended and are not committed yet: these the next commit takes.
func (r *record) goesOn(before time.Time) bool {
	for _, y := range r.all() {
		y.mu.Lock()
		on := y.queued || y.waits.inFlight(before) > 0
		y.mu.Unlock()
		if on {
			return true
		}
	}
	return false
}
