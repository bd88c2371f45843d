package marketplace

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// monthEnd is the last hour of a month.
var monthEnd = time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)

// dispatched is one record of 3 units on its way from a ledger to the emulator, whose clock and weir's stand still.
type dispatched struct {
	*world
	now    time.Time
	bought bought
	active bool // what a read of the license shows
}

// newDispatched buys a license that began at an instant, at a time of AWS's.
func newDispatched(t *testing.T, starts, now time.Time) *dispatched {
	t.Helper()
	d := &dispatched{world: newWorld(t), now: now}
	d.clock(starts)
	d.control("POST", "licenses", fmt.Sprintf(`{"product": %q, "account": "111122223333", "starts": %q, "entitlements": [{"dimension": "basic", "value": 1}]}`,
		acmeCode, starts.Format(time.RFC3339)), &d.bought)
	d.clock(now)
	return d
}

func (d *dispatched) clock(now time.Time) {
	d.t.Helper()
	d.control("PUT", "clock", fmt.Sprintf(`{"now": %q}`, now.Format(time.RFC3339)), nil)
}

func (d *dispatched) fault(faults ...string) {
	d.t.Helper()
	for _, f := range faults {
		d.control("POST", "faults", `{"operation": "BatchMeterUsage", `+f+`}`, nil)
	}
}

// other lets another writer send 5 units for the hour.
func (d *dispatched) other(hour time.Time) {
	d.t.Helper()
	r := recordFor(d.bought, "111122223333")
	r.Timestamp, r.Quantity = hour, 5_000_000
	if diff := cmp.Diff([]metering.Answer{metering.Success}, answers(d.t, d.world, r)); diff != "" {
		d.t.Fatal(diff)
	}
}

// send counts 3 units in an hour, freezes it and sends until the row is in a state, or for a while where
// that is one in which it stays.
func (d *dispatched) send(hour time.Time, until metering.State) metering.Row {
	d.t.Helper()
	cfg := metering.DefaultConfig()
	log := slog.New(slog.DiscardHandler)
	place := metering.Place{Region: "eu-central-1", Agreements: map[string]string{"acme": policy.AgreementsConcurrent}}
	now := func() time.Time { return d.now }
	l, err := metering.OpenJournal(filepath.Join(d.t.TempDir(), "ledger.db"), cfg, place, now, log, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	defer l.Close()
	_, err = l.Commit(d.t.Context(), "w", 1, []metering.Delta{{
		License: policy.Key(d.bought.LicenseArn), Account: "111122223333", Product: "acme", Feature: "apiCalls", Hour: hour, Quantity: 3,
		First: hour, Starts: hour.Add(-24 * time.Hour), Terms: policy.Terms{Then: policy.ThenBill, Dimension: "calls", Per: 1},
	}})
	if err == nil {
		err = l.Freeze(d.t.Context(), hour.Add(66*time.Minute), nil)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	reread := func(context.Context, policy.Key) (bool, error) { return d.active, nil }
	dispatcher := metering.NewDispatcher(time.Second, l, d.Usage(testProducts()), reread, now, log)
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	go func() { done <- dispatcher.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	}()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		rows, _, err := l.Rows(d.t.Context(), metering.Filter{})
		if err != nil || len(rows) != 1 {
			d.t.Fatalf("rows %+v: %v", rows, err)
		}
		stays := until == metering.Frozen && time.Since(began) < 2*time.Second
		if rows[0].State == until && !stays || time.Since(began) > time.Minute {
			return rows[0]
		}
	}
}

// billed is what AWS would bill of the license.
func (d *dispatched) billed() (units []float64) {
	d.t.Helper()
	var bill []struct{ Quantity float64 }
	d.control("GET", "bill", "", &bill)
	for _, line := range bill {
		units = append(units, line.Quantity)
	}
	return units
}

func TestB12EveryFaultEndsInOneRowAndOneLineOfTheBill(t *testing.T) {
	hour := monthEnd.Add(-20 * time.Hour)
	at, earlier := hour.Add(66*time.Minute), hour.Add(-100*time.Hour)
	for name, test := range map[string]struct {
		faults  []string
		before  func(*dispatched)
		active  bool
		state   metering.State
		assumed bool
		bill    []float64
	}{
		"none":                               {state: metering.Accepted, bill: []float64{3}},
		"carried out, the answer lost":       {faults: []string{`"kind": "ambiguous"`}, state: metering.Accepted, bill: []float64{3}},
		"the same, then called a duplicate":  {faults: []string{`"kind": "ambiguous"`, `"kind": "duplicate"`}, state: metering.Accepted, assumed: true, bill: []float64{3}},
		"lost thrice":                        {faults: []string{`"kind": "ambiguous", "count": 3`}, state: metering.Accepted, bill: []float64{3}},
		"not carried out, disconnected":      {faults: []string{`"kind": "disconnect", "count": 2`}, state: metering.Accepted, bill: []float64{3}},
		"an error of AWS's own":              {faults: []string{`"kind": "internal", "count": 2`}, state: metering.Accepted, bill: []float64{3}},
		"throttled":                          {faults: []string{`"kind": "throttle", "count": 3`}, state: metering.Accepted, bill: []float64{3}},
		"unprocessed":                        {faults: []string{`"kind": "unprocessed", "count": 2`}, state: metering.Accepted, bill: []float64{3}},
		"slow":                               {faults: []string{`"kind": "slow"`}, state: metering.Accepted, bill: []float64{3}},
		"disabled for a while":               {faults: []string{`"kind": "disabled", "count": 2`}, state: metering.Accepted, bill: []float64{3}},
		"not permitted":                      {faults: []string{`"kind": "error", "code": "AccessDeniedException", "count": -1`}, state: metering.Frozen},
		"a dimension that AWS does not know": {faults: []string{`"kind": "error", "code": "InvalidUsageDimensionException", "count": -1`}, state: metering.Blocked},
		"another writer was first":           {before: func(d *dispatched) { d.other(hour) }, state: metering.Conflict, bill: []float64{5}},
		"suspended, and a read agrees":       {before: suspend, state: metering.Refused},
		"suspended, and a read shows it":     {before: suspend, active: true, state: metering.Blocked},
		"ended for more than an hour":        {before: end, state: metering.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDispatched(t, earlier, at)
			d.active = test.active
			if test.before != nil {
				test.before(d)
			}
			d.fault(test.faults...)
			row := d.send(hour, test.state)
			if row.State != test.state || row.Assumed != test.assumed || row.Quantity != 3_000_000 {
				t.Errorf("got %+v, want %s, assumed %v", row, test.state, test.assumed)
			}
			if diff := cmp.Diff(test.bill, d.billed()); diff != "" {
				t.Errorf("bill (-want +got):\n%s", diff)
			}
		})
	}
}

func suspend(d *dispatched) { d.control("POST", "licenses/"+d.bought.ID+"/suspend", "", nil) }

// end cancels the license two hours ago, which AWS's clock has to be told of in order.
func end(d *dispatched) {
	d.clock(d.now.Add(-2 * time.Hour))
	d.control("POST", "licenses/"+d.bought.ID+"/cancel", "", nil)
	d.clock(d.now)
}

func TestB13AWSTakesWhatWeirSendsUntilTheLastSecondAndWeirSendsNothingAfter(t *testing.T) {
	middle := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		hour, now time.Time
		state     metering.State
	}{
		"before 24 h":                  {middle, middle.Add(24*time.Hour - time.Second), metering.Accepted},
		"at 24 h":                      {middle, middle.Add(24 * time.Hour), metering.Frozen},
		"before 06:00 on the 1st":      {monthEnd, monthEnd.Add(7*time.Hour - time.Second), metering.Accepted},
		"at 06:00 on the 1st":          {monthEnd, monthEnd.Add(7 * time.Hour), metering.Frozen},
		"of the new month at 06:00":    {monthEnd.Add(time.Hour), monthEnd.Add(7 * time.Hour), metering.Accepted},
		"early on the last of a month": {monthEnd.Add(-23 * time.Hour), monthEnd.Add(59 * time.Minute), metering.Accepted},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDispatched(t, test.hour.Add(-100*time.Hour), test.now)
			if row := d.send(test.hour, test.state); row.State != test.state {
				t.Errorf("got %+v, want %s", row, test.state)
			}
			sent := 0
			if test.state == metering.Accepted {
				sent = 1
			}
			if got := d.calls("BatchMeterUsage"); got != sent {
				t.Errorf("%d calls, want %d", got, sent)
			}
		})
	}
}

func TestB10ARecordFromBeforeTheLicenseBeganIsBlockedNotLost(t *testing.T) {
	hour := monthEnd.Add(-20 * time.Hour)
	d := newDispatched(t, hour.Add(30*time.Minute), hour.Add(66*time.Minute))
	row := d.send(hour, metering.Blocked)
	if row.State != metering.Blocked || row.Error == "" {
		t.Errorf("got %+v, want it blocked with AWS's reason", row)
	}
}
