package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// billTimeout is how long the closed hour may take to be billed. weir sees the clock
// move at its third look (3 s) and sends within 2 s of closing the hour.
const billTimeout = 15 * time.Second

// billLine is what one license was served, and what AWS bills for it.
type billLine struct {
	Tenant   string `json:"tenant"`
	License  string `json:"license"`
	Served   int64  `json:"served"`   // calls, by the application's own count
	Included int64  `json:"included"` // of these, covered by the plan
	Bill     int64  `json:"bill"`     // what AWS would bill
}

// owed is what has to be on the bill.
func (l billLine) owed() int64 { return l.Served - l.Included }

// bill closes the hour by moving AWS's clock, and holds AWS's bill against what the
// application served.
func (d *play) bill(ctx context.Context) error {
	now, err := d.stage.Clock(ctx)
	if err != nil {
		return err
	}
	// An hour is closed 5 minutes after it ends.
	ahead := now.Truncate(time.Hour).Add(66 * time.Minute).Sub(now).Round(time.Second)
	if err := d.stage.Advance(ctx, ahead); err != nil {
		return err
	}
	d.say("\n5. AWS's clock moves on by %s: the hour closes, and its usage is sent", ahead)
	deadline := time.Now().Add(billTimeout)
	for !d.agrees(ctx) && time.Now().Before(deadline) && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "TENANT\tSERVED BY THE APPLICATION\tINCLUDED\tTO BE BILLED\tAWS'S BILL\t")
	for _, l := range d.report.Bill {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", l.Tenant, l.Served, l.Included, l.owed(), l.Bill)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !d.report.Agree {
		return withHint(errors.New("compare the bill: it is not what the application served"),
			"`weir demo -keep` leaves everything running; /v1/usage on weir's admin address shows the ledger")
	}
	d.say("\nWhat AWS would bill is what the application served beyond the plans, to the unit.")
	return nil
}

// agrees reads both counts anew and compares them.
func (d *play) agrees(ctx context.Context) bool {
	served := d.stage.App.Served(func(path string) bool { return strings.HasPrefix(path, "/v1/reports/") })
	bill, err := d.stage.Bill(ctx)
	if err != nil {
		return false
	}
	billed := map[string]int64{}
	for _, b := range bill {
		billed[b.License] += int64(b.Quantity)
	}
	d.report.Bill, d.report.Agree = nil, true
	for _, buyer := range []struct{ tenant, license string }{{"initech", initech}, {"globex", globex}, {"hooli", hooli}} {
		n := served[buyer.license]
		l := billLine{
			Tenant: buyer.tenant, License: buyer.license,
			Served: n, Included: min(n, includedADay), Bill: billed[buyer.license],
		}
		d.report.Bill = append(d.report.Bill, l)
		d.report.Agree = d.report.Agree && l.Bill == l.owed()
	}
	return d.report.Agree
}
