package ledgertest

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

func (s *suite) marked() {
	s.start()
	now := Hour().Add(66 * time.Minute)
	r := s.sent(now, s.frozen(Hour()))
	s.want("state", r.State, metering.Sent)
	s.want("ambiguous", r.Ambiguous, false)
	s.want("due", len(s.due(now)), 1)
	r = s.sent(now, r)
	s.want("ambiguous after a second attempt", r.Ambiguous, true)
}

func (s *suite) answers() {
	for name, c := range map[string]struct {
		ambiguous bool
		outcome   metering.Outcome
		state     metering.State
		assumed   bool
	}{
		"success":                         {outcome: metering.Outcome{Answer: metering.Success, MeteringRecordID: "m-1"}, state: metering.Accepted},
		"duplicate":                       {outcome: metering.Outcome{Answer: metering.Duplicate}, state: metering.Conflict},
		"duplicate after no answer":       {ambiguous: true, outcome: metering.Outcome{Answer: metering.Duplicate}, state: metering.Accepted, assumed: true},
		"not subscribed":                  {outcome: metering.Outcome{Answer: metering.NotSubscribed}, state: metering.Refused},
		"not subscribed, but active":      {outcome: metering.Outcome{Answer: metering.NotSubscribed, Active: true}, state: metering.Blocked},
		"faulty":                          {outcome: metering.Outcome{Answer: metering.Faulty}, state: metering.Blocked},
		"not recorded":                    {outcome: metering.Outcome{Answer: metering.NotRecorded}, state: metering.Frozen},
		"not recorded after no answer":    {ambiguous: true, outcome: metering.Outcome{Answer: metering.NotRecorded}, state: metering.Sent},
		"unavailable":                     {outcome: metering.Outcome{Answer: metering.Unavailable}, state: metering.Frozen},
		"ambiguous":                       {outcome: metering.Outcome{}, state: metering.Sent},
		"success after an unclear answer": {ambiguous: true, outcome: metering.Outcome{Answer: metering.Success}, state: metering.Accepted},
	} {
		s.start()
		now := Hour().Add(66 * time.Minute)
		r := s.sent(now, s.frozen(Hour()))
		if c.ambiguous {
			s.settle(now, r, metering.Outcome{})
			r = s.row(r.ID).Record
		}
		s.settle(now, r, c.outcome)
		row := s.row(r.ID)
		s.want(name+": state", row.State, c.state)
		s.want(name+": assumed", row.Assumed, c.assumed)
		s.want(name+": id", row.MeteringRecordID, c.outcome.MeteringRecordID)
		s.want(name+": quantity", row.Quantity, r.Quantity)
		states, err := s.ledger.States(s.Context())
		s.ok(err)
		s.want(name+": count of the state", states[c.state], int64(1))
	}
}

func (s *suite) blocked() {
	s.start()
	now := Hour().Add(66 * time.Minute)
	r := s.sent(now, s.frozen(Hour()))
	s.settle(now, r, metering.Outcome{Answer: metering.Faulty, Error: "InvalidUsageDimension"})
	s.want("due at once", len(s.due(now.Add(59*time.Minute))), 0)
	r = s.one(s.due(now.Add(time.Hour)))
	s.want("state", r.State, metering.Blocked)
	r = s.sent(now.Add(time.Hour), r)
	s.settle(now.Add(time.Hour), r, metering.Outcome{Answer: metering.Success})
	s.want("state", s.row(r.ID).State, metering.Accepted)
	s.want("error", s.row(r.ID).Error, "")
}

func (s *suite) retried() {
	s.start()
	now := Hour().Add(66 * time.Minute)
	r := s.sent(now, s.frozen(Hour()))
	s.settle(now, r, metering.Outcome{Answer: metering.Faulty})
	s.want("due before", len(s.due(now)), 0)
	s.ok(s.ledger.Retry(s.Context()))
	r = s.one(s.due(now))
	s.want("state", r.State, metering.Blocked)
	s.settle(now, s.sent(now, r), metering.Outcome{Answer: metering.Faulty})
	s.want("due after another refusal", len(s.due(now)), 0)
}

func (s *suite) conditional() {
	s.start()
	now := Hour().Add(66 * time.Minute)
	frozen := s.frozen(Hour())
	sent := s.sent(now, frozen)
	if err := s.ledger.Sending(s.Context(), now, []metering.Record{frozen}); !errors.Is(err, metering.ErrMoved) {
		s.Errorf("marking a record read in another state: got %v, want ErrMoved", err)
	}
	s.settle(now, sent, metering.Outcome{Answer: metering.Success, MeteringRecordID: "m-1"})
	s.settle(now, sent, metering.Outcome{Answer: metering.NotRecorded})
	s.want("state", s.row(sent.ID).State, metering.Accepted)
}

func (s *suite) fair() {
	s.start()
	for i := range 5 {
		for _, product := range []string{"acme", "zenith"} {
			d := Delta(Hour().Add(time.Duration(i)*time.Hour), 1, Bill(1))
			d.Product, d.License = product, policy.Key("arn:"+product)
			s.commit(d)
		}
	}
	now := Hour().Add(5*time.Hour + 6*time.Minute)
	s.freeze(now)
	records, err := s.ledger.Due(s.Context(), now, 2)
	s.ok(err)
	var got []string
	for _, r := range records {
		got = append(got, fmt.Sprint(r.Product, " ", r.Timestamp.Hour()))
	}
	s.want("due", got, []string{"acme 23", "zenith 23", "acme 0", "zenith 0"})

	sums, err := s.ledger.Backlog(s.Context())
	s.ok(err)
	s.want("backlog", sums, []metering.Backlog{
		{Product: "acme", Records: 5, Oldest: Hour(), Deadline: Hour().Add(7 * time.Hour)},
		{Product: "zenith", Records: 5, Oldest: Hour(), Deadline: Hour().Add(7 * time.Hour)},
	})
}

func (s *suite) pages() {
	s.start()
	for i := range 7 {
		s.commit(Delta(Hour().Add(time.Duration(i)*time.Hour), int64(i+1), Bill(1)))
	}
	s.freeze(Hour().Add(4*time.Hour + 6*time.Minute))
	var units []int64
	for f := (metering.Filter{Limit: 2}); ; {
		rows, next, err := s.ledger.Rows(s.Context(), f)
		s.ok(err)
		for _, r := range rows {
			units = append(units, r.Units)
		}
		if f.After = next; next == "" {
			break
		}
	}
	s.want("units by hour", units, []int64{1, 2, 3, 4, 5, 6, 7})
	for name, c := range map[string]struct {
		filter metering.Filter
		want   int
	}{
		"open":              {metering.Filter{State: metering.Open}, 3},
		"frozen":            {metering.Filter{State: metering.Frozen}, 4},
		"accepted":          {metering.Filter{State: metering.Accepted}, 0},
		"an hour":           {metering.Filter{Hour: Hour().Add(2 * time.Hour)}, 1},
		"an open hour":      {metering.Filter{Hour: Hour().Add(5 * time.Hour)}, 1},
		"a license":         {metering.Filter{License: License}, 7},
		"another license":   {metering.Filter{License: License + "x"}, 0},
		"another dimension": {metering.Filter{Dimension: "tokens"}, 0},
	} {
		rows, _, err := s.ledger.Rows(s.Context(), c.filter)
		s.ok(err)
		s.want(name, len(rows), c.want)
	}
	if _, _, err := s.ledger.Rows(s.Context(), metering.Filter{After: "nonsense"}); !errors.Is(err, metering.ErrNoPage) {
		s.Error("a next of no page is taken")
	}
}
