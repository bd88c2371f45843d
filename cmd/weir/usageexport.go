package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weirhq/weir/api"
)

// exportPage is how many rows are read at a time: what is written is never held whole.
const exportPage = 1000

// usageExport is `weir usage export`: every row of the ledger, or those that the flags choose, by hour.
func usageExport(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	format := fs.String("format", "csv", "the `FORMAT`: csv, or jsonl, which is a JSON object on each line")
	query := usageFlags(fs)
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	query.Set("limit", strconv.Itoa(exportPage))
	if _, err := api.UsageFilter(query); err != nil {
		return &usageError{err.Error()}
	}
	out := bufio.NewWriter(c.out)
	var write func(api.UsagePage) error
	switch *format {
	case "csv":
		write = csvWriter(out)
	case "jsonl":
		write = jsonWriter(out)
	default:
		return &usageError{fmt.Sprintf("-format takes csv or jsonl, not %q", *format)}
	}
	k, err := newKeeper(c, *file, *at)
	if err != nil {
		return err
	}
	if err := k.eachPage(ctx, query, write); err != nil {
		return err
	}
	return out.Flush()
}

// eachPage reads the ledger page by page, from a running weir or from the disk.
func (k *keeper) eachPage(ctx context.Context, query url.Values, show func(api.UsagePage) error) error {
	for {
		var page api.UsagePage
		err := k.call(ctx, http.MethodGet, "/v1/usage", query, nil, &page, func(disk *stored) (err error) {
			page, err = disk.page(ctx, query)
			for err == nil && page.Next != "" { // the state is open: all but the last page at once
				if err = show(page); err == nil {
					query.Set("after", page.Next)
					page, err = disk.page(ctx, query)
				}
			}
			return err
		})
		if err == nil {
			err = show(page)
		}
		if err != nil || page.Next == "" {
			return err
		}
		query.Set("after", page.Next)
	}
}

// page is a page of the ledger on disk.
func (s *stored) page(ctx context.Context, query url.Values) (api.UsagePage, error) {
	filter, err := api.UsageFilter(query)
	if err != nil {
		return api.UsagePage{}, err
	}
	rows, next, err := s.ledger.Rows(ctx, filter)
	return api.NewUsagePage(rows, next), err
}

// jsonWriter writes rows as GET /v1/usage shows them, one on a line.
func jsonWriter(out io.Writer) func(api.UsagePage) error {
	lines := json.NewEncoder(out)
	return func(page api.UsagePage) error {
		for i := range page.Rows {
			if err := lines.Encode(&page.Rows[i]); err != nil {
				return fmt.Errorf("write rows: %w", err)
			}
		}
		return nil
	}
}

// csvWriter writes rows below a line of their names. Columns are only ever added, at the end.
func csvWriter(out io.Writer) func(api.UsagePage) error {
	table := csv.NewWriter(out)
	begun := false
	return func(page api.UsagePage) error {
		if !begun {
			begun = true
			_ = table.Write([]string{ // Error tells
				"id", "license", "dimension", "hour", "state", "quantity", "timestamp", "late", "assumed", "meteringRecordId", "error",
				"product", "ambiguous",
			})
		}
		for _, r := range page.Rows {
			timestamp := ""
			if !r.Timestamp.IsZero() {
				timestamp = r.Timestamp.Format(time.RFC3339)
			}
			_ = table.Write([]string{ // Error tells
				r.ID, r.License, r.Dimension, r.Hour.Format(time.RFC3339), r.State, r.Quantity.String(), timestamp,
				strconv.FormatBool(r.Late), strconv.FormatBool(r.Assumed), r.MeteringRecordID, r.Error,
				r.Product, strconv.FormatBool(r.Ambiguous),
			})
		}
		table.Flush()
		if err := table.Error(); err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		return nil
	}
}
