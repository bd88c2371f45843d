package metering_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// aws answers records as a test wants, and remembers what reached it.
type aws struct {
	ledger  metering.Ledger
	answer  func(metering.Record) metering.Outcome
	answers func([]metering.Record) []metering.Outcome // of a whole call, in the place of answer
	err     error
	block   bool // no answer until the context ends

	mu      sync.Mutex
	calls   [][]metering.Record
	at      []time.Time
	unready []string // records that were not marked when they arrived
}

func (a *aws) Send(ctx context.Context, records []metering.Record) ([]metering.Outcome, error) {
	a.mu.Lock()
	a.calls, a.at = append(a.calls, records), append(a.at, time.Now())
	for _, r := range records[:1] {
		rows, _, err := a.ledger.Rows(ctx, metering.Filter{License: r.License, Hour: r.Timestamp.Truncate(time.Hour), State: metering.Sent})
		if err != nil || len(rows) != 1 {
			a.unready = append(a.unready, r.ID)
		}
	}
	block, answer, answers := a.block, a.answer, a.answers
	a.mu.Unlock()
	if answers != nil {
		return answers(records), nil
	}
	if block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	outcomes := make([]metering.Outcome, len(records))
	for i, r := range records {
		outcomes[i] = metering.Outcome{Answer: metering.Success, MeteringRecordID: "m-" + r.ID}
		if answer != nil {
			outcomes[i] = answer(r)
		}
	}
	return outcomes, a.err
}

func (a *aws) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

// sending is a ledger with a dispatcher that sends from it.
type sending struct {
	*testing.T
	path   string
	ledger *metering.Bolt
	aws    *aws
	clock  *clock
	log    *bytes.Buffer
	active bool // what a read of a license shows
	reads  int
	slow   bool // a read ends with its context
	stop   func() error
}

func newSending(t *testing.T) *sending {
	path := filepath.Join(t.TempDir(), "ledger")
	l := openBolt(t, path, metering.DefaultConfig(), place())
	return &sending{T: t, path: path, ledger: l, aws: &aws{ledger: l}, clock: new(clock).at(ledgertest.Hour().Add(66 * time.Minute)), log: new(bytes.Buffer)}
}

// count makes what will be n records of a product, each of its own license.
func (s *sending) count(product string, n int) {
	s.Helper()
	var deltas []metering.Delta
	for i := range n {
		d := ledgertest.Delta(ledgertest.Hour(), int64(i+1), ledgertest.Bill(1))
		d.Product, d.License = product, policy.Key(fmt.Sprintf("arn:%s-%03d", product, i))
		deltas = append(deltas, d)
	}
	_, err := s.ledger.Commit(s.Context(), product, 1, deltas)
	must(s, err)
}

// start freezes what was counted, and sends.
func (s *sending) start() {
	s.Helper()
	must(s, s.ledger.Freeze(s.Context(), s.clock.now(), nil))
	reread := func(ctx context.Context, _ policy.Key) (bool, error) {
		s.reads++
		if s.slow {
			<-ctx.Done()
		}
		return s.active, ctx.Err()
	}
	d := metering.NewDispatcher(30*time.Second, s.ledger, s.aws, reread, s.clock.now, slog.New(slog.NewTextHandler(s.log, nil)))
	s.stop = run(s, d)
}

// states counts the rows by product and state.
func (s *sending) states() map[string]int {
	s.Helper()
	synctest.Wait() // an attempt of this very moment is over
	rows, err := ledgertest.AllRows(s.Context(), s.ledger)
	must(s, err)
	states := map[string]int{}
	for _, r := range rows {
		states[r.Product+" "+string(r.State)]++
	}
	must(s, ledgertest.Conserved(s.Context(), s.ledger))
	return states
}

func (s *sending) want(state string, n int) {
	s.Helper()
	if got := s.states(); got[state] != n {
		s.Errorf("got %v, want %d %s", got, n, state)
	}
}

func TestB10FrozenBeforeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 60)
		s.start()
		time.Sleep(2 * time.Second)
		s.want("acme accepted", 60)
		if len(s.aws.unready) > 0 {
			t.Errorf("left before they were marked: %v", s.aws.unready)
		}
		must(t, s.stop())
	})
}

func TestAFreezeAndARoundAreOneLineOfTheLogEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		must(t, s.ledger.Close())
		log := slog.New(slog.NewTextHandler(s.log, nil))
		l, err := metering.OpenBolt(s.path, metering.DefaultConfig(), place(), s.clock.now, log, nil)
		must(t, err)
		defer l.Close()
		s.ledger, s.aws.ledger = l, l
		s.count("acme", 60)
		s.start()
		time.Sleep(5 * time.Second)
		must(t, s.stop())
		for _, line := range []string{
			`msg="hours frozen" before=2027-01-01T00:00:00.000Z records=60 units=1830 zero_records=0`,
			`msg="usage records accepted" product=acme records=60 units=1830`,
		} {
			if got := strings.Count(s.log.String(), line); got != 1 {
				t.Errorf("%d lines %s in:\n%s", got, line, s.log)
			}
		}
	})
}

func TestB14OneProductAndAtMost25RecordsACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 60)
		s.count("zenith", 5)
		s.start()
		time.Sleep(2 * time.Second)
		s.want("acme accepted", 60)
		s.want("zenith accepted", 5)
		for _, call := range s.aws.calls {
			if len(call) > 25 {
				t.Errorf("a call of %d records", len(call))
			}
			for _, r := range call {
				if r.Product != call[0].Product {
					t.Error("a call of two products")
				}
			}
		}
		must(t, s.stop())
	})
}

func TestB13AtMostTenCallsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1000)
		s.start()
		time.Sleep(10 * time.Second)
		s.want("acme accepted", 1000)
		s.aws.mu.Lock()
		defer s.aws.mu.Unlock()
		for i := 10; i < len(s.aws.at); i++ {
			if took := s.aws.at[i].Sub(s.aws.at[i-10]); took < time.Second {
				t.Fatalf("11 calls within %v", took)
			}
		}
		must(t, s.stop())
	})
}

func TestB13TroubleOfOneProductBacksOffAndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 250)
		s.count("zenith", 30)
		s.aws.answer = func(r metering.Record) metering.Outcome {
			if r.Product == "acme" {
				return metering.Outcome{Answer: metering.Unavailable, Error: "AccessDenied"}
			}
			return metering.Outcome{Answer: metering.Success}
		}
		s.start()
		time.Sleep(2 * time.Second)
		s.want("zenith accepted", 30)
		time.Sleep(4 * time.Minute)
		if got := s.aws.count(); got < 8 || got > 120 { // 30 s apart at most, and no whole round of 10
			t.Errorf("%d calls in 4 minutes of trouble", got)
		}
		s.want("acme frozen", 250)
		s.aws.mu.Lock()
		s.aws.answer = nil
		s.aws.mu.Unlock()
		time.Sleep(time.Minute)
		s.want("acme accepted", 250)
		must(t, s.stop())
	})
}

func TestB12ACallThatWasNotMadeRecordsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1)
		s.aws.err = errors.New("no such host")
		s.start()
		time.Sleep(3 * time.Second)
		s.want("acme frozen", 1)
		must(t, s.stop())
		due, err := s.ledger.Due(t.Context(), s.clock.now(), 10)
		must(t, err)
		if len(due) != 1 || due[0].Ambiguous {
			t.Errorf("due: %+v, want one that is not ambiguous", due)
		}
	})
}

func TestB12NotSubscribedIsRefusedOnlyOfALicenseThatIsNotActive(t *testing.T) {
	for _, active := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSending(t)
			s.count("acme", 1)
			s.active = active
			s.aws.answer = func(metering.Record) metering.Outcome { return metering.Outcome{Answer: metering.NotSubscribed} }
			s.start()
			time.Sleep(2 * time.Second)
			state := "acme refused"
			if active {
				state = "acme blocked"
			}
			s.want(state, 1)
			if s.reads != 1 || s.aws.count() != 1 {
				t.Errorf("%d reads and %d calls, want 1 and 1", s.reads, s.aws.count())
			}
			must(t, s.stop())
		})
	}
}

func TestB12AConflictIsLoudAndNamesASecondWriterFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1)
		s.aws.answer = func(metering.Record) metering.Outcome { return metering.Outcome{Answer: metering.Duplicate} }
		s.start()
		time.Sleep(2 * time.Second)
		s.want("acme conflict", 1)
		if log := s.log.String(); !strings.Contains(log, "ERROR") || !strings.Contains(log, "another weir") {
			t.Errorf("log: %s", log)
		}
		must(t, s.stop())
	})
}

func TestB12CutOffInTheMiddleIsAmbiguousAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1)
		s.aws.block = true
		s.start()
		time.Sleep(2 * time.Second)
		must(t, s.stop())
		s.want("acme sent", 1)

		s.aws.block = false
		s.aws.answer = func(metering.Record) metering.Outcome { return metering.Outcome{Answer: metering.Duplicate} }
		s.start()
		time.Sleep(2 * time.Second)
		s.want("acme accepted", 1)
		if first, second := s.aws.calls[0][0], s.aws.calls[1][0]; first.Quantity != second.Quantity || first.Timestamp != second.Timestamp {
			t.Errorf("sent as %+v, then as %+v", first, second)
		}
		must(t, s.stop())
	})
}

func TestB12AnswersAreWrittenAlthoughTheContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1)
		s.aws.answer = func(metering.Record) metering.Outcome {
			time.Sleep(2 * time.Second)
			return metering.Outcome{Answer: metering.Success}
		}
		s.start()
		time.Sleep(time.Second)
		must(t, s.stop())
		if got := s.aws.count(); got != 1 {
			t.Fatalf("%d calls, want 1 that was under way", got)
		}
		s.want("acme accepted", 1)
	})
}

func TestB13NothingLeavesAfterItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 50)
		s.aws.answer = func(metering.Record) metering.Outcome {
			s.clock.move(time.Hour) // the deadline passes during the first call
			return metering.Outcome{Answer: metering.Success}
		}
		s.start()
		time.Sleep(5 * time.Second)
		s.want("acme accepted", 25)
		s.want("acme frozen", 25)
		must(t, s.stop())
	})
}

func TestB13EarliestDeadlineFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.clock.set(ledgertest.Hour().Add(-3 * time.Hour))
		for i, hours := range []time.Duration{-4, -6, -5} {
			d := ledgertest.Delta(ledgertest.Hour().Add(hours*time.Hour), 1, ledgertest.Bill(1))
			d.License, d.Ends = policy.Key(fmt.Sprint("arn:", i)), d.Hour.Add(4*time.Hour)
			_, err := s.ledger.Commit(t.Context(), "w", uint64(i+1), []metering.Delta{d})
			must(t, err)
		}
		must(t, s.ledger.Freeze(t.Context(), s.clock.now().Add(66*time.Minute), nil))
		s.start()
		time.Sleep(2 * time.Second)
		must(t, s.stop())
		var got []policy.Key
		for _, r := range s.aws.calls[0] {
			got = append(got, r.License)
		}
		if fmt.Sprint(got) != "[arn:1 arn:2 arn:0]" {
			t.Errorf("sent in the order %v", got)
		}
	})
}

func TestB13RecordsThatWaitLongAreWarnedOfOnceAtEachThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		hour := ledgertest.Hour().AddDate(0, 0, -10)
		d := ledgertest.Delta(hour, 1, ledgertest.Bill(1))
		ending := d
		ending.Product, ending.License, ending.Ends = "zenith", "arn:2", hour.Add(2*time.Hour)
		_, err := s.ledger.Commit(t.Context(), "w", 1, []metering.Delta{d, ending})
		must(t, err)
		must(t, s.ledger.Freeze(t.Context(), hour.Add(66*time.Minute), nil))
		s.aws.answer = func(metering.Record) metering.Outcome { return metering.Outcome{Answer: metering.Unavailable} }
		s.clock.set(hour.Add(66 * time.Minute))
		s.start()
		for range 22 * 6 {
			s.clock.move(10*time.Minute - 40*time.Second)
			time.Sleep(40 * time.Second)
		}
		must(t, s.stop())
		if got := strings.Count(s.log.String(), "product=acme records=1 oldest="); got != 3 {
			t.Errorf("%d warnings of age, want 3", got)
		}
		if got := strings.Count(s.log.String(), "of a license that has ended"); got != 2 {
			t.Errorf("%d warnings of the end, want 2", got)
		}
	})
}
