package ledgertest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// millionths is how many of them a billed unit in a record has.
const millionths = 1_000_000

// Open makes an empty ledger with a configuration; its test closes it.
type Open func(t *testing.T, cfg metering.Config) metering.Ledger

// License is the one that the suite counts for; it began before Hour.
const License policy.Key = "arn:aws:license-manager::294406891311:license:l-1"

// Hour is the hour in which the suite begins to count: the last of a year.
func Hour() time.Time { return time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC) }

// Bill are terms that bill everything in one dimension.
func Bill(per int64) policy.Terms {
	return policy.Terms{Every: policy.Month, Then: policy.ThenBill, Dimension: "calls", Per: per}
}

// Delta counts n units in an hour.
func Delta(hour time.Time, n int64, terms policy.Terms) metering.Delta {
	return metering.Delta{
		License: License, Account: "111122223333", Product: "acme", Feature: "apiCalls",
		Hour: hour, Quantity: n, First: hour.Add(90 * time.Second), Starts: Hour().AddDate(0, -3, 0), Terms: terms,
	}
}

// Run checks an implementation.
func Run(t *testing.T, open Open) {
	for name, check := range map[string]func(*suite){
		"B01 each unit is in one place":                        (*suite).conservation,
		"B04 checks wait and end":                              (*suite).checksWait,
		"B04 checks of other terms and features are apart":     (*suite).checksApart,
		"B04 a sign of life moves a check":                     (*suite).checksMove,
		"B04 a repeated commit ends nothing twice":             (*suite).checksRepeated,
		"B04 checks of another ledger end nothing here":        (*suite).checksUnknown,
		"B04 used tokens are kept until they are forgotten":    (*suite).tokensUsed,
		"B15 what arrives late is of the last hour":            (*suite).lastHour,
		"B06 included units come first":                        (*suite).included,
		"B06 a plan change goes on counting":                   (*suite).planChange,
		"B06 an hour after the period's end fills the old one": (*suite).periodBefore,
		"B07 a repeated commit changes nothing":                (*suite).idempotent,
		"B08 a record's limit carries the rest on":             (*suite).limit,
		"B08 what is below a billed unit is carried":           (*suite).carry,
		"B09 a frozen hour takes nothing":                      (*suite).frozenHour,
		"B09 usage for a frozen hour goes to the one named":    (*suite).frozenElse,
		"events are known by their ids":                        (*suite).eventsKnown,
		"B07 events are known once their units are counted":    (*suite).eventsOnce,
		"events are forgotten after 48 h":                      (*suite).eventsForgotten,
		"B10 a frozen record never changes":                    (*suite).unchanged,
		"B10 one quantity for a dimension and hour":            (*suite).oneQuantity,
		"B10 the hour of the license's begin":                  (*suite).begin,
		"B10 a license begins once, whoever forgets":           (*suite).beginOnce,
		"B10 a license that had ended begins again":            (*suite).beginAgain,
		"B10 sending is marked, a second time ambiguous":       (*suite).marked,
		"B11 an open hour is never frozen":                     (*suite).wholeHours,
		"B12 each answer has its state":                        (*suite).answers,
		"B12 blocked is tried again hourly":                    (*suite).blocked,
		"B12 blocked is tried again when the ledger is told":   (*suite).retried,
		"B12 settling is conditional on the state":             (*suite).conditional,
		"B13 deadlines":                                        (*suite).deadlines,
		"B13 a late record is rebooked":                        (*suite).rebooked,
		"B13 an ambiguous record expires":                      (*suite).ambiguousExpires,
		"B13 late: expire":                                     (*suite).lateExpire,
		"B15 the end of a license":                             (*suite).end,
		"B16 a record of 0":                                    (*suite).zero,
		"B16 a record of 0 knows the license's end":            (*suite).zeroEnds,
		"B16 many records of 0 are made in parts":              (*suite).zeroMany,
		"B16 presence is kept":                                 (*suite).presence,
		"B19 each writer has a sequence of its own":            (*suite).writers,
		"B21 a conflict stops records of 0 until acknowledged": (*suite).otherWriter,
		"B21 what is lost can be rebooked by hand":             (*suite).rebook,
		"B21 what is not lost can't be rebooked":               (*suite).notRebooked,
		"direct customers and dry runs end as dry":             (*suite).dry,
		"due is fair to products":                              (*suite).fair,
		"ended rows go after a time, totals stay":              (*suite).pruned,
		"an open row shows all that it holds":                  (*suite).openQuantity,
		"rows come in pages and by filter":                     (*suite).pages,
	} {
		t.Run(name, func(t *testing.T) { check(&suite{T: t, open: open}) })
	}
}

// suite is one test with its ledger.
type suite struct {
	*testing.T
	open   Open
	ledger metering.Ledger
	seq    uint64
}

// start opens the ledger; without a change it is the default configuration.
func (s *suite) start(change ...func(*metering.Config)) {
	s.Helper()
	cfg := metering.DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	s.ledger = s.open(s.T, cfg)
}

// commit commits deltas as the writer's next, and checks that no unit is lost or doubled.
func (s *suite) commit(deltas ...metering.Delta) metering.Total {
	s.Helper()
	s.seq++
	totals, err := s.ledger.Commit(s.Context(), "w", s.seq, deltas)
	s.ok(err)
	if len(totals) != len(deltas) {
		s.Fatalf("%d totals for %d deltas", len(totals), len(deltas))
	}
	s.conserved()
	return totals[len(totals)-1]
}

func (s *suite) freeze(now time.Time) {
	s.Helper()
	s.ok(s.ledger.Freeze(s.Context(), now, nil))
	s.conserved()
}

// frozen commits 3 billable units of an hour, freezes it and returns its record.
func (s *suite) frozen(hour time.Time) metering.Record {
	s.Helper()
	s.commit(Delta(hour, 3, Bill(1)))
	s.freeze(hour.Add(66 * time.Minute))
	return s.one(s.due(hour.Add(66 * time.Minute)))
}

// sent marks a record and returns it as it is then.
func (s *suite) sent(now time.Time, r metering.Record) metering.Record {
	s.Helper()
	s.ok(s.ledger.Sending(s.Context(), now, []metering.Record{r}))
	return s.row(r.ID).Record
}

func (s *suite) settle(now time.Time, r metering.Record, o metering.Outcome) {
	s.Helper()
	_, err := s.ledger.Settle(s.Context(), now, []metering.Record{r}, []metering.Outcome{o})
	s.ok(err)
	s.conserved()
}

func (s *suite) expire(now time.Time) []metering.Row {
	s.Helper()
	rows, err := s.ledger.Expire(s.Context(), now)
	s.ok(err)
	s.conserved()
	return rows
}

func (s *suite) due(now time.Time) []metering.Record {
	s.Helper()
	records, err := s.ledger.Due(s.Context(), now, 100)
	s.ok(err)
	return records
}

func (s *suite) rows() []metering.Row {
	s.Helper()
	rows, err := AllRows(s.Context(), s.ledger)
	s.ok(err)
	return rows
}

func (s *suite) row(id string) metering.Row {
	s.Helper()
	rows := s.rows()
	i := slices.IndexFunc(rows, func(r metering.Row) bool { return r.ID == id })
	if i < 0 {
		s.Fatalf("no row %s in %+v", id, rows)
	}
	return rows[i]
}

func (s *suite) one(records []metering.Record) metering.Record {
	s.Helper()
	if len(records) != 1 {
		s.Fatalf("got %d records, want 1: %+v", len(records), records)
	}
	return records[0]
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) conserved() {
	s.Helper()
	s.ok(Conserved(s.Context(), s.ledger))
}

func (s *suite) want(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// brief is what a row is about.
type brief struct {
	Hour  time.Time
	Units int64
	State metering.State
	Late  bool
}

func (s *suite) briefs() []brief {
	s.Helper()
	var out []brief
	for _, r := range s.rows() {
		out = append(out, brief{r.Hour, r.Units, r.State, r.Late})
	}
	return out
}

func (s *suite) conservation() {
	s.start()
	unpriced := Bill(1)
	unpriced.Dimension = ""
	deny := policy.Terms{Every: policy.Day, Included: 7}
	total := s.commit(Delta(Hour(), 5, deny), Delta(Hour(), 10, Bill(4)), Delta(Hour(), 3, unpriced), Delta(Hour(), 4, deny))
	total.Periods = [policy.Periods]metering.PeriodTotal{}
	s.want("total", total, metering.Total{
		License: License, Feature: "apiCalls", Seq: 1, Counted: 22, Included: 5, Billable: 10, Overrun: 4, Unpriced: 3,
		Lines: []metering.Carry{{Dimension: "calls", Per: 4, Units: 2}},
	})
}

func (s *suite) included() {
	s.start()
	terms := Bill(1)
	terms.Included = 10
	s.commit(Delta(Hour(), 8, terms))
	total := s.commit(Delta(Hour(), 5, terms))
	s.want("included", total.Included, int64(10))
	s.want("billable", total.Billable, int64(3))
	total = s.commit(Delta(Hour().Add(time.Hour), 4, terms)) // the next month
	s.want("included in the next period", total.Included, int64(14))
	terms.Included = policy.Unlimited
	s.want("billable when unlimited", s.commit(Delta(Hour(), math.MaxInt32, terms)).Billable, int64(3))
}

func (s *suite) planChange() {
	s.start()
	s.commit(Delta(Hour(), 6, policy.Terms{Every: policy.Day, Included: 100}))
	total := s.commit(Delta(Hour(), 6, policy.Terms{Every: policy.Month, Included: 10}))
	s.want("included", total.Included, int64(10))
	s.want("overrun", total.Overrun, int64(2))
	s.want("used", total.Periods[policy.Term].Used, int64(12))
}

func (s *suite) periodBefore() {
	s.start()
	terms := policy.Terms{Every: policy.Month, Included: 10}
	s.commit(Delta(Hour(), 9, terms))
	s.commit(Delta(Hour().Add(time.Hour), 9, terms))
	s.want("overrun of the old month", s.commit(Delta(Hour(), 2, terms)).Overrun, int64(1))
	s.want("overrun of the new month", s.commit(Delta(Hour().Add(time.Hour), 2, terms)).Overrun, int64(2))
}

func (s *suite) idempotent() {
	s.start()
	d := []metering.Delta{Delta(Hour(), 5, Bill(1))}
	for range 2 {
		totals, err := s.ledger.Commit(s.Context(), "a", 7, d)
		s.ok(err)
		s.want("counted", totals[0].Counted, int64(5))
	}
	totals, err := s.ledger.Commit(s.Context(), "b", 7, d)
	s.ok(err)
	s.want("counted by another writer", totals[0].Counted, int64(10))
	_, err = s.ledger.Commit(s.Context(), "a", 8, d)
	s.ok(err)
	all, err := s.ledger.Totals(s.Context(), "a")
	s.ok(err)
	s.want("last sequence", all[0].Seq, uint64(8))
	s.want("counted by both", all[0].Counted, int64(15))
}

// writers counts what each of them numbered, once, in whatever order they come.
func (s *suite) writers() {
	s.start()
	counted := int64(0)
	for _, c := range []struct {
		writer string
		seq    uint64
		new    bool
	}{{"gate-1", 1, true}, {"gate-2", 1, true}, {"gate-1", 2, true}, {"gate-1", 1, false}, {"gate-2", 1, false}, {"gate-2", 2, true}, {"gate-1", 2, false}} {
		totals, err := s.ledger.Commit(s.Context(), c.writer, c.seq, []metering.Delta{Delta(Hour(), 5, Bill(1))})
		s.ok(err)
		if c.new {
			counted += 5
		}
		s.want(fmt.Sprint("counted after ", c.writer, " ", c.seq), totals[0].Counted, counted)
		s.conserved()
	}
	for writer, seq := range map[string]uint64{"gate-1": 2, "gate-2": 2, "gate-3": 0} {
		totals, err := s.ledger.Totals(s.Context(), writer)
		s.ok(err)
		s.want("last sequence of "+writer, totals[0].Seq, seq)
	}
}

func (s *suite) limit() {
	s.start()
	s.commit(Delta(Hour(), 2*math.MaxInt32+5, Bill(1)))
	next := Hour().Add(time.Hour)
	for i := range 3 {
		s.freeze(Hour().Add(time.Duration(i)*time.Hour + 66*time.Minute))
	}
	s.want("rows", s.briefs(), []brief{
		{Hour(), math.MaxInt32, metering.Frozen, false},
		{next, math.MaxInt32, metering.Frozen, false},
		{next.Add(time.Hour), 5, metering.Frozen, false},
	})
}

func (s *suite) carry() {
	s.start()
	s.commit(Delta(Hour(), 999, Bill(1000)))
	s.want("rows", s.briefs(), []brief(nil))
	s.commit(Delta(Hour().Add(time.Hour), 1001, Bill(1000)))
	s.want("rows", s.briefs(), []brief{{Hour().Add(time.Hour), 2, metering.Open, false}})
}
