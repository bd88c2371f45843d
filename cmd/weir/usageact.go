package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/metering"
)

// usageRebook is `weir usage rebook`: the units of a record that AWS will not bill go to the license's open hour.
func usageRebook(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	var row api.UsageRow
	asJSON, err := usageAct(ctx, c, fs, args, "POST /v1/usage/{id}/rebook",
		func(id string) string { return "/v1/usage/" + url.PathEscape(id) + "/rebook" }, &row,
		func(disk hands, id string) error {
			rebooked, err := disk.Rebook(ctx, id)
			row = api.NewUsageRow(&rebooked)
			return rebookHint(err)
		})
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(c.out).Encode(row)
	}
	fmt.Fprintf(c.out, "rebooked %s: %s units of %s, counted in the hour %s, are sent with the present hour of license %s, marked late\n",
		row.ID, row.Quantity, row.Dimension, row.Hour.Format(time.RFC3339), row.License)
	return nil
}

// rebookHint says what can be done instead.
func rebookHint(err error) error {
	switch {
	case errors.Is(err, metering.ErrNoRow):
		return withHint(err, "`weir usage list` shows the ids")
	case errors.Is(err, metering.ErrNotLost):
		return withHint(err, "only records that are refused, conflict or expired, with units, can be rebooked: `weir usage list -state conflict`")
	case errors.Is(err, metering.ErrEnded):
		return withHint(err, "AWS takes nothing for it any more; `weir usage export` has what to invoice otherwise")
	default:
		return err
	}
}

// usageAck is `weir usage ack`: the conflicts of a product are known and dealt with.
func usageAck(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	var was api.Acknowledged
	asJSON, err := usageAct(ctx, c, fs, args, "POST /v1/products/{product}/ack",
		func(product string) string { return "/v1/products/" + url.PathEscape(product) + "/ack" }, &was,
		func(disk hands, product string) error {
			writer, err := disk.Acknowledge(ctx, product)
			was = api.NewAcknowledged(writer)
			return err
		})
	switch {
	case err != nil:
		return err
	case asJSON:
		return json.NewEncoder(c.out).Encode(was)
	case was.Conflicts == 0:
		fmt.Fprintf(c.out, "product %s has no conflict to acknowledge\n", was.Product)
	default:
		fmt.Fprintf(c.out, "acknowledged %d conflicts of product %s: hours without usage are reported as 0 again, from the next one on\n", was.Conflicts, was.Product)
	}
	return nil
}

// usageAct does one thing with the one argument of a verb, at a running weir or on disk.
func usageAct(ctx context.Context, c *console, fs *flag.FlagSet, args []string, answers string, path func(string) string, out any,
	do func(disk hands, argument string) error,
) (asJSON bool, err error) {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	fs.BoolVar(&asJSON, "json", false, "print JSON, as "+answers+" answers")
	argument, err := parseOne(fs, args)
	if err != nil {
		return false, err
	}
	k, err := newKeeper(c, *file, *at)
	if err != nil {
		return false, err
	}
	return asJSON, k.call(ctx, http.MethodPost, path(argument), nil, nil, out, func(disk *stored) error {
		return do(hands{disk.ledger, k.cfg.Policy.Products, now}, argument)
	})
}
