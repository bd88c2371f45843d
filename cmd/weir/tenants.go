package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

func licensesOf(tenant string) string {
	return "/v1/tenants/" + url.PathEscape(tenant) + "/licenses"
}

// tenantsList is `weir tenants list`: who is tied to whom, and what each holds.
func tenantsList(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	asJSON := fs.Bool("json", false, "print JSON, as GET /v1/tenants answers")
	limit := fs.Int("limit", 1000, "at most `N` tenants, 1 to 1000")
	after := fs.String("after", "", "the page after this `TENANT`, the `next` of the page before")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	if *limit < 1 || *limit > 1000 {
		return &usageError{"-limit takes 1 to 1000"}
	}
	k, err := newKeeper(c, *file, *at)
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(*limit)}}
	if *after != "" {
		query.Set("after", *after)
	}
	var page api.TenantPage
	err = k.call(ctx, http.MethodGet, "/v1/tenants", query, nil, &page, func(disk *stored) error {
		page = api.NewTenantPage(disk.cache.Tenants(*after, *limit))
		return nil
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(c.out).Encode(page)
	}
	return showTenants(c.out, page)
}

// showTenants prints a line for each license that a tenant holds.
func showTenants(out io.Writer, page api.TenantPage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TENANT\tTIED TO\tPRODUCTS\tLICENSE\tPLAN\tSTATE")
	for _, t := range page.Tenants {
		to, products := tiedTo(t), "all"
		if len(t.Products) > 0 {
			products = strings.Join(t.Products, ",")
		}
		if len(t.Licenses) == 0 {
			fmt.Fprintf(w, "%s\t%s\t%s\tnone\t\t\n", t.Tenant, to, products)
		}
		for _, l := range t.Licenses {
			state := l.State
			if l.Pinned {
				state += ", pinned"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Tenant, to, products, l.License, l.Plan, state)
		}
	}
	if page.Next != "" {
		fmt.Fprintf(w, "more: -after %s\n", page.Next)
	}
	return w.Flush()
}

func tiedTo(t api.Tenant) string {
	switch {
	case t.Account != "":
		return "account " + t.Account
	case t.Customer != "":
		return "customer " + t.Customer
	case t.Plan != "":
		return "plan " + t.Plan
	default:
		return "a license"
	}
}

// tenantsSet is `weir tenants set`: ties a tenant, in the place of what it was tied to.
func tenantsSet(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	asJSON := fs.Bool("json", false, "print JSON, as PUT /v1/tenants/{tenant}/licenses answers")
	var asked api.TieRequest
	fs.StringVar(&asked.Claim, "claim", "", "tie to the buyer of this `CLAIM`, which the redirect after a registration carries")
	fs.StringVar(&asked.Account, "account", "", "tie to this AWS account `ID`")
	fs.StringVar(&asked.Customer, "customer", "", "tie to this legacy customer `ID`")
	fs.Func("license", "pin this license `KEY`", func(key string) error {
		asked.License = policy.Key(key)
		return nil
	})
	fs.StringVar(&asked.Plan, "plan", "", "make a direct customer with this `PLAN`")
	fs.StringVar(&asked.Product, "product", "", "only for this `PRODUCT`; beside -account, -customer or -plan")
	id, err := parseOne(fs, args)
	if err != nil {
		return err
	}
	k, err := newKeeper(c, *file, *at)
	if err != nil {
		return err
	}
	var tenant api.Tenant
	err = k.call(ctx, http.MethodPut, licensesOf(id), nil, asked, &tenant, func(disk *stored) error {
		made, err := tieOnDisk(ctx, disk.cache, id, asked)
		tenant = api.NewTenant(made)
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(c.out).Encode(tenant)
	}
	return showTenants(c.out, api.TenantPage{Tenants: []api.Tenant{tenant}})
}

// tieOnDisk makes a direct customer in the state of a weir that does not run. All other
// ties are read at AWS first, which takes a weir that runs.
func tieOnDisk(ctx context.Context, disk *cache.Cache, id string, asked api.TieRequest) (cache.Tenant, error) {
	if asked.Claim != "" || asked.Account != "" || asked.Customer != "" || asked.License != "" {
		return cache.Tenant{}, withHint(errors.New("tie tenant: no weir is running, and what is named has to be read at AWS"),
			"start weir, or name a running one with -admin URL; only -plan needs none")
	}
	return disk.Tie(ctx, id, cache.Tie{Plan: asked.Plan, Product: asked.Product})
}

// tenantsRemove is `weir tenants remove`: ties a tenant to nothing.
func tenantsRemove(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	id, err := parseOne(fs, args)
	if err != nil {
		return err
	}
	k, err := newKeeper(c, *file, *at)
	if err != nil {
		return err
	}
	return k.call(ctx, http.MethodDelete, licensesOf(id), nil, nil, nil, func(disk *stored) error {
		return disk.cache.Untie(ctx, id)
	})
}

// parseOne reads the one argument of a verb, which may stand before or after the flags.
func parseOne(fs *flag.FlagSet, args []string) (id string, err error) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		_, err = parse(fs, args[1:], 0)
		return args[0], err
	}
	rest, err := parse(fs, args, 1)
	if err != nil {
		return "", err
	}
	return rest[0], nil
}
