package ledgertest

import (
	"time"

	"github.com/weirhq/weir/metering"
)

// checks is a delta of n checks of the minutes since Hour, each of 2 units known and 5 held.
func checks(kind metering.Kind, minute int, n int64, tokens ...uint64) metering.Delta {
	d := Delta(Hour(), 2*n, Bill(1))
	d.Hour, d.First = time.Time{}, time.Time{}
	d.Kind, d.Minute, d.Count, d.Held = kind, minuteAt(minute), n, 5*n
	for _, number := range tokens {
		d.Tokens = append(d.Tokens, metering.Token{Epoch: 1, Number: number})
	}
	if kind == metering.Issued {
		d.Epoch, d.Turn = 1, uint32(minute+1)
	}
	return d
}

func minuteAt(n int) time.Time { return Hour().Add(time.Duration(n) * time.Minute) }

// moved moves one check.
func moved(from, to int, number uint64) metering.Delta {
	d := checks(metering.Moved, from, 1, number)
	d.To = minuteAt(to)
	return d
}

// waiting is how the checks stand.
type waiting struct {
	Issued, Resolved int64
	Cells            []metering.PendingCell
}

func (s *suite) waits(want waiting) {
	s.Helper()
	for i := range want.Cells {
		want.Cells[i].Terms = Bill(1)
	}
	totals, err := s.ledger.Totals(s.Context(), "w")
	s.ok(err)
	if len(totals) != 1 {
		s.Fatalf("%d totals", len(totals))
	}
	s.want("checks", waiting{totals[0].Issued, totals[0].Resolved, totals[0].Pending}, want)
	s.conserved()
}

func (s *suite) checksWait() {
	s.start()
	total := s.commit(checks(metering.Issued, 0, 3), checks(metering.Issued, 1, 1), checks(metering.Resolved, 0, 1, 7))
	s.want("counted", total.Counted, int64(0))
	s.want("turns", total.Turns, []metering.Turn{{Epoch: 1, Turn: 2, Minute: minuteAt(1)}})
	s.waits(waiting{4, 1, []metering.PendingCell{
		{Minute: minuteAt(0), Count: 2, Units: 4, Held: 10},
		{Minute: minuteAt(1), Count: 1, Units: 2, Held: 5},
	}})
	s.commit(checks(metering.Resolved, 0, 2, 8, 9), Delta(Hour(), 4, Bill(1)))
	s.waits(waiting{4, 3, []metering.PendingCell{{Minute: minuteAt(1), Count: 1, Units: 2, Held: 5}}})
	total = s.commit(checks(metering.Settled, 1, 1))
	s.want("settled", total.Settled, minuteAt(1))
	s.want("counted", total.Counted, int64(4))
	s.waits(waiting{Issued: 4, Resolved: 4})
	s.want("turns", len(total.Turns), 0)
}

// checksApart keeps checks of other terms, licenses and features apart.
func (s *suite) checksApart() {
	s.start()
	other := checks(metering.Issued, 0, 2)
	other.Terms = Bill(7)
	s.commit(checks(metering.Issued, 0, 1), other)
	other.Feature = "tokens"
	total := s.commit(other)
	s.want("checks of the other feature", total.Issued, int64(2))
	totals, err := s.ledger.Totals(s.Context(), "w")
	s.ok(err)
	s.want("cells", len(totals[0].Pending), 2)
	s.want("terms", totals[0].Pending[1].Terms, Bill(7))
}

func (s *suite) checksMove() {
	s.start()
	s.commit(checks(metering.Issued, 0, 2))
	s.commit(moved(0, 3, 7))
	s.commit(moved(3, 5, 7))
	s.waits(waiting{2, 0, []metering.PendingCell{
		{Minute: minuteAt(0), Count: 1, Units: 2, Held: 5},
		{Minute: minuteAt(5), Count: 1, Units: 2, Held: 5, Moved: metering.Tokens{{Epoch: 1, Number: 7}}},
	}})
	s.commit(checks(metering.Resolved, 5, 1, 7))
	s.waits(waiting{2, 1, []metering.PendingCell{{Minute: minuteAt(0), Count: 1, Units: 2, Held: 5}}})
}

// checksRepeated is a commit without an answer that is made again.
func (s *suite) checksRepeated() {
	s.start()
	deltas := []metering.Delta{checks(metering.Issued, 0, 2), checks(metering.Resolved, 0, 1, 7)}
	for range 2 {
		_, err := s.ledger.Commit(s.Context(), "w", 1, deltas)
		s.ok(err)
	}
	s.waits(waiting{2, 1, []metering.PendingCell{{Minute: minuteAt(0), Count: 1, Units: 2, Held: 5}}})
}

// checksUnknown are ended by a process that let them through before the ledger was a new one.
func (s *suite) checksUnknown() {
	s.start()
	s.commit(checks(metering.Resolved, 0, 3, 7, 8, 9))
	s.waits(waiting{Issued: 3, Resolved: 3})
}

func (s *suite) tokensUsed() {
	s.start()
	s.commit(checks(metering.Issued, 0, 4), checks(metering.Resolved, 0, 2, 7, 1<<63), moved(0, 90, 4096))
	blocks, forgotten, err := s.ledger.Tokens(s.Context())
	s.ok(err)
	s.want("forgotten", forgotten.IsZero(), true)
	got := map[uint64]time.Time{}
	for _, b := range blocks {
		s.want("epoch", b.Epoch, uint64(1))
		for i := range 64 * uint64(len(b.Used)) {
			if b.Used[i/64]&(1<<(i%64)) != 0 {
				got[b.First+i] = b.Minute
			}
		}
	}
	s.want("used", got, map[uint64]time.Time{7: minuteAt(0), 1 << 63: minuteAt(0), 4096: minuteAt(90)})

	s.ok(s.ledger.ForgetTokens(s.Context(), minuteAt(0)))
	blocks, _, err = s.ledger.Tokens(s.Context())
	s.ok(err)
	s.want("blocks kept", len(blocks), 3)
	s.ok(s.ledger.ForgetTokens(s.Context(), minuteAt(1)))
	blocks, forgotten, err = s.ledger.Tokens(s.Context())
	s.ok(err)
	s.want("blocks that are younger", len(blocks), 1)
	s.want("forgotten", forgotten, minuteAt(1))
	s.ok(s.ledger.ForgetTokens(s.Context(), minuteAt(0).Add(-time.Hour)))
	_, forgotten, err = s.ledger.Tokens(s.Context())
	s.ok(err)
	s.want("forgotten after a step back", forgotten, minuteAt(1))
}

// lastHour counts what was let through before a license's end, and served after the hour of it.
func (s *suite) lastHour() {
	s.start()
	hour := Hour().Add(-5 * time.Hour)
	ends := hour.Add(59 * time.Minute)
	late := Delta(hour.Add(time.Hour), 3, Bill(1))
	late.Ends = ends
	s.commit(late)
	s.want("before the last freeze", s.briefs(), []brief{{hour, 3, metering.Open, false}})
	s.ok(s.ledger.FreezeLicense(s.Context(), ends.Add(3*time.Minute), License, ends))
	total := s.commit(late)
	s.want("closed", total.Closed, hour.Add(2*time.Hour))
	s.want("after it", s.briefs(), []brief{{hour, 3, metering.Frozen, false}, {hour.Add(2 * time.Hour), 3, metering.Open, true}})
}
