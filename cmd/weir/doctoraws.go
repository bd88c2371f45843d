package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/marketplace"
	"github.com/weirhq/weir/policy"
)

const (
	// doctorTimeout bounds what one product, queue or the caller is asked for, with all attempts.
	doctorTimeout = 20 * time.Second
	// offsetWarning is the clock offset that people should know of (BILLING B18).
	offsetWarning = time.Minute
	// offsetFailure is the one with which AWS refuses signatures (AWS: Signature Version 4).
	offsetFailure = 5 * time.Minute
)

// patient is AWS as weir would see it, product by product.
type patient struct {
	*diagnosis
	aws    *marketplace.Checkup
	caller string
}

// aws tries what the configuration needs of AWS.
func (d *diagnosis) aws(ctx context.Context) {
	conn, err := marketplace.Connect(ctx, d.cfg.AWS, d.log, prometheus.NewRegistry())
	if err != nil {
		d.fail(checkCredentials, "mend the AWS profile or variable that it names", "%v", err)
		return
	}
	p := &patient{diagnosis: d, aws: conn.Checkup()}
	asking, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	if p.caller, err = p.aws.Caller(asking); err != nil {
		p.trouble(checkCredentials, err, d.fail)
		for _, check := range []string{checkListing, checkDimensions, checkQueues} {
			d.skip(check, "AWS could not be asked")
		}
		return
	}
	d.ok(checkCredentials, "AWS knows weir as %s", p.caller)
	p.clock(asking, conn.Clock)
	for _, name := range slices.Sorted(maps.Keys(d.cfg.Policy.Products)) {
		p.product(ctx, name, d.cfg.Policy.Products[name])
	}
	p.registration(ctx)
	p.queues(ctx)
	if !d.has(checkRegion) {
		d.ok(checkRegion, "usage is metered in %s", d.cfg.AWS.Region)
	}
	if !d.has(checkIAM) {
		d.ok(checkIAM, "every action that this configuration needs is allowed")
	}
}

// teller is how a finding is told: as a failure or a warning.
type teller func(check, hint, format string, args ...any)

// trouble tells why AWS did not do what was asked. A cause that is not the check's own is told under its own name.
func (p *patient) trouble(check string, err error, tell teller) {
	var t *marketplace.CheckupError
	if !errors.As(err, &t) {
		tell(check, "", "%v", err)
		return
	}
	switch t.Trouble {
	case marketplace.TroubleDenied:
		tell(checkIAM, "allow it to "+cmp.Or(p.caller, "these credentials")+"; deploy/aws/policy.json has all that weir needs", "IAM does not allow %s", t.Action)
	case marketplace.TroubleCredentials:
		tell(checkCredentials, "give weir a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of the seller account", "AWS does not take the credentials: %v", t)
	case marketplace.TroubleClock:
		tell(checkClock, "let the clock be set by NTP", "AWS refuses signatures for their time: %v", t)
	case marketplace.TroubleRegion:
		tell(checkRegion, "aws.region is the one in which the listing's usage is metered; it never changes while records are unsettled",
			"AWS does not serve %s in %s: %v", t.Action, p.cfg.AWS.Region, t)
	case marketplace.TroubleNetwork:
		tell(checkNetwork, "let weir reach AWS (DNS, egress, proxy), or correct aws.endpoint", "AWS can't be reached for %s: %v", t.Action, t)
	default:
		tell(check, "", "%s: %v", t.Action, t)
	}
}

// clock compares this machine's clock with AWS's.
func (p *patient) clock(ctx context.Context, clock *marketplace.Clock) {
	if err := clock.Settle(ctx); err != nil {
		p.warn(checkClock, "let weir reach AWS", "AWS's time is not known: %v", err)
		return
	}
	offset := clock.Offset().Round(time.Second)
	const hint = "let the clock be set by NTP; weir counts by AWS's, but AWS refuses signatures that are 5 minutes off"
	switch {
	case offset.Abs() >= offsetFailure:
		p.fail(checkClock, hint, "AWS's time less local time is %s", offset)
	case offset.Abs() > offsetWarning:
		p.warn(checkClock, hint, "AWS's time less local time is %s", offset)
	default:
		p.ok(checkClock, "within a minute of AWS's")
	}
}

// product tries one listing.
func (p *patient) product(ctx context.Context, name string, product policy.Product) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	known := p.listing(ctx, name, product)
	if product.Model != policy.ModelSubscription {
		p.entitlements(ctx, name, product, known)
	}
	p.agreements(ctx, product)
	if len(p.cfg.Policy.Metering()[name]) == 0 || !p.cfg.Metering.Send {
		return
	}
	if err := p.aws.Metering(ctx, product); isUnknown(err) {
		p.unknownCode(name, product)
	} else if err != nil {
		p.trouble(checkListing, err, p.fail)
	}
}

// agreements tries what tells of renewals, lost events and free trials; contracts do without.
func (p *patient) agreements(ctx context.Context, product policy.Product) {
	agreement, err := p.aws.Agreements(ctx, product)
	if err != nil {
		tell := teller(p.warn)
		if product.Model == policy.ModelSubscription && !product.ByEvents() {
			tell = p.fail
		}
		p.trouble(checkListing, err, tell)
		return
	}
	if agreement == "" {
		return
	}
	if err := p.aws.Terms(ctx, agreement); err != nil {
		p.trouble(checkListing, err, p.warn)
	}
}

func isUnknown(err error) bool {
	var t *marketplace.CheckupError
	return errors.As(err, &t) && t.Trouble == marketplace.TroubleUnknown
}

func (p *patient) unknownCode(name string, product policy.Product) {
	p.fail(checkListing, "products."+name+".code is the product code in the AWS Marketplace Management Portal, of the account that weir calls as",
		"product %s: AWS knows no product code %s", name, product.Code)
}

// listing compares a product with its listing. It tells whether the listing is known to AWS, as far as could be seen.
func (p *patient) listing(ctx context.Context, name string, product policy.Product) (known bool) {
	listing, err := p.aws.Listing(ctx, product.ID)
	switch {
	case isUnknown(err):
		p.fail(checkListing, "products."+name+".id is the product id in the AWS Marketplace Management Portal, of the account that weir calls as",
			"product %s: AWS knows no product id %s", name, product.ID)
		p.skip(checkDimensions, "product %s: there is no listing to compare with", name)
		return false
	case err != nil: // weir itself does without
		p.trouble(checkListing, err, p.warn)
		p.skip(checkDimensions, "product %s: the listing could not be read", name)
		return true
	case listing.Code != product.Code:
		p.fail(checkListing, "set products."+name+".code: "+listing.Code, "product %s: the product code of %s is %s, not %s", name, product.ID, listing.Code, product.Code)
		known = false
	default:
		p.ok(checkListing, "product %s is the listing %s", name, product.ID)
		known = true
	}
	p.dimensions(name, product, listing)
	return known
}

// The types of dimensions (AWS: Catalog API, SaaSProduct).
const (
	typeEntitled = "Entitled"
	typeMetered  = "ExternallyMetered"
)

// dimensions compares a product's dimensions with those of its listing.
func (p *patient) dimensions(name string, product policy.Product, listing marketplace.Listing) {
	before := p.count(levelFailure) + p.count(levelWarning)
	for _, key := range slices.Sorted(maps.Keys(product.Dimensions)) {
		types, ok := listing.Dimensions[key]
		want := typeEntitled
		if product.Dimensions[key].Meters != "" {
			want = typeMetered
		}
		switch {
		case !ok:
			p.fail(checkDimensions, "the listing has "+strings.Join(slices.Sorted(maps.Keys(listing.Dimensions)), ", ")+"; keys are case-sensitive",
				"product %s: AWS knows no dimension %s", name, key)
		case !slices.Contains(types, want):
			p.fail(checkDimensions, "what meters is "+typeMetered+" on the listing, what grants a plan or adds is "+typeEntitled,
				"product %s: dimension %s is %s on the listing, and used as %s", name, key, strings.Join(types, ", "), want)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(listing.Dimensions)) {
		if _, ok := product.Dimensions[key]; ok {
			continue
		}
		if slices.Contains(listing.Dimensions[key], typeEntitled) {
			p.missingDimension(name, key)
		} else {
			p.warn(checkDimensions, "add it with {meters: …}", "product %s: dimension %s of the listing is not in the configuration: it is never billed", name, key)
		}
	}
	if p.count(levelFailure)+p.count(levelWarning) == before {
		p.ok(checkDimensions, "product %s has the dimensions of its listing", name)
	}
}

func (p *patient) missingDimension(name, key string) {
	p.fail(checkDimensions, "add it under products."+name+".dimensions, with {plan: …} or {adds: …}",
		"product %s: dimension %s of the listing is not in the configuration: who buys it gets nothing for it", name, key)
}

// entitlements reads what buyers hold, and looks for dimensions that the configuration lacks.
func (p *patient) entitlements(ctx context.Context, name string, product policy.Product, known bool) {
	held, err := p.aws.Entitlements(ctx, name, product)
	switch {
	case isUnknown(err):
		if known {
			p.unknownCode(name, product)
		}
		return
	case err != nil:
		p.trouble(checkListing, err, p.fail)
		return
	}
	for _, key := range held {
		if _, ok := product.Dimensions[key]; !ok {
			p.missingDimension(name, key)
		}
	}
}

// registration tries whether buyers can be registered, where they are sent here.
func (p *patient) registration(ctx context.Context) {
	if p.cfg.Listen.Public == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	if err := p.aws.Registration(ctx); err != nil {
		p.trouble(checkListing, err, p.fail)
	}
}
