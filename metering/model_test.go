package metering_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// model drives a ledger at random, as meter, dispatcher, AWS, operator and crashes
// do, and knows what must never happen.
type model struct {
	path   string
	cfg    metering.Config
	ledger *metering.Bolt
	now    time.Time
	seq    uint64

	counted map[string]int64           // units by license and feature
	left    map[string]metering.Record // what left, by license, dimension and hour
	frozen  map[string]metering.Record // by id
	flying  []metering.Record          // marked, without an answer written
}

func (m *model) open(t *rapid.T) {
	var err error
	m.ledger, err = metering.OpenBolt(m.path, m.cfg, place(), func() time.Time { return m.now }, discard(), nil)
	must(t, err)
}

// TestB01B10LedgerHoldsUnderAnythingThatHappens walks over hour, month and year ends.
func TestB01B10LedgerHoldsUnderAnythingThatHappens(t *testing.T) {
	runs := 0
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		runs++
		m := &model{
			path: filepath.Join(dir, fmt.Sprint("ledger", runs)), cfg: metering.DefaultConfig(),
			now:     time.Date(2026, 12, 31, 21, 30, 0, 0, time.UTC),
			counted: map[string]int64{}, left: map[string]metering.Record{}, frozen: map[string]metering.Record{},
		}
		m.cfg.Late = rapid.SampledFrom([]string{metering.LateRebook, metering.LateExpire}).Draw(t, "late")
		m.cfg.CloseAfter = time.Duration(rapid.IntRange(0, 60).Draw(t, "closeAfter")) * time.Minute
		m.open(t)
		defer func() { m.ledger.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"commit":  m.commit,
			"freeze":  func(t *rapid.T) { must(t, m.ledger.Freeze(t.Context(), m.now, nil)) },
			"send":    m.send,
			"answer":  m.answer,
			"expire":  m.expire,
			"end":     m.end,
			"restart": m.restart,
			"time":    m.time,
			"":        m.check,
		})
	})
}

func (m *model) commit(t *rapid.T) {
	deltas := rapid.SliceOfN(rapid.Custom(m.delta), 1, 4).Draw(t, "deltas")
	m.seq++
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		_, err := m.ledger.Commit(t.Context(), "w", m.seq, deltas)
		must(t, err)
	}
	for _, d := range deltas {
		m.counted[string(d.License)+d.Feature] += d.Quantity
	}
}

func (m *model) delta(t *rapid.T) metering.Delta {
	back := time.Duration(rapid.IntRange(0, 2).Draw(t, "hours back")) * time.Hour
	hour := m.now.Add(-back).Truncate(time.Hour)
	return metering.Delta{
		License: policy.Key(rapid.SampledFrom([]string{"arn:1", "arn:2", "code/customer", "direct:t"}).Draw(t, "license")),
		Feature: rapid.SampledFrom([]string{"calls", "tokens"}).Draw(t, "feature"),
		Product: "acme", Hour: hour, First: hour.Add(time.Minute),
		Starts:   time.Date(2026, 12, 31, 21, 10, 0, 0, time.UTC),
		Quantity: rapid.OneOf(rapid.Int64Range(1, 50), rapid.Int64Range(1, 999_999_999_999_999)).Draw(t, "quantity"),
		Terms: policy.Terms{
			Included: rapid.SampledFrom([]int64{0, 20, 100, policy.Unlimited}).Draw(t, "included"),
			Every:    policy.Period(rapid.IntRange(0, int(policy.Periods)-1).Draw(t, "every")),
			Then:     policy.Then(rapid.IntRange(0, 1).Draw(t, "then")), Since: hour.Truncate(12 * time.Hour),
			Dimension: rapid.SampledFrom([]string{"", "d1", "d2"}).Draw(t, "dimension"),
			Per:       rapid.SampledFrom([]int64{1, 7, 1000}).Draw(t, "per"),
		},
	}
}

func (m *model) send(t *rapid.T) {
	due, err := m.ledger.Due(t.Context(), m.now, rapid.IntRange(1, 10).Draw(t, "n"))
	must(t, err)
	if len(due) == 0 {
		return
	}
	must(t, m.ledger.Sending(t.Context(), m.now, due))
	for _, r := range due {
		if !m.now.Before(r.Deadline) {
			t.Fatalf("%s is due after its deadline", r.ID)
		}
		m.leave(t, r)
		r.Ambiguous, r.State = r.Ambiguous || r.State == metering.Sent, metering.Sent
		m.flying = append(m.flying, r)
	}
}

// leave checks what leaves: the same at every attempt, one quantity for an hour (BILLING B10).
func (m *model) leave(t *rapid.T, r metering.Record) {
	key := fmt.Sprint(r.License, r.Dimension, r.Timestamp.Truncate(time.Hour))
	before, found := m.left[key]
	if found && (before.Quantity != r.Quantity || before.Timestamp != r.Timestamp || before.ID != r.ID || before.Account != r.Account) {
		t.Fatalf("left as %+v, now as %+v", before, r)
	}
	m.left[key] = r
	if r.License.Kind() == policy.KindDirect {
		t.Fatalf("a direct customer's record left: %+v", r)
	}
}

func (m *model) answer(t *rapid.T) {
	if len(m.flying) == 0 {
		return
	}
	outcomes := make([]metering.Outcome, len(m.flying))
	for i := range outcomes {
		outcomes[i] = metering.Outcome{
			Answer: metering.Answer(rapid.IntRange(0, int(metering.Unavailable)).Draw(t, "answer")),
			Active: rapid.Bool().Draw(t, "active"),
		}
	}
	rows, err := m.ledger.Settle(t.Context(), m.now, m.flying, outcomes)
	must(t, err)
	for _, r := range rows {
		if r.State == metering.Conflict && r.Ambiguous || r.State == metering.Accepted && r.Assumed && !r.Ambiguous {
			t.Fatalf("a duplicate was taken wrongly: %+v", r)
		}
	}
	m.flying = nil
}

func (m *model) expire(t *rapid.T) {
	rows, err := m.ledger.Expire(t.Context(), m.now)
	must(t, err)
	for _, r := range rows {
		if m.now.Before(r.Deadline) || r.State == metering.Rebooked && r.Ambiguous {
			t.Fatalf("ended wrongly at %s: %+v", m.now, r)
		}
	}
}

func (m *model) end(t *rapid.T) {
	key := policy.Key(rapid.SampledFrom([]string{"arn:1", "arn:2"}).Draw(t, "license"))
	must(t, m.ledger.FreezeLicense(t.Context(), m.now, key, m.now.Add(-time.Minute)))
}

// restart is a crash: what is flying is never answered.
func (m *model) restart(t *rapid.T) {
	must(t, m.ledger.Close())
	m.flying = nil
	m.open(t)
}

func (m *model) time(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.OneOf(rapid.IntRange(-30, 60), rapid.IntRange(0, 2000)).Draw(t, "minutes")) * time.Minute)
}

// check holds after every step.
func (m *model) check(t *rapid.T) {
	must(t, ledgertest.Conserved(t.Context(), m.ledger))
	totals, err := m.ledger.Totals(t.Context(), "w")
	must(t, err)
	for _, total := range totals {
		if want := m.counted[string(total.License)+total.Feature]; total.Counted != want {
			t.Fatalf("%s %s: %d counted, want %d", total.License, total.Feature, total.Counted, want)
		}
	}
	rows, err := ledgertest.AllRows(t.Context(), m.ledger)
	must(t, err)
	for _, r := range rows {
		if r.State == metering.Open {
			continue
		}
		before, found := m.frozen[r.ID]
		if found && (before.Quantity != r.Quantity || before.Timestamp != r.Timestamp || before.License != r.License || before.Dimension != r.Dimension) {
			t.Fatalf("a frozen record changed: %+v, now %+v", before, r)
		}
		m.frozen[r.ID] = r.Record
	}
	states, err := m.ledger.States(t.Context())
	must(t, err)
	for _, r := range rows {
		if r.State != metering.Open {
			states[r.State]--
		}
	}
	for state, n := range states {
		if state != metering.Open && n != 0 {
			t.Fatalf("count of %s is wrong by %d", state, n)
		}
	}
}

// fataler is what must needs of a test, of rapid's as well.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
