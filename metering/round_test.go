package metering_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
)

func TestB12RecordsInTroubleHoldUpNoOther(t *testing.T) {
	bad := func(r metering.Record) bool { return r.Quantity == 8_000_000 || r.Quantity == 34_000_000 }
	for name, answer := range map[string]func([]metering.Record) []metering.Outcome{
		"each by itself": func(records []metering.Record) []metering.Outcome {
			outcomes := make([]metering.Outcome, len(records))
			for i, r := range records {
				if outcomes[i].Answer = metering.Success; bad(r) {
					outcomes[i].Answer = metering.NotRecorded
				}
			}
			return outcomes
		},
		"the whole call": func(records []metering.Record) []metering.Outcome {
			outcomes := make([]metering.Outcome, len(records))
			for i := range outcomes {
				if !slices.ContainsFunc(records, bad) {
					outcomes[i].Answer = metering.Success
				}
			}
			return outcomes
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSending(t)
				s.count("acme", 60)
				s.aws.answers = answer
				s.start()
				time.Sleep(5 * time.Minute)
				s.want("acme accepted", 58)
				calls := s.aws.count()
				time.Sleep(10 * time.Minute)
				if more := s.aws.count() - calls; more < 10 || more > 60 { // 30 s apart at most
					t.Errorf("%d calls in 10 minutes for the two", more)
				}
				s.aws.mu.Lock()
				s.aws.answers = nil
				s.aws.mu.Unlock()
				time.Sleep(time.Minute)
				s.want("acme accepted", 60)
				must(t, s.stop())
			})
		})
	}
}

func TestB12AnAttemptEndsBeforeItsRecordsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1)
		s.aws.block = true
		s.start()
		time.Sleep(time.Second)
		s.aws.mu.Lock()
		s.aws.block = false
		s.aws.mu.Unlock()
		time.Sleep(5 * time.Minute)
		s.want("acme accepted", 1)
		must(t, s.stop())
	})
}

func TestB12ManyReadsOfLicensesDelayNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 25)
		s.slow = true
		s.aws.answer = func(r metering.Record) metering.Outcome {
			if r.Quantity == 1_000_000 {
				return metering.Outcome{Answer: metering.Success}
			}
			return metering.Outcome{Answer: metering.NotSubscribed}
		}
		s.start()
		time.Sleep(15 * time.Second)
		s.want("acme accepted", 1)
		s.want("acme blocked", 24)
		must(t, s.stop())
	})
}

func TestB12ABlockedRecordStaysAloneWhateverItsAttemptsTell(t *testing.T) {
	for _, answer := range []metering.Answer{metering.NotRecorded, metering.Unavailable, metering.Ambiguous} {
		synctest.Test(t, func(t *testing.T) {
			s := newSending(t)
			s.count("acme", 1)
			s.aws.answer = func(metering.Record) metering.Outcome { return metering.Outcome{Answer: metering.Faulty} }
			s.start()
			time.Sleep(2 * time.Second)
			s.aws.mu.Lock()
			s.aws.answer = func(metering.Record) metering.Outcome { return metering.Outcome{Answer: answer} }
			s.aws.mu.Unlock()
			s.clock.move(time.Hour)
			time.Sleep(30 * time.Second)
			must(t, s.stop())
			s.want("acme blocked", 1)
			due, err := s.ledger.Due(t.Context(), s.clock.now(), 1)
			must(t, err)
			if got := s.aws.count(); got < 3 || len(due) != 1 || due[0].Ambiguous != (answer == metering.Ambiguous) {
				t.Errorf("answer %d: %d calls, due %+v", answer, got, due)
			}
		})
	}
}

func TestNothingLeavesInADryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1)
		must(t, s.ledger.Freeze(t.Context(), s.clock.now(), nil))
		must(t, s.ledger.Close())
		cfg := metering.DefaultConfig()
		cfg.Send = false
		s.ledger = openBolt(t, s.path, cfg, place())
		s.aws.ledger = s.ledger
		s.start()
		time.Sleep(5 * time.Second)
		must(t, s.stop())
		if got := s.aws.count(); got != 0 {
			t.Errorf("%d calls", got)
		}
		s.want("acme frozen", 1)
	})
}

func TestB12ABlockedRecordIsTriedAloneEveryHourOfAWSTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 3)
		s.aws.answer = func(r metering.Record) metering.Outcome {
			if r.Quantity == 1_000_000 {
				return metering.Outcome{Answer: metering.Faulty, Error: "InvalidUsageDimensionException"}
			}
			return metering.Outcome{Answer: metering.Success}
		}
		s.start()
		time.Sleep(2 * time.Second)
		s.want("acme accepted", 2)
		s.want("acme blocked", 1)
		if !strings.Contains(s.log.String(), "InvalidUsageDimensionException") {
			t.Errorf("the log does not say why: %s", s.log)
		}
		later := ledgertest.Delta(ledgertest.Hour().Add(time.Hour), 5, ledgertest.Bill(1))
		_, err := s.ledger.Commit(t.Context(), "later", 1, []metering.Delta{later})
		must(t, err)
		s.clock.move(time.Hour)
		must(t, s.ledger.Freeze(t.Context(), s.clock.now(), nil))
		time.Sleep(2 * time.Second)
		s.want("acme accepted", 3)
		if got := s.aws.count(); got != 3 || len(s.aws.calls[1]) != 1 || len(s.aws.calls[2]) != 1 {
			t.Errorf("%d calls, want 3, the blocked record apart from the new one", got)
		}
		s.clock.move(24 * time.Hour)
		time.Sleep(2 * time.Second)
		if got := s.aws.count(); got != 3 {
			t.Errorf("%d calls, want none after the deadline", got)
		}
		must(t, s.stop())
	})
}

func TestB12ABlockedRecordIsTriedAgainAtOnceAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.count("acme", 1)
		s.aws.answer = func(metering.Record) metering.Outcome { return metering.Outcome{Answer: metering.Faulty} }
		s.start()
		time.Sleep(30 * time.Second)
		must(t, s.stop())
		s.want("acme blocked", 1)
		s.aws.answer = nil // the listing was mended
		s.start()
		time.Sleep(2 * time.Second)
		must(t, s.stop())
		s.want("acme accepted", 1)
		if got := s.aws.count(); got != 2 {
			t.Errorf("%d calls, want 2", got)
		}
	})
}
