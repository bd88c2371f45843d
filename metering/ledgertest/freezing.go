package ledgertest

import (
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

func (s *suite) frozenHour() {
	s.start()
	s.freeze(Hour().Add(66 * time.Minute))
	s.commit(Delta(Hour(), 3, Bill(1)))
	s.freeze(Hour().Add(-24 * time.Hour)) // a step back opens nothing
	s.commit(Delta(Hour().Add(-24*time.Hour), 4, Bill(1)))
	s.want("rows", s.briefs(), []brief{{Hour().Add(time.Hour), 7, metering.Open, true}})
}

func (s *suite) unchanged() {
	s.start()
	r := s.frozen(Hour())
	s.want("record", r, metering.Record{
		ID: r.ID, Product: "acme", License: License, Account: "111122223333", Dimension: "calls", Timestamp: Hour(),
		Quantity: 3 * millionths, Deadline: Hour().Add(7 * time.Hour), State: metering.Frozen,
	})
	late := Delta(Hour(), 5, Bill(1))
	late.Account = "999988887777"
	s.commit(late)
	s.freeze(Hour().Add(67 * time.Minute))
	s.want("record after more usage", s.row(r.ID).Record, r)
}

// oneQuantity lets two features be billed in the same dimension in the same hour.
func (s *suite) oneQuantity() {
	s.start()
	other := Delta(Hour(), 4, Bill(1))
	other.Feature = "tokens"
	s.commit(Delta(Hour(), 3, Bill(1)), Delta(Hour(), 2, Bill(2)), other)
	for i := range 3 {
		s.freeze(Hour().Add(time.Duration(i)*time.Hour + 66*time.Minute))
	}
	s.want("rows", s.briefs(), []brief{
		{Hour(), 3, metering.Frozen, false},
		{Hour().Add(time.Hour), 1, metering.Frozen, true},
		{Hour().Add(2 * time.Hour), 4, metering.Frozen, true},
	})
}

func (s *suite) begin() {
	s.start()
	d := Delta(Hour(), 1, Bill(2))
	d.Starts = Hour().Add(10*time.Minute + 300*time.Millisecond)
	d.First = Hour().Add(20 * time.Minute)
	s.commit(d)
	d.First = Hour().Add(40 * time.Minute)
	s.commit(d)
	d.Hour, d.Quantity = Hour().Add(time.Hour), 2
	d.First = d.Hour.Add(time.Minute)
	s.commit(d)
	s.freeze(Hour().Add(126 * time.Minute))
	var stamps []time.Time
	for _, r := range s.rows() {
		stamps = append(stamps, r.Timestamp)
	}
	s.want("timestamps", stamps, []time.Time{Hour().Add(20 * time.Minute), Hour().Add(time.Hour)})

	early := Delta(Hour().Add(3*time.Hour), 1, Bill(1))
	early.License, early.Starts, early.First = License+"2", early.Hour.Add(1500*time.Millisecond), early.Hour.Add(time.Second)
	s.commit(early)
	rows := s.rows()
	s.want("timestamp of a count in the second of the begin", rows[len(rows)-1].Timestamp, early.Hour.Add(2*time.Second))
}

// beginOnce counts as a process does that was killed before it wrote down what it knew of a license:
// first it knows nothing of it, then it sees it for the first time.
func (s *suite) beginOnce() {
	s.start()
	d := Delta(Hour(), 1, Bill(1))
	d.Starts, d.First = Hour().Add(10*time.Minute), Hour().Add(20*time.Minute)
	s.commit(d)
	unknown := metering.Delta{
		License: d.License, Feature: d.Feature, Hour: Hour(), Quantity: 1, First: Hour().Add(30 * time.Minute), Terms: d.Terms,
	}
	s.commit(unknown)
	again := Delta(Hour().Add(time.Hour), 1, Bill(1))
	again.Starts, again.First = again.Hour.Add(5*time.Minute), again.Hour.Add(5*time.Minute)
	s.commit(again)
	s.freeze(Hour().Add(126 * time.Minute))
	rows := s.rows()
	if len(rows) != 2 {
		s.Fatalf("%d rows", len(rows))
	}
	s.want("timestamp of the first hour", rows[0].Timestamp, d.First)
	s.want("timestamp of the second hour", rows[1].Timestamp, again.Hour)
	s.want("whose it is", []string{rows[0].Product, rows[0].Account}, []string{d.Product, d.Account})
}

func (s *suite) beginAgain() {
	s.start()
	d := Delta(Hour(), 1, Bill(1))
	d.Ends = Hour().Add(10 * time.Minute)
	s.commit(d)
	unknown := metering.Delta{License: d.License, Feature: d.Feature, Kind: metering.Issued, Minute: Hour(), Terms: d.Terms, Count: 1}
	s.commit(unknown)
	s.want("end that was known", s.rows()[0].Deadline, d.Ends.Add(time.Hour))
	d.Ends = time.Time{}
	d.Hour = Hour().Add(time.Hour)
	d.Starts, d.First = d.Hour.Add(5*time.Minute), d.Hour.Add(10*time.Minute)
	s.commit(d)
	s.freeze(Hour().Add(126 * time.Minute))
	rows := s.rows()
	s.want("timestamp after the new begin", rows[len(rows)-1].Timestamp, d.First)
}

func (s *suite) wholeHours() {
	s.start()
	s.commit(Delta(Hour(), 3, Bill(1)))
	s.freeze(Hour().Add(65*time.Minute - time.Second))
	s.want("before it closes", s.briefs(), []brief{{Hour(), 3, metering.Open, false}})
	s.freeze(Hour().Add(65 * time.Minute))
	s.want("when it closes", s.briefs(), []brief{{Hour(), 3, metering.Frozen, false}})
}

func (s *suite) deadlines() {
	s.start()
	for name, c := range map[string]struct {
		hour, ends, want time.Time
	}{
		"24 h after the hour":   {Hour().AddDate(0, 0, -10), time.Time{}, Hour().AddDate(0, 0, -9)},
		"06:00 on the 1st":      {Hour().Add(-5 * time.Hour), time.Time{}, Hour().Add(7 * time.Hour)},
		"an hour after the end": {Hour().Add(-3 * time.Hour), Hour(), Hour().Add(time.Hour)},
	} {
		d := Delta(c.hour, 1, Bill(1))
		d.License, d.Ends = policy.Key("arn:"+name), c.ends
		s.commit(d)
		rows, _, err := s.ledger.Rows(s.Context(), metering.Filter{License: d.License})
		s.ok(err)
		if len(rows) != 1 {
			s.Fatalf("%s: %d rows", name, len(rows))
		}
		s.want(name, rows[0].Deadline, c.want)
	}
}

func (s *suite) rebooked() {
	s.start()
	r := s.frozen(Hour())
	terms := Bill(1)
	terms.Included = 1000
	now := r.Deadline
	s.want("due at the deadline", s.due(now), []metering.Record(nil))
	s.want("ended before the deadline", len(s.expire(now.Add(-time.Second))), 0)
	s.want("ended", len(s.expire(now)), 1)
	s.want("ended again", len(s.expire(now)), 0)
	s.want("rows", s.briefs(), []brief{
		{Hour(), 3, metering.Rebooked, false},
		{now.Truncate(time.Hour), 3, metering.Open, true},
	})
}

func (s *suite) ambiguousExpires() {
	s.start()
	r := s.sent(Hour().Add(66*time.Minute), s.frozen(Hour()))
	s.settle(Hour().Add(67*time.Minute), r, metering.Outcome{})
	s.want("ended while an answer may come", len(s.expire(r.Deadline)), 0)
	s.want("ended", len(s.expire(r.Deadline.Add(time.Hour))), 1)
	s.want("rows", s.briefs(), []brief{{Hour(), 3, metering.Expired, false}})
}

func (s *suite) lateExpire() {
	s.start(func(c *metering.Config) { c.Late = metering.LateExpire })
	r := s.frozen(Hour())
	s.expire(r.Deadline)
	s.want("rows", s.briefs(), []brief{{Hour(), 3, metering.Expired, false}})
}

func (s *suite) end() {
	s.start()
	hour := Hour().Add(-3 * time.Hour)
	r := s.frozen(hour)
	s.commit(Delta(hour.Add(2*time.Hour), 4, Bill(1)))
	ends := hour.Add(2*time.Hour + 10*time.Minute)
	now := ends.Add(time.Minute)
	s.ok(s.ledger.FreezeLicense(s.Context(), now, License, ends))
	s.conserved()
	s.want("deadline of what was frozen before", s.row(r.ID).Deadline, ends.Add(time.Hour))
	s.want("due at once", len(s.due(now)), 2)
	late := Delta(hour.Add(2*time.Hour), 5, Bill(1))
	late.Ends = ends
	s.commit(late)
	s.freeze(hour.Add(5 * time.Hour))
	s.expire(ends.Add(time.Hour))
	s.want("rows", s.briefs(), []brief{
		{hour, 3, metering.Expired, false},
		{hour.Add(2 * time.Hour), 4, metering.Expired, false},
		{hour.Add(3 * time.Hour), 5, metering.Stranded, true},
	})
}

func (s *suite) zero() {
	s.start()
	s.commit(Delta(Hour(), 3, Bill(1)))
	key := metering.ZeroKey{License: License, Account: "111122223333", Product: "acme", Dimension: "calls", Hour: Hour()}
	other := key
	other.Dimension = "tokens"
	open := other
	open.Hour = Hour().Add(time.Hour)
	for range 2 {
		s.ok(s.ledger.Freeze(s.Context(), Hour().Add(66*time.Minute), []metering.ZeroKey{key, other, open}))
		s.conserved()
	}
	got := map[string]int64{}
	for _, r := range s.due(Hour().Add(66 * time.Minute)) {
		got[r.Dimension] = r.Quantity / millionths
	}
	s.want("due", got, map[string]int64{"calls": 3, "tokens": 0})
}

func (s *suite) dry() {
	s.start()
	d := Delta(Hour(), 3, Bill(1))
	d.License, d.Product = "direct:bigcorp", ""
	s.commit(d)
	s.freeze(Hour().Add(66 * time.Minute))
	s.want("direct", s.briefs(), []brief{{Hour(), 3, metering.Dry, false}})
	s.want("due", len(s.due(Hour().Add(66*time.Minute))), 0)

	s.start(func(c *metering.Config) { c.Send = false })
	s.commit(Delta(Hour(), 3, Bill(1)))
	s.freeze(Hour().Add(66 * time.Minute))
	s.want("send: false", s.briefs(), []brief{{Hour(), 3, metering.Dry, false}})
}
