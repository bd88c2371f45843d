package ledgertest

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// lose lets the record of an hour be answered, and returns its row.
func (s *suite) lose(hour time.Time, o metering.Outcome) metering.Row {
	s.Helper()
	now := hour.Add(66 * time.Minute)
	r := s.sent(now, s.frozen(hour))
	s.settle(now, r, o)
	return s.row(r.ID)
}

func (s *suite) rebook() {
	for name, lose := range map[string]func() metering.Row{
		"conflict": func() metering.Row {
			return s.lose(Hour(), metering.Outcome{Answer: metering.Duplicate, Error: "DuplicateRecord"})
		},
		"refused": func() metering.Row { return s.lose(Hour(), metering.Outcome{Answer: metering.NotSubscribed}) },
		"expired": func() metering.Row {
			r := s.lose(Hour(), metering.Outcome{})
			s.expire(r.Deadline.Add(time.Hour))
			return s.row(r.ID)
		},
	} {
		s.start()
		lost := lose()
		s.want(name+": state", string(lost.State), name)
		now := Hour().Add(30 * time.Hour)
		got, err := s.ledger.Rebook(s.Context(), now, lost.ID)
		s.ok(err)
		s.conserved()
		s.want(name+": row", s.row(lost.ID), got)
		s.want(name+": rows", s.briefs(), []brief{
			{Hour(), 3, metering.Rebooked, false},
			{now.Truncate(time.Hour), 3, metering.Open, true},
		})
		totals, err := s.ledger.Totals(s.Context(), "")
		s.ok(err)
		s.want(name+": counted", totals[0].Counted, int64(3))
		if _, err := s.ledger.Rebook(s.Context(), now, lost.ID); !errors.Is(err, metering.ErrNotLost) {
			s.Errorf("%s: rebooked again: got %v, want ErrNotLost", name, err)
		}
		s.conserved()
	}
}

func (s *suite) notRebooked() {
	s.start()
	now := Hour().Add(66 * time.Minute)
	if _, err := s.ledger.Rebook(s.Context(), now, "nonsense"); !errors.Is(err, metering.ErrNoRow) {
		s.Errorf("unknown id: got %v, want ErrNoRow", err)
	}
	s.commit(Delta(Hour(), 3, Bill(1)))
	open := s.rows()[0]
	s.freeze(now)
	key := metering.ZeroKey{License: License, Account: "111122223333", Product: "acme", Dimension: "tokens", Hour: Hour()}
	s.ok(s.ledger.Freeze(s.Context(), now, []metering.ZeroKey{key}))
	for _, r := range s.due(now) {
		s.settle(now, s.sent(now, r), metering.Outcome{Answer: metering.NotSubscribed})
		if _, err := s.ledger.Rebook(s.Context(), now, r.ID); r.Quantity == 0 && !errors.Is(err, metering.ErrNotLost) {
			s.Errorf("a record of 0: got %v, want ErrNotLost", err)
		} else if r.Quantity != 0 {
			s.ok(err)
		}
	}
	again := s.rows()
	if _, err := s.ledger.Rebook(s.Context(), now, again[len(again)-1].ID); !errors.Is(err, metering.ErrNotLost) {
		s.Errorf("an open row: got %v, want ErrNotLost", err)
	}

	s.start()
	lost := s.lose(Hour(), metering.Outcome{Answer: metering.NotSubscribed})
	s.want("id", lost.ID, open.ID)
	ends := now.Add(10 * time.Minute)
	s.ok(s.ledger.FreezeLicense(s.Context(), ends.Add(time.Minute), License, ends))
	if _, err := s.ledger.Rebook(s.Context(), now.Add(time.Hour), lost.ID); !errors.Is(err, metering.ErrEnded) {
		s.Errorf("a license that ended: got %v, want ErrEnded", err)
	}
	late := Delta(Hour().Add(time.Hour), 5, Bill(1))
	late.Ends = ends
	s.commit(late)
	s.freeze(now.Add(2 * time.Hour))
	for _, r := range s.rows() {
		if _, err := s.ledger.Rebook(s.Context(), now, r.ID); r.State == metering.Stranded && !errors.Is(err, metering.ErrEnded) {
			s.Errorf("a stranded row: got %v, want ErrEnded", err)
		}
	}
	s.conserved()
}

func (s *suite) otherWriter() {
	s.start()
	lost := s.lose(Hour(), metering.Outcome{Answer: metering.Duplicate})
	now := Hour().Add(66 * time.Minute)
	writers := func() []metering.OtherWriter {
		found, err := s.ledger.OtherWriters(s.Context())
		s.ok(err)
		return found
	}
	s.want("signs", writers(), []metering.OtherWriter{{Product: "acme", Since: now, Conflicts: 1, Record: lost.ID}})
	zero := func(product string) int {
		key := metering.ZeroKey{License: License, Product: product, Dimension: "of " + product, Hour: Hour()}
		s.ok(s.ledger.Freeze(s.Context(), now, []metering.ZeroKey{key}))
		return len(s.due(now))
	}
	s.want("records of 0", zero("acme"), 0)
	s.want("records of 0 of another product", zero("zenith"), 1)

	s.settle(now, s.sent(now, s.one(s.due(now))), metering.Outcome{Answer: metering.Success})
	second := s.lose(Hour().Add(time.Hour), metering.Outcome{Answer: metering.Duplicate})
	s.want("conflicts", writers()[0].Conflicts, int64(2))
	if second.ID == writers()[0].Record {
		s.Error("the sign names the last record, want the first")
	}
	was, found, err := s.ledger.Acknowledge(s.Context(), "acme")
	s.ok(err)
	s.want("acknowledged", found && was.Conflicts == 2, true)
	s.want("signs after it", len(writers()), 0)
	s.want("records of 0 after it", zero("acme"), 1)
	_, found, err = s.ledger.Acknowledge(s.Context(), "acme")
	s.ok(err)
	s.want("acknowledged again", found, false)

	s.start()
	r := s.sent(now, s.frozen(Hour()))
	s.settle(now, r, metering.Outcome{})
	s.settle(now, s.row(r.ID).Record, metering.Outcome{Answer: metering.Duplicate})
	s.want("signs after a duplicate of our own", len(writers()), 0)
}

func (s *suite) zeroEnds() {
	s.start()
	ends := Hour().Add(61 * time.Minute)
	key := metering.ZeroKey{License: License, Product: "acme", Dimension: "calls", Hour: Hour(), Ends: ends}
	now := Hour().Add(66 * time.Minute)
	s.ok(s.ledger.Freeze(s.Context(), now, []metering.ZeroKey{key}))
	r := s.one(s.due(now))
	s.want("deadline", r.Deadline, ends.Add(time.Hour))
	sums, err := s.ledger.Backlog(s.Context())
	s.ok(err)
	s.want("backlog", sums, []metering.Backlog{{Product: "acme", Records: 1, Oldest: Hour(), Deadline: r.Deadline, Ending: r.Deadline}})
}

// zeroMany makes more than a transaction holds, twice.
func (s *suite) zeroMany() {
	s.start()
	const n = 1234
	var keys []metering.ZeroKey
	for i := range n {
		keys = append(keys, metering.ZeroKey{License: policy.Key(fmt.Sprint("arn:", i)), Product: "acme", Dimension: "calls", Hour: Hour()})
	}
	for range 2 {
		s.ok(s.ledger.Freeze(s.Context(), Hour().Add(66*time.Minute), keys))
	}
	s.want("rows", s.states(), map[metering.State]int64{metering.Frozen: n})
}

func (s *suite) presence() {
	s.start()
	got, err := s.ledger.Presence(s.Context())
	s.ok(err)
	s.want("at first", got, metering.Presence{})
	want := metering.Presence{Starts: []time.Time{Hour(), Hour().Add(time.Hour)}, Zeroed: Hour()}
	s.ok(s.ledger.SetPresence(s.Context(), want))
	got, err = s.ledger.Presence(s.Context())
	s.ok(err)
	s.want("kept", got, want)
}
