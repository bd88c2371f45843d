package main

import (
	"context"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// hands change a ledger by hand, of a running weir or on disk.
type hands struct {
	ledger   *metering.Journal
	products map[string]policy.Product
	now      func() time.Time
}

var _ api.UsageKeeper = hands{}

// Rebook gives the units of a lost record to the license's open hour.
func (h hands) Rebook(ctx context.Context, id string) (metering.Row, error) {
	return h.ledger.Rebook(ctx, h.now(), id)
}

// Acknowledge forgets the conflicts of a product, of one that is no longer configured as well.
func (h hands) Acknowledge(ctx context.Context, product string) (metering.OtherWriter, error) {
	was, found, err := h.ledger.Acknowledge(ctx, product)
	if _, known := h.products[product]; err == nil && !found && !known {
		return was, api.ErrNoProduct
	}
	was.Product = product
	return was, err
}
