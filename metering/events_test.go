package metering_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// event is a usage event of the suite's license, billed at once, with an id of its own.
func event(id string, quantity int64) metering.Event {
	return metering.Event{
		ID: metering.NewEventID("test", id), License: license(ledgertest.License), Feature: "apiCalls",
		Terms: monthly(0, policy.ThenBill), Quantity: quantity,
	}
}

// report reports events and wants so many of them accepted.
func report(t testing.TB, m *metering.Meter, accepted int, events ...metering.Event) {
	t.Helper()
	got, err := m.Report(t.Context(), events)
	must(t, err)
	if want := (metering.Reported{Accepted: accepted, Duplicates: len(events) - accepted}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// refused wants a batch refused, and says why.
func refused(t testing.TB, m *metering.Meter, events ...metering.Event) []metering.RefusedEvent {
	t.Helper()
	_, err := m.Report(t.Context(), events)
	refused := new(metering.RefusedError)
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want events refused", err)
	}
	return refused.Events
}

func TestB07ABatchIsDurableInOneCommitWithAllElseThatIsPending(t *testing.T) {
	l, c := &trouble{Ledger: bolt(t)}, new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	var events []metering.Event
	for i := range 500 {
		e := event(fmt.Sprint(i), 2)
		e.License = license(policy.Key(fmt.Sprint("arn:", i%100)))
		events = append(events, e)
	}
	m.Counter(license("arn:0")).Take(one("", c.now(), monthly(0, policy.ThenBill)))
	report(t, m, 500, events...)
	if got := l.commits.Load(); got != 1 {
		t.Errorf("%d commits, want 1", got)
	}
	report(t, m, 0, events...)
	if got := l.commits.Load(); got != 1 {
		t.Errorf("%d commits after the same events, want 1", got)
	}
	totals, err := l.Totals(t.Context(), "local")
	must(t, err)
	counted := int64(0)
	for _, total := range totals {
		counted += total.Counted
	}
	if counted != 1001 || len(totals) != 100 {
		t.Errorf("%d counted of %d licenses, want 1001 of 100", counted, len(totals))
	}
	must(t, ledgertest.Conserved(t.Context(), l))
}

// halting is a ledger whose commits wait until they are let go.
type halting struct {
	metering.Ledger
	begun chan int // deltas
	goOn  chan error
}

func (l *halting) Commit(ctx context.Context, writer string, seq uint64, deltas []metering.Delta) ([]metering.Total, error) {
	l.begun <- len(deltas)
	if err := <-l.goOn; err != nil {
		return nil, err
	}
	return l.Ledger.Commit(ctx, writer, seq, deltas)
}

func TestB07BatchesThatComeMeanwhileShareACommitAndNoCallerEndsThatOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &halting{Ledger: bolt(t), begun: make(chan int), goOn: make(chan error)}
		m := newMeter(t, l, new(clock).at(ledgertest.Hour()))
		var all sync.WaitGroup
		all.Go(func() { report(t, m, 1, event("first", 1)) })
		if got := <-l.begun; got != 1 {
			t.Errorf("%d deltas in the first commit", got)
		}
		gone, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := m.Report(gone, []metering.Event{event("gone", 100)}); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller who went away got %v", err)
			}
		})
		var mu sync.Mutex
		accepted := 0
		for i := range 20 {
			all.Go(func() {
				got, err := m.Report(t.Context(), []metering.Event{event(fmt.Sprint(i/2), 1)})
				must(t, err)
				mu.Lock()
				defer mu.Unlock()
				accepted += got.Accepted
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		l.goOn <- nil
		if got := <-l.begun; got != 1 {
			t.Errorf("%d deltas in the second commit, want 1", got)
		}
		l.goOn <- nil
		all.Wait()
		if got := total(t, l).Counted; got != 11 || accepted != 10 {
			t.Errorf("%d counted, %d of 20 accepted; want 11 and 10", got, accepted)
		}
	})
}

func TestB07ABatchThatIsRefusedTakesNothingFromThoseItSharesACommitWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &halting{Ledger: bolt(t), begun: make(chan int), goOn: make(chan error)}
		m := newMeter(t, l, new(clock).at(ledgertest.Hour()))
		var all sync.WaitGroup
		all.Go(func() { report(t, m, 1, event("first", 1)) })
		<-l.begun
		lost := event("lost", 1)
		lost.Refused = "subject_unknown"
		all.Go(func() { refused(t, m, event("shared", 5), lost) })
		synctest.Wait()
		all.Go(func() { report(t, m, 1, event("shared", 5)) })
		synctest.Wait()
		l.goOn <- nil
		<-l.begun
		l.goOn <- nil
		all.Wait()
		if got := total(t, l).Counted; got != 6 {
			t.Errorf("%d counted, want 6", got)
		}
	})
}

func TestB07ACommitGoesOnWithoutTheCallerWhoBeganItAndMemoryHasWhatWasCountedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &halting{Ledger: bolt(t), begun: make(chan int), goOn: make(chan error)}
		m := newMeter(t, l, new(clock).at(ledgertest.Hour()))
		gone, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _, _ = m.Report(gone, []metering.Event{event("1", 5)}) }) // counted or not, he has gone
		<-l.begun
		all.Go(func() { report(t, m, 0, event("1", 5)) })
		counter := m.Counter(license(ledgertest.License))
		counter.Take(one("", ledgertest.Hour(), monthly(0, policy.ThenBill)))
		cancel()
		l.goOn <- nil
		all.Wait()
		if b := counter.Take(one("", ledgertest.Hour(), monthly(0, policy.ThenBill))); b.Used != 7 {
			t.Errorf("%d used, want 7", b.Used)
		}
		if got := total(t, l).Counted; got != 5 {
			t.Errorf("%d counted, want 5", got)
		}
	})
}

func TestB07AnEventCountsOnceWithin48HoursAcrossRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	c := new(clock).at(ledgertest.Hour())
	l := openBolt(t, path, metering.DefaultConfig(), place())
	e, other := event("1", 5), event("1", 7)
	other.Feature = "tokens"
	report(t, newMeter(t, l, c), 1, e, e, other)
	must(t, l.Close())

	l = openBolt(t, path, metering.DefaultConfig(), place())
	m := newMeter(t, l, c)
	report(t, m, 0, other)
	c.move(48*time.Hour - time.Minute)
	report(t, m, 0, e)
	if got := total(t, l).Counted; got != 5 {
		t.Errorf("%d counted, want 5", got)
	}
	c.move(2 * time.Minute)
	report(t, m, 1, e)
	if got := total(t, l).Counted; got != 10 {
		t.Errorf("%d counted after 48 h, want 10", got)
	}
}

func TestB09TheHourOfAnEventIsThatOfItsTimeIfItIsOpenElseThePresentOneLate(t *testing.T) {
	hour, now := ledgertest.Hour(), ledgertest.Hour().Add(2*time.Hour+3*time.Minute)
	type row struct {
		Hour time.Time
		Late bool
	}
	for name, c := range map[string]struct {
		at     time.Time
		frozen bool // the hour before is, for this license
		want   row
	}{
		"no time":                           {time.Time{}, false, row{hour.Add(2 * time.Hour), false}},
		"this hour":                         {now.Add(-time.Minute), false, row{hour.Add(2 * time.Hour), false}},
		"the hour before, still open":       {now.Add(-4 * time.Minute), false, row{hour.Add(time.Hour), false}},
		"the hour before, frozen":           {now.Add(-4 * time.Minute), true, row{hour.Add(2 * time.Hour), true}},
		"an hour that is frozen":            {hour.Add(59 * time.Minute), false, row{hour.Add(2 * time.Hour), true}},
		"last year":                         {hour.AddDate(-1, 0, 0), false, row{hour.Add(2 * time.Hour), true}},
		"five minutes ahead":                {now.Add(5 * time.Minute), false, row{hour.Add(2 * time.Hour), false}},
		"ahead, but in no hour to come yet": {now.Add(4 * time.Minute), false, row{hour.Add(2 * time.Hour), false}},
	} {
		t.Run(name, func(t *testing.T) {
			l := bolt(t)
			m := newMeter(t, l, new(clock).at(now))
			if c.frozen {
				must(t, l.Freeze(t.Context(), hour.Add(2*time.Hour+6*time.Minute), nil)) // by a clock that is ahead
			}
			e := event("1", 3)
			e.Time = c.at
			report(t, m, 1, e)
			rows, err := ledgertest.AllRows(t.Context(), l)
			must(t, err)
			if len(rows) != 1 || rows[0].Units != 3 {
				t.Fatalf("got %+v", rows)
			}
			if diff := cmp.Diff(c.want, row{rows[0].Hour, rows[0].Late}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestB09AnEventMoreThanFiveMinutesAheadIsRefusedAndABatchIsAllOrNothing(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	ahead, lost := event("ahead", 1), event("lost", 1)
	ahead.Time = c.now().Add(5*time.Minute + time.Second)
	lost.Refused = "subject_unknown"
	got := refused(t, m, event("good", 1), ahead, event("good", 1), lost)
	if want := []metering.RefusedEvent{{Index: 1, Reason: "time_ahead"}, {Index: 3, Reason: "subject_unknown"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := total(t, l).Counted; got != 0 {
		t.Errorf("%d counted of a refused batch", got)
	}
	report(t, m, 1, event("good", 1))
	gone := event("good", 1)
	gone.Refused = "subject_unknown"
	report(t, m, 0, gone) // its answer was lost, and its subject went meanwhile
}

func TestB10NoRecordOfAnEventIsFromBeforeTheLicenseBegan(t *testing.T) {
	l, hour := bolt(t), ledgertest.Hour()
	m := newMeter(t, l, new(clock).at(hour.Add(3*time.Minute)))
	e := event("1", 3)
	e.License.Starts, e.Time = hour.Add(time.Minute), hour.Add(-time.Minute)
	report(t, m, 1, e)
	rows, err := ledgertest.AllRows(t.Context(), l)
	must(t, err)
	if len(rows) != 1 || !rows[0].Timestamp.Equal(e.License.Starts) {
		t.Errorf("got %+v, want a record of %s", rows, e.License.Starts)
	}
}

func TestB06ReportedUsageIsNeverDeniedAndUsesTheQuotaOfRequests(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	counter, terms := m.Counter(license(ledgertest.License)), monthly(10, policy.ThenDeny)
	for range 2 {
		counter.Take(one("", c.now(), terms))
	}
	e := event("1", 7)
	e.Terms = terms
	report(t, m, 1, e)
	if b := counter.Take(one("", c.now(), terms)); !b.OK || b.Used != 10 {
		t.Errorf("a request within the quota: %+v", b)
	}
	if b := counter.Take(one("", c.now(), terms)); b.OK {
		t.Errorf("a request beyond it: %+v", b)
	}
	e = event("2", 5)
	e.Terms = terms
	report(t, m, 1, e)
	if got := total(t, l); got.Counted != 15 || got.Included != 10 || got.Overrun != 5 {
		t.Errorf("the ledger has %+v, want 10 included and 5 overrun", got)
	}
}

func TestB06AnEventOfAnEndedPeriodUsesNothingOfThePresentOne(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour().Add(63*time.Minute)) // in the new year
	m := newMeter(t, l, c)
	counter, terms := m.Counter(license(ledgertest.License)), monthly(10, policy.ThenDeny)
	counter.Take(one("", c.now(), terms))
	e := event("1", 7)
	e.Terms, e.Time = terms, ledgertest.Hour().Add(59*time.Minute)
	report(t, m, 1, e)
	look := one("", c.now(), terms)
	look.Look = true
	if b := counter.Take(look); b.Used != 1 {
		t.Errorf("%d used of the new month, want 1", b.Used)
	}
}

func TestB08AQuantityThatNoSumCouldHoldIsRefused(t *testing.T) {
	m := newMeter(t, bolt(t), new(clock).at(ledgertest.Hour()))
	var events []metering.Event
	for i := range 4000 {
		events = append(events, event(fmt.Sprint(i), 999_999_999_999_999))
	}
	if got := refused(t, m, events...); got[0].Reason != metering.EventQuantityInvalid || len(got) == 4000 {
		t.Errorf("%d refused, the first %v", len(got), got[0])
	}
	report(t, m, 2000, events[:2000]...)
	refused(t, m, events[2000:]...)
	if got := refused(t, m, event("none", 0)); got[0].Reason != metering.EventQuantityInvalid {
		t.Errorf("a quantity of 0: %v", got)
	}
}

func TestB20EventsThatCanNotBeMadeDurableAreNotTakenAndCountOnceWhenTheyAreSentAgain(t *testing.T) {
	for name, failing := range map[string]func(*trouble) func(error){
		"nothing is written":              func(l *trouble) func(error) { return func(err error) { l.before.Store(&err) } },
		"it is, and nobody hears of that": func(l *trouble) func(error) { return func(err error) { l.after.Store(&err) } },
	} {
		t.Run(name, func(t *testing.T) {
			l := &trouble{Ledger: bolt(t)}
			m := newMeter(t, l, new(clock).at(ledgertest.Hour()))
			full := errors.New("no space left on device")
			failing(l)(full)
			for range 3 {
				if _, err := m.Report(t.Context(), []metering.Event{event("1", 5)}); !errors.Is(err, full) {
					t.Fatalf("got %v", err)
				}
			}
			if err := m.Writable(); !errors.Is(err, full) || l.commits.Load() != 1 {
				t.Errorf("writable: got %v after %d commits, want one", err, l.commits.Load())
			}
			l.before.Store(nil)
			l.after.Store(nil)
			must(t, m.Flush(t.Context())) // as Run does
			report(t, m, 1, event("1", 5), event("2", 7))
			must(t, m.Writable())
			if got := total(t, l).Counted; got != 12 {
				t.Errorf("%d counted, want 12", got)
			}
			if b := m.Counter(license(ledgertest.License)).Take(one("", ledgertest.Hour(), monthly(0, policy.ThenBill))); b.Used != 13 {
				t.Errorf("memory has %d used, want 13", b.Used)
			}
		})
	}
}

func TestB20EventsOfALedgerThatWasSetAsideAreStillKnown(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "ledger"), new(clock).at(ledgertest.Hour())
	l := openBolt(t, path, metering.DefaultConfig(), place())
	var events []metering.Event
	for i := range 1500 {
		events = append(events, event(fmt.Sprint(i), 1))
	}
	report(t, newMeter(t, l, c), len(events), events...)
	must(t, l.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.ReplaceAll(content, []byte("\x0c111122223333"), []byte("\x0c111122223334")), 0o600))

	l = openAnyway(t, path, c.now, discard())
	defer l.Close()
	if len(l.Aside()) != 1 {
		t.Fatalf("set aside: %v", l.Aside())
	}
	m := newMeter(t, l, c)
	report(t, m, 1, append(events, event("new", 1))...)
	c.move(48*time.Hour + time.Minute)
	report(t, m, 1, events[0])
}

func TestB15EventsOfAnEndedLicenseAreRefusedOnceItsLastHourIsFrozen(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	report(t, m, 1, event("1", 1))
	ended := license(ledgertest.License)
	ended.Ended, ended.Read = c.now(), c.now()
	m.Counter(ended)
	report(t, m, 1, event("2", 1))
	must(t, m.Flush(t.Context()))
	want := []metering.RefusedEvent{{Index: 0, Reason: metering.EventLicenseEnded}}
	if got := refused(t, m, event("3", 1)); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	report(t, m, 0, event("2", 1))
	long := event("4", 1)
	long.License = license("arn:long")
	long.License.Ended = c.now().Add(-time.Hour)
	if got := refused(t, m, long); !slices.Equal(got, want) {
		t.Errorf("of a license that ended long ago: got %v", got)
	}
	if got := total(t, l).Counted; got != 2 {
		t.Errorf("%d counted, want 2", got)
	}
}

func TestBatchesThatShareACommitShareTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, l := metering.DefaultConfig(), &halting{Ledger: bolt(t), begun: make(chan int), goOn: make(chan error)}
		cfg.Remember = 3
		m, err := metering.NewMeter(t.Context(), cfg, l, metering.TokenKey{1}, nil, new(clock).at(ledgertest.Hour()).now, discard(), nil)
		must(t, err)
		var all sync.WaitGroup
		all.Go(func() { report(t, m, 1, event("1", 1)) })
		<-l.begun
		all.Go(func() { report(t, m, 2, event("2", 1), event("3", 1)) })
		synctest.Wait()
		all.Go(func() {
			if _, err := m.Report(t.Context(), []metering.Event{event("4", 1)}); !errors.As(err, new(*metering.FullError)) {
				t.Errorf("got %v, want a full memory", err)
			}
		})
		synctest.Wait()
		l.goOn <- nil
		<-l.begun
		l.goOn <- nil
		all.Wait()
	})
}

func TestIDsOfEventsAreNeverForgottenEarlyAndAFullMemoryTakesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, c := metering.DefaultConfig(), new(clock).at(ledgertest.Hour())
		cfg.Remember = 3
		l := bolt(t)
		m, err := metering.NewMeter(t.Context(), cfg, l, metering.TokenKey{1}, nil, c.now, discard(), nil)
		must(t, err)
		stop := run(t, m)
		report(t, m, 2, event("1", 1), event("2", 1))
		c.move(time.Hour)
		full := new(metering.FullError)
		if _, err := m.Report(t.Context(), []metering.Event{event("3", 1), event("4", 1)}); !errors.As(err, &full) || full.Retry != 47*time.Hour {
			t.Errorf("got %v, to be tried in %s", err, full.Retry)
		}
		report(t, m, 1, event("3", 1), event("1", 1))
		if _, err := m.Report(t.Context(), []metering.Event{event("5", 1)}); !errors.As(err, &full) {
			t.Errorf("got %v", err)
		}
		c.move(47*time.Hour - time.Minute)
		time.Sleep(2 * time.Second)
		report(t, m, 0, event("1", 1), event("2", 1), event("3", 1))
		c.move(2 * time.Minute)
		time.Sleep(2 * time.Second)
		report(t, m, 2, event("5", 1), event("6", 1), event("3", 1))
		memory, err := l.Recall(t.Context(), c.now(), nil)
		must(t, err)
		if memory.Held != 3 {
			t.Errorf("%d ids are held, want 3", memory.Held)
		}
		must(t, stop())
	})
}
