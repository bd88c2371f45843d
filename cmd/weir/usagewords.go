package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/metering"
)

// loss says in words what a state means for the bill.
type loss struct {
	state metering.State
	what  string // after "N units in M records"
	cure  string
}

// losses are the states in which AWS does not bill, worst first.
func losses() []loss {
	return []loss{
		{
			metering.Conflict,
			"are not billed: AWS already holds another quantity for these hours. First cause: another weir, or another program, sends usage for this seller account",
			"find and end the other writer, then `weir usage ack PRODUCT`; `weir usage rebook ID` moves the units of a record to the license's present hour",
		},
		{
			metering.Expired,
			"are not billed: AWS takes a record for 24 h, until 06:00 UTC on the 1st for the month before, and for an hour after its license's end, and did not answer in time",
			"`weir usage rebook ID` moves the units of a record to the license's present hour",
		},
		{
			metering.Stranded,
			"are not billed: they were counted after the last record of a license that has ended",
			"AWS takes nothing for these licenses any more; `weir usage export -state stranded` has what to invoice otherwise",
		},
		{
			metering.Refused,
			"are not billed: AWS says that the buyer is not subscribed, and a read of the license agrees",
			"once the license is active again, `weir usage rebook ID` moves the units of a record to its present hour; until then AWS takes nothing",
		},
		{
			metering.Blocked,
			"are not billed yet: AWS refuses these records, each for the reason beside it; they are tried again every hour and after a restart, until their deadline",
			"mend what the reason names, the listing's dimension or the license, before the deadline; then they go by themselves",
		},
	}
}

// sum is what rows of one state hold.
type sum struct {
	records    int
	units      int64
	ambiguous  int64 // units that AWS may have, because an attempt had no clear answer
	deadline   time.Time
	products   []string
	identified string // one of them
}

// tellLosses says how many units of the rows AWS does not bill, why, and what can be done.
func tellLosses(out io.Writer, rows []api.UsageRow) {
	sums := map[metering.State]*sum{}
	for i := range rows {
		s := sums[metering.State(rows[i].State)]
		if s == nil {
			s = &sum{}
			sums[metering.State(rows[i].State)] = s
		}
		s.add(&rows[i])
	}
	for _, l := range losses() {
		s := sums[l.state]
		if s == nil {
			continue
		}
		fmt.Fprintf(out, "\n%s: %s in %s %s.\n", l.state, counted(s.units, "unit"), counted(int64(s.records), "record"), l.what)
		if s.ambiguous > 0 {
			fmt.Fprintf(out, "AWS may have %s of them all the same, for an attempt had no clear answer: compare with AWS's usage report before you rebook.\n", counted(s.ambiguous, "unit"))
		}
		if !s.deadline.IsZero() {
			fmt.Fprintf(out, "The earliest deadline is %s.\n", s.deadline.Format(time.RFC3339))
		}
		cure := strings.ReplaceAll(l.cure, "rebook ID", "rebook "+s.identified)
		if len(s.products) == 1 {
			cure = strings.ReplaceAll(cure, "ack PRODUCT", "ack "+s.products[0])
		}
		fmt.Fprintf(out, "hint: %s\n", cure)
	}
}

func (s *sum) add(r *api.UsageRow) {
	units, err := r.Quantity.Int64()
	if err != nil {
		units = 0 // decimal quantities are not sent
	}
	s.records++
	s.units += units
	if r.Ambiguous {
		s.ambiguous += units
	}
	if units > 0 || s.identified == "" {
		s.identified = r.ID
	}
	if !r.Deadline.IsZero() && (s.deadline.IsZero() || r.Deadline.Before(s.deadline)) {
		s.deadline = r.Deadline
	}
	if r.Product != "" && !slices.Contains(s.products, r.Product) {
		s.products = append(s.products, r.Product)
	}
}

// counted writes a number of things.
func counted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
