package metering_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

func TestB07CountsAreOnDiskWithin50msAndNothingIsWrittenWithoutCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := &trouble{Ledger: bolt(t)}, new(clock).at(ledgertest.Hour())
		m := newMeter(t, l, c)
		stop := run(t, m)
		counter := m.Counter(license(ledgertest.License))
		for i := range 4 {
			counter.Take(one("", c.now(), monthly(0, policy.ThenBill)))
			time.Sleep(50 * time.Millisecond)
			if got := total(t, l).Counted; got != int64(i+1) {
				t.Errorf("%d on disk, want %d", got, i+1)
			}
		}
		time.Sleep(time.Minute)
		if got := l.commits.Load(); got != 4 {
			t.Errorf("%d commits, want 4", got)
		}
		counter.Take(one("", c.now(), monthly(0, policy.ThenBill)))
		must(t, stop())
		if got := total(t, l).Counted; got != 5 {
			t.Errorf("%d on disk after the end, want 5", got)
		}
	})
}

func TestB07CommitsAreFewHoweverMuchIsCountedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := &trouble{Ledger: bolt(t), takes: 2 * time.Millisecond}, new(clock).at(ledgertest.Hour())
		m := newMeter(t, l, c)
		stop := run(t, m)
		counter := m.Counter(license(ledgertest.License))
		for i := range 1000 {
			counter.Take(one("", c.now(), monthly(0, policy.ThenBill)))
			time.Sleep(time.Millisecond)
			if got := total(t, l).Counted; got < int64(i-50) {
				t.Fatalf("%d on disk 50 ms after %d were counted", got, i-50)
			}
		}
		if got := l.commits.Load(); got > 45 {
			t.Errorf("%d commits in a second, want one each 25 ms at most", got)
		}
		must(t, stop())
	})
}

func TestB20FailingWritesKeepEveryCountAndSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := &trouble{Ledger: bolt(t)}, new(clock).at(ledgertest.Hour())
		m := newMeter(t, l, c)
		stop := run(t, m)
		counter := m.Counter(license(ledgertest.License))
		full := errors.New("no space left on device")
		l.before.Store(&full)
		for range 7200 { // over the end of the hour, the month and the year
			counter.Take(one("", c.now(), monthly(5000, policy.ThenBill)))
			time.Sleep(time.Second)
		}
		if err := m.Writable(); !errors.Is(err, full) {
			t.Errorf("writable: got %v", err)
		}
		if got := total(t, l).Counted; got != 0 {
			t.Errorf("%d on disk", got)
		}
		l.before.Store(nil)
		time.Sleep(10 * time.Second)
		must(t, m.Writable())
		got := total(t, l)
		if got.Counted != 7200 || got.Included != 7200 || got.Periods[policy.Month].Used != 3600 {
			t.Errorf("got %+v, want 7200 counted, 3600 of them in the new month", got)
		}
		must(t, stop())
	})
}

func TestB07ACommitWithoutAnAnswerIsNotCountedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := &trouble{Ledger: bolt(t)}, new(clock).at(ledgertest.Hour())
		m := newMeter(t, l, c)
		stop := run(t, m)
		counter := m.Counter(license(ledgertest.License))
		lost := errors.New("connection lost")
		l.after.Store(&lost)
		for range 100 {
			counter.Take(one("", c.now(), monthly(0, policy.ThenBill)))
			time.Sleep(20 * time.Millisecond)
		}
		l.after.Store(nil)
		must(t, stop())
		if got := total(t, l).Counted; got != 100 {
			t.Errorf("%d counted, want 100", got)
		}
	})
}

func TestB11HoursAreFrozenInAWSTimeOnceTheyAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := bolt(t), new(clock).at(ledgertest.Hour())
		m := newMeter(t, l, c)
		stop := run(t, m)
		counter := m.Counter(license(ledgertest.License))
		counter.Take(one("", c.now(), monthly(0, policy.ThenBill)))
		c.move(64 * time.Minute)
		time.Sleep(2 * time.Second)
		due := func() int {
			records, err := l.Due(t.Context(), c.now(), 10)
			must(t, err)
			return len(records)
		}
		if got := due(); got != 0 {
			t.Errorf("%d records before the hour closes", got)
		}
		c.move(time.Minute)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := due(); got != 1 {
			t.Errorf("%d records within a second of the hour's closing, want 1", got)
		}
		must(t, stop())
	})
}

func TestB09AUnitBelongsToTheHourInWhichItIsCounted(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	counter := m.Counter(license(ledgertest.License))
	next := ledgertest.Hour().Add(time.Hour)
	for _, at := range []time.Time{next.Add(-time.Nanosecond), next, next.Add(time.Second)} {
		counter.Take(one("", at, monthly(0, policy.ThenBill)))
	}
	must(t, m.Flush(t.Context()))
	rows, err := ledgertest.AllRows(t.Context(), l)
	must(t, err)
	if len(rows) != 2 || rows[0].Units != 1 || rows[1].Units != 2 || !rows[1].Hour.Equal(next) {
		t.Errorf("got %+v, want 1 unit and then 2", rows)
	}
}

func TestB15AnEndThatACrashCutOffIsToldAgain(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour().Add(time.Minute))
	ended := license(ledgertest.License)
	ended.Ended = c.now()
	d := ledgertest.Delta(ledgertest.Hour(), 1, ledgertest.Bill(1))
	d.Ends = ended.Ended
	_, err := l.Commit(t.Context(), "local", 1, []metering.Delta{d}) // and no FreezeLicense after it
	must(t, err)
	m := newMeter(t, l, c)
	for range 2 {
		m.Counter(ended)
	}
	must(t, m.Flush(t.Context()))
	due, err := l.Due(t.Context(), c.now(), 10)
	must(t, err)
	if len(due) != 1 {
		t.Errorf("%d records are due, want 1", len(due))
	}
}

func TestB18AStepBackOpensNoFrozenHour(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour().Add(30*time.Minute))
	m := newMeter(t, l, c)
	counter := m.Counter(license(ledgertest.License))
	counter.Take(one("", c.now(), monthly(0, policy.ThenBill)))
	must(t, m.Flush(t.Context()))
	must(t, l.Freeze(t.Context(), ledgertest.Hour().Add(66*time.Minute), nil))
	counter.Take(one("", c.now(), monthly(0, policy.ThenBill)))
	must(t, m.Flush(t.Context()))
	rows, err := ledgertest.AllRows(t.Context(), l)
	must(t, err)
	if len(rows) != 2 || rows[0].State != metering.Frozen || rows[0].Units != 1 || !rows[1].Hour.Equal(ledgertest.Hour().Add(time.Hour)) {
		t.Errorf("got %+v", rows)
	}
}

func TestB15TheOpenHourOfALicenseThatEndedIsFrozenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := bolt(t), new(clock).at(ledgertest.Hour().Add(-2*time.Hour+10*time.Minute))
		m := newMeter(t, l, c)
		stop := run(t, m)
		m.Counter(license(ledgertest.License)).Take(one("", c.now(), monthly(0, policy.ThenBill)))
		ended := license(ledgertest.License)
		ended.Ended = c.now()
		m.Counter(ended)
		time.Sleep(time.Second)
		due, err := l.Due(t.Context(), c.now(), 10)
		must(t, err)
		if len(due) != 1 || !due[0].Deadline.Equal(ended.Ended.Add(time.Hour)) {
			t.Errorf("due: %+v, want one record until an hour after the end", due)
		}
		must(t, stop())
	})
}

func TestB18AStepBackOverTheHourCountsInTheHourThatIsStillOpen(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	counter := m.Counter(license(ledgertest.License))
	next := ledgertest.Hour().Add(time.Hour)
	for _, at := range []time.Time{next, next.Add(-time.Second)} {
		if b := counter.Take(one("", at, policy.Terms{Included: 5, Every: policy.Hour, Dimension: "calls", Per: 1})); !b.Start.Equal(next) {
			t.Errorf("at %s the period is the one from %s", at, b.Start)
		}
		counter.Take(one("", at, monthly(0, policy.ThenBill)))
	}
	must(t, m.Flush(t.Context()))
	rows, err := ledgertest.AllRows(t.Context(), l)
	must(t, err)
	if len(rows) != 2 || rows[0].Units != 1 || rows[1].Units != 1 || rows[0].Late {
		t.Errorf("got %+v, want 1 unit in each hour", rows)
	}
}
