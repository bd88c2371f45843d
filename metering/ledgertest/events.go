package ledgertest

import (
	"fmt"
	"time"

	"github.com/weirhq/weir/metering"
)

// reported is a delta with usage events.
func reported(seen time.Time, ids ...string) metering.Delta {
	d := Delta(Hour(), int64(len(ids)), Bill(1))
	d.Seen = seen
	for _, id := range ids {
		d.Events = append(d.Events, metering.NewEventID("test", id))
	}
	return d
}

func (s *suite) recall(now time.Time, ids ...string) metering.Memory {
	s.Helper()
	asked := make([]metering.EventID, len(ids))
	for i, id := range ids {
		asked[i] = metering.NewEventID("test", id)
	}
	memory, err := s.ledger.Recall(s.Context(), now, asked)
	s.ok(err)
	return memory
}

func (s *suite) forget(now time.Time) {
	s.Helper()
	s.ok(s.ledger.Forget(s.Context(), now))
}

func (s *suite) eventsKnown() {
	s.start()
	s.want("none", s.recall(Hour(), "a"), metering.Memory{Known: []bool{false}})
	s.commit(reported(Hour(), "a", "b"))
	s.want("some", s.recall(Hour(), "c", "a", "b"), metering.Memory{Known: []bool{false, true, true}, Held: 2, Oldest: Hour()})
	s.commit(reported(Hour().Add(time.Hour), "c"))
	s.want("more", s.recall(Hour(), "c", "d"), metering.Memory{Known: []bool{true, false}, Held: 3, Oldest: Hour()})
}

// eventsOnce commits the same events again, as after a commit whose outcome was lost, and events whose units
// were not added.
func (s *suite) eventsOnce() {
	s.start()
	for range 2 {
		_, err := s.ledger.Commit(s.Context(), "w", 7, []metering.Delta{reported(Hour(), "a", "b")})
		s.ok(err)
	}
	_, err := s.ledger.Commit(s.Context(), "w", 7, []metering.Delta{reported(Hour(), "c")})
	s.ok(err)
	s.want("memory", s.recall(Hour(), "a", "c"), metering.Memory{Known: []bool{true, false}, Held: 2, Oldest: Hour()})
}

func (s *suite) eventsForgotten() {
	s.start()
	const many = 7000 // more than a transaction forgets
	ids := make([]string, many)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	s.commit(reported(Hour().Add(500*time.Millisecond), ids...))
	s.commit(reported(Hour().Add(time.Hour), "later"))
	end := Hour().Add(48 * time.Hour)
	s.forget(end)
	s.want("before 48 h", s.recall(end, "0", "later"), metering.Memory{Known: []bool{true, true}, Held: many + 1, Oldest: Hour().Add(time.Second)})
	end = end.Add(time.Second)
	s.want("after 48 h", s.recall(end, "0", "later").Known, []bool{false, true})
	s.commit(reported(end, "0"))
	s.forget(end)
	s.want("forgotten", s.recall(end, "0", "1", "later"), metering.Memory{Known: []bool{true, false, true}, Held: 2, Oldest: Hour().Add(time.Hour)})
	s.forget(end.Add(100 * time.Hour))
	s.want("all forgotten", s.recall(end, "0"), metering.Memory{Known: []bool{false}})
}

// frozenElse counts what was reported for a frozen hour in the hour that its delta names.
func (s *suite) frozenElse() {
	s.start()
	s.freeze(Hour().Add(66 * time.Minute))
	d := reported(Hour(), "a")
	d.Else = Hour().Add(3 * time.Hour)
	open := reported(Hour(), "b")
	open.Hour, open.Else = Hour().Add(time.Hour), d.Else
	s.commit(d, open)
	s.want("rows", s.briefs(), []brief{
		{Hour().Add(time.Hour), 1, metering.Open, false},
		{Hour().Add(3 * time.Hour), 1, metering.Open, true},
	})
}
