package ledgertest

import (
	"time"

	"github.com/weirhq/weir/metering"
)

// pruned keeps a row for as long as the configuration says, counted from its end.
func (s *suite) pruned() {
	s.start(func(c *metering.Config) { c.Keep = 48 * time.Hour })
	now := Hour().Add(66 * time.Minute)
	accepted := s.sent(now, s.frozen(Hour()))
	s.settle(now, accepted, metering.Outcome{Answer: metering.Success})
	rebooked := s.frozen(Hour().Add(time.Hour))
	s.expire(rebooked.Deadline)
	direct := Delta(Hour(), 5, Bill(2))
	direct.License = "direct:t"
	s.commit(direct)
	total := s.commit(Delta(rebooked.Deadline, 4, Bill(1)))

	s.prune(now.Add(48*time.Hour - time.Second))
	s.want("rows kept for 48 h", s.states(), map[metering.State]int64{metering.Accepted: 1, metering.Rebooked: 1, metering.Open: 2})
	s.prune(now.Add(48 * time.Hour))
	s.want("rows kept longer", s.states(), map[metering.State]int64{metering.Rebooked: 1, metering.Open: 2})
	s.prune(rebooked.Deadline.Add(48 * time.Hour))
	s.want("rows kept since a later end", s.states(), map[metering.State]int64{metering.Open: 2})

	s.freeze(rebooked.Deadline.AddDate(1, 0, 0))
	s.prune(rebooked.Deadline.AddDate(1, 0, 0))
	s.want("rows that end late are kept as long, others until they end", s.states(), map[metering.State]int64{metering.Dry: 1, metering.Frozen: 1})
	totals, err := s.ledger.Totals(s.Context(), "")
	s.ok(err)
	for _, t := range totals {
		if t.License == License {
			s.want("counted", t.Counted, total.Counted)
			s.want("lines", t.Lines, []metering.Carry{{Dimension: "calls", Per: 1, Pruned: 3}})
		}
	}
}

func (s *suite) prune(now time.Time) {
	s.Helper()
	s.ok(s.ledger.Prune(s.Context(), now))
	s.conserved()
}

// states counts the rows, and checks that the ledger's own count agrees.
func (s *suite) states() map[metering.State]int64 {
	s.Helper()
	counts := map[metering.State]int64{}
	for _, r := range s.rows() {
		counts[r.State]++
	}
	all, err := s.ledger.States(s.Context())
	s.ok(err)
	for state, n := range all {
		s.want("count of "+string(state), n, counts[state])
	}
	return counts
}

// openQuantity shows all that an open hour holds, though a record will hold less.
func (s *suite) openQuantity() {
	s.start()
	const units = 6_000_000_000
	s.commit(Delta(Hour(), units, Bill(1)))
	rows := s.rows()
	s.want("rows", len(rows), 1)
	s.want("quantity", rows[0].Quantity, int64(units)*millionths)
}
