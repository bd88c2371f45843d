package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/metering"
)

// salvaged is what `weir usage salvage -json` prints.
type salvaged struct {
	File string        `json:"file"`
	Rows []salvagedRow `json:"rows"`
	// Waiting are checks of which it was not known yet whether they count.
	Waiting []salvagedChecks `json:"waiting"`
	Unread  []salvageUnread  `json:"unread"`
	// Advice has a sentence for each kind of rows that are there, and one for what could not be read.
	Advice []string `json:"advice"`
}

// salvagedRow is a row as GET /v1/usage shows it, and what a record of it needs beside.
type salvagedRow struct {
	api.UsageRow
	Product  string    `json:"product"`
	Account  string    `json:"account,omitempty"`
	Customer string    `json:"customer,omitempty"`
	Units    int64     `json:"units"`
	Deadline time.Time `json:"deadline"`
	// Billed is how AWS stands to it: yes, no, perhaps, or never where the units are not for AWS.
	Billed string `json:"billed"`
	// Stale tells that it was found where the file was out of use.
	Stale bool `json:"stale"`
}

type salvagedChecks struct {
	License string `json:"license"`
	Feature string `json:"feature"`
	Checks  int64  `json:"checks"`
	// Units are counted ones of the feature, as far as the checks knew them.
	Units int64 `json:"units"`
	Stale bool  `json:"stale"`
}

type salvageUnread struct {
	What   string `json:"what"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// usageSalvage is `weir usage salvage`: what is whole in a ledger that was set aside.
func usageSalvage(_ context.Context, c *console, fs *flag.FlagSet, args []string) error {
	asJSON := fs.Bool("json", false, "print JSON")
	files, err := parse(fs, args, 1)
	if err != nil {
		return err
	}
	found, err := metering.Salvage(files[0])
	if errors.Is(err, os.ErrNotExist) {
		return withHint(err, "damaged ledgers are in the state directory, as ledger.db.corrupt-TIME; the log and /readyz name them")
	} else if err != nil {
		return err
	}
	s := newSalvaged(files[0], found)
	if *asJSON {
		return json.NewEncoder(c.out).Encode(s)
	}
	return s.show(c.out)
}

func newSalvaged(file string, found *metering.Salvaged) *salvaged {
	s := &salvaged{File: file, Rows: []salvagedRow{}, Waiting: []salvagedChecks{}, Unread: []salvageUnread{}, Advice: []string{}}
	units, rows := map[string]int64{}, map[string]int{}
	for i := range found.Rows {
		r := &found.Rows[i]
		shown := salvagedRow{
			UsageRow: api.NewUsagePage([]metering.Row{r.Row}, "").Rows[0], Product: r.Product, Account: r.Account,
			Customer: r.Customer, Units: r.Units, Deadline: r.Deadline.UTC(), Billed: billed(&r.Row), Stale: r.Stale,
		}
		s.Rows = append(s.Rows, shown)
		units[shown.Billed] += r.Units
		rows[shown.Billed]++
	}
	for _, u := range found.Unread {
		s.Unread = append(s.Unread, salvageUnread(u))
	}
	for _, kind := range []string{"no", "perhaps", "yes", "lost"} {
		if rows[kind] > 0 {
			s.Advice = append(s.Advice, fmt.Sprintf("%d units in %d rows: %s", units[kind], rows[kind], advice(kind)))
		}
	}
	for _, w := range found.Waiting {
		s.Waiting = append(s.Waiting, salvagedChecks{string(w.License), w.Feature, w.Checks, w.Units, w.Stale})
		s.Advice = append(s.Advice, fmt.Sprintf("license %s, feature %s: %d checks, of %d counted units, still waited for Envoy's access log: "+
			"whether they were served is not known, and they are in no row.", w.License, w.Feature, w.Checks, w.Units))
	}
	if len(s.Unread) > 0 {
		s.Advice = append(s.Advice, fmt.Sprintf("%d parts can't be read: what was counted there and not sent is in no record here. "+
			"Your application's own logs, or a backup of the state directory, may tell how much it was.", len(s.Unread)))
	}
	return s
}

// billed is how AWS stands to a row's units.
func billed(r *metering.Row) string {
	switch r.State {
	case metering.Accepted:
		return "yes"
	case metering.Sent:
		return "perhaps"
	case metering.Open, metering.Frozen, metering.Blocked:
		if r.Ambiguous {
			return "perhaps"
		}
		return "no"
	case metering.Refused, metering.Conflict, metering.Expired, metering.Stranded:
		return "lost"
	default:
		return "never"
	}
}

// advice says in terms of money what can be done.
func advice(kind string) string {
	switch kind {
	case "no":
		return "AWS was not asked to bill these, and weir will not ask. Until the deadline of a row AWS takes one record for its license, " +
			"dimension and hour: send it yourself with BatchMeterUsage (docs: billing, \"When the disk fails\"). After it only you can invoice the buyer."
	case "perhaps":
		return "AWS may have billed these: an attempt had no clear answer. Sending the very same record (quantity and timestamp) until the deadline bills it " +
			"once and no more; another quantity never counts."
	case "yes":
		return "AWS took these and bills them. Nothing is to be done."
	default:
		return "AWS does not bill these, and did not before the ledger was damaged: the state and what AWS said tell why. Only you can invoice the buyer."
	}
}

// show prints a table, what could not be read, and what can be done.
func (s *salvaged) show(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOUR\tLICENSE\tDIMENSION\tUNITS\tSTATE\tBILLED\tTIMESTAMP\tAWS TAKES IT UNTIL\tNOTE")
	for _, r := range s.Rows {
		note := r.Error
		if r.Stale {
			note = "stale: later changes may be missing " + note
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", r.Hour.Format(time.RFC3339), r.License, r.Dimension, r.Units, r.State, r.Billed,
			r.Timestamp.Format(time.RFC3339), r.Deadline.Format(time.RFC3339), note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, u := range s.Unread {
		where := ""
		if u.Length > 0 {
			where = fmt.Sprintf(" (bytes %d to %d)", u.Offset, u.Offset+u.Length)
		}
		fmt.Fprintf(out, "\ncan't be read: %s%s", u.What, where)
	}
	if len(s.Unread) > 0 {
		fmt.Fprintln(out)
	}
	for _, a := range s.Advice {
		fmt.Fprintf(out, "\n%s\n", a)
	}
	return nil
}
