package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/weirhq/weir/api"
)

// usageList is `weir usage list`: the ledger, from a running weir or from the disk.
func usageList(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	asJSON := fs.Bool("json", false, "print JSON, as GET /v1/usage answers")
	limit := fs.Int("limit", 1000, "at most `N` rows")
	query := usageFlags(fs)
	fs.Func("after", "the page after this `ID`, the `next` of the page before", func(s string) error { query.Set("after", s); return nil })
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	query.Set("limit", strconv.Itoa(*limit))
	if _, err := api.UsageFilter(query); err != nil {
		return &usageError{err.Error()}
	}
	k, err := newKeeper(c, *file, *at)
	if err != nil {
		return err
	}
	var page api.UsagePage
	err = k.call(ctx, http.MethodGet, "/v1/usage", query, nil, &page, func(disk *stored) (err error) {
		page, err = disk.page(ctx, query)
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(c.out).Encode(page)
	}
	return showUsage(c.out, page)
}

// usageFlags are the flags that choose rows, and the query that they make.
func usageFlags(fs *flag.FlagSet) url.Values {
	query := url.Values{}
	for name, what := range map[string]string{
		"license": "only of this license `KEY`", "dimension": "only of this `DIMENSION`",
		"state": "only in this `STATE`: open, frozen, sent, accepted, ...", "hour": "only of this `HOUR`, as 2026-03-10T14:00:00Z",
	} {
		fs.Func(name, what, func(s string) error { query.Set(name, s); return nil })
	}
	return query
}

// showUsage prints rows as a table.
func showUsage(out io.Writer, page api.UsagePage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tHOUR\tLICENSE\tDIMENSION\tQUANTITY\tSTATE\tWHAT AWS SAID")
	for _, r := range page.Rows {
		said := r.MeteringRecordID
		if r.Assumed {
			said += " assumed"
		}
		if r.Error != "" {
			said = r.Error
		}
		if r.Late {
			said += " late"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Hour.Format(time.RFC3339), r.License, r.Dimension, r.Quantity, r.State, said)
	}
	if page.Next != "" {
		fmt.Fprintf(w, "more: -after %s\n", page.Next)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	tellLosses(out, page.Rows)
	return nil
}
