package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/marketplace"
)

// httpSources are where the answers of listen.http come from.
func (n *node) httpSources(checks http.Handler) api.HTTPSources {
	return api.HTTPSources{
		Entitlements: n.gate, Explainer: n.gate, Tenants: n.cache, Claims: n.claims, Charges: n.gate, Usage: n.meter,
		Checks: checks,
	}
}

// publicSources are what listen.public works with.
func (n *node) publicSources() api.PublicSources {
	products := n.cfg.Policy.Products
	return api.PublicSources{
		Resolver: resolver{n.aws.Registrations(products)}, Licenses: n.cache, Claims: n.claims,
		Redirect: n.cfg.Registration.Redirect,
		SNS:      n.aws.Notifications(n.cfg.Updates.SNS.Topics, products, n.cache.Hint),
	}
}

// resolver resolves tokens in api's words.
type resolver struct {
	registrations *marketplace.Registrations
}

var _ api.Resolver = resolver{}

// Resolve finds out at AWS who a buyer is.
func (r resolver) Resolve(ctx context.Context, token string) (api.Registered, error) {
	found, err := r.registrations.Resolve(ctx, token)
	switch {
	case errors.Is(err, marketplace.ErrTokenExpired):
		return api.Registered{}, fmt.Errorf("%w: %w", api.ErrTokenExpired, err)
	case errors.Is(err, marketplace.ErrTokenInvalid):
		return api.Registered{}, fmt.Errorf("%w: %w", api.ErrTokenInvalid, err)
	case err != nil:
		return api.Registered{}, err
	}
	return api.Registered{Product: found.Product, Account: found.Account, Customer: found.Customer, License: found.License}, nil
}
