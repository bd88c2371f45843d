package marketplace

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	entitlement "github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice/types"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	// pageSize is the most that GetEntitlements gives at once (AWS: GetEntitlements, MaxResults).
	pageSize = 25
	// maxPages bounds one read: a quarter of a million entitlements.
	maxPages = 10_000
	// pageTimeout bounds one attempt at a page.
	pageTimeout = 10 * time.Second
	// readAttempts is how often a page is asked for before the read fails.
	readAttempts = 3
)

// Entitlements reads what the buyers of one product hold (AWS: GetEntitlements).
//
// Reading everything is a sweep to [Limits]; reading anything else goes before it.
type Entitlements struct {
	client   *entitlement.Client
	limits   *Limits
	renewals *renewals
	name     string // the configuration's key
	product  policy.Product
}

var _ cache.Source = (*Entitlements)(nil)

// Entitlements is the source of one product, by the configuration's key.
func (c *Connection) Entitlements(name string, product policy.Product) *Entitlements {
	client := entitlement.NewFromConfig(c.aws, func(o *entitlement.Options) {
		o.Region = entitlementRegion
		o.RetryMaxAttempts = readAttempts
	})
	return &Entitlements{client: client, limits: c.Limits, renewals: c.renewals(product), name: name, product: product}
}

// Licenses reads what the subject holds; with the zero subject everything. A read that fails on
// the way gives nothing but the error: the entitlements of one license may be on any page.
func (e *Entitlements) Licenses(ctx context.Context, subject policy.Subject) iter.Seq2[policy.License, error] {
	return func(yield func(policy.License, error) bool) {
		licenses, err := e.read(ctx, subject)
		for _, l := range licenses {
			if !yield(l, nil) {
				return
			}
		}
		if err != nil {
			yield(policy.License{}, fmt.Errorf("read entitlements of product %s: %w", e.name, err))
		}
	}
}

// License reads one license; cache.ErrNotFound when AWS knows no entitlements of it.
func (e *Entitlements) License(ctx context.Context, key policy.Key) (policy.License, error) {
	licenses, err := e.read(ctx, policy.Subject{Kind: policy.SubjectLicense, ID: string(key)})
	for _, l := range licenses {
		if l.Key == key {
			return l, nil
		}
	}
	if err == nil {
		err = cache.ErrNotFound
	}
	return policy.License{}, fmt.Errorf("read license %s of product %s: %w", key, e.name, err)
}

// read reads all pages and makes licenses of them, in the order of their keys.
func (e *Entitlements) read(ctx context.Context, subject policy.Subject) ([]policy.License, error) {
	filter, err := e.filter(subject)
	if err != nil {
		return nil, err
	}
	found := group{source: e, licenses: make(map[policy.Key]*policy.License)}
	input := &entitlement.GetEntitlementsInput{
		ProductCode: aws.String(e.product.Code), Filter: filter, MaxResults: aws.Int32(pageSize),
	}
	tokens := make(map[string]struct{})
	for range maxPages {
		page, err := e.page(ctx, input, subject == policy.Subject{})
		if err != nil {
			return nil, err
		}
		for _, held := range page.Entitlements {
			found.add(held)
		}
		token := aws.ToString(page.NextToken) // an empty page may carry one
		if token == "" {
			licenses := found.sorted()
			e.renewals.tell(ctx, subject, licenses)
			return licenses, errors.Join(found.nameless...)
		}
		if _, ok := tokens[token]; ok {
			return nil, errors.New("read pages: a page token came twice")
		}
		tokens[token] = struct{}{}
		input.NextToken = aws.String(token)
	}
	return nil, fmt.Errorf("read pages: more than %d", maxPages)
}

// page reads one page. Every attempt waits for the quota.
func (e *Entitlements) page(ctx context.Context, input *entitlement.GetEntitlementsInput, sweep bool) (*entitlement.GetEntitlementsOutput, error) {
	turn := func(ctx context.Context) error { return e.limits.read(ctx, sweep) }
	return e.client.GetEntitlements(ctx, input, func(o *entitlement.Options) {
		o.APIOptions = append(o.APIOptions, eachAttempt(turn))
	})
}

// filter is what GetEntitlements is asked for. Within a listing from before
// concurrent agreements a license is named by its customer.
func (e *Entitlements) filter(subject policy.Subject) (map[string][]string, error) {
	name := types.GetEntitlementFilterNameLicenseArn
	id := subject.ID
	switch subject.Kind {
	case policy.SubjectNone:
		return nil, nil
	case policy.SubjectAccount:
		name = types.GetEntitlementFilterNameCustomerAwsAccountId
	case policy.SubjectCustomer:
		name = types.GetEntitlementFilterNameCustomerIdentifier
	case policy.SubjectLicense:
		if policy.Key(id).Kind() == policy.KindARN {
			break
		}
		code, customer, ok := strings.Cut(id, "/")
		if !ok || code != e.product.Code {
			return nil, fmt.Errorf("license %q is none of product code %s: %w", id, e.product.Code, cache.ErrNotFound)
		}
		name, id = types.GetEntitlementFilterNameCustomerIdentifier, customer
	default:
		return nil, fmt.Errorf("AWS knows no %s", subject.Kind)
	}
	return map[string][]string{string(name): {id}}, nil
}

// group gathers entitlements into licenses.
type group struct {
	source   *Entitlements
	licenses map[policy.Key]*policy.License
	nameless []error // what names no license: at most one, the first
}

// add puts one entitlement into its license. AWS gives a dimension once for each
// license; one that comes again, because pages moved while they were read, counts once.
func (g *group) add(held types.Entitlement) {
	key, err := g.source.key(held)
	if err != nil {
		if g.nameless == nil {
			g.nameless = []error{err}
		}
		return
	}
	license, ok := g.licenses[key]
	if !ok {
		license = &policy.License{Key: key, Product: g.source.name}
		g.licenses[key] = license
	}
	// Either may be an empty text, which counts as absent.
	if account := aws.ToString(held.CustomerAWSAccountId); account != "" {
		license.Account = account
	}
	if customer := aws.ToString(held.CustomerIdentifier); customer != "" {
		license.Customer = customer
	}
	dimension := policy.Entitlement{Dimension: aws.ToString(held.Dimension), Value: value(held.Value)}
	if held.ExpirationDate != nil {
		dimension.Expires = held.ExpirationDate.UTC()
	}
	at := slices.IndexFunc(license.Entitlements, func(e policy.Entitlement) bool { return e.Dimension == dimension.Dimension })
	if at < 0 {
		license.Entitlements = append(license.Entitlements, dimension)
		return
	}
	license.Entitlements[at] = dimension
}

// sorted gives the licenses in the order of their keys, so that equal answers make equal reads.
func (g *group) sorted() []policy.License {
	licenses := make([]policy.License, 0, len(g.licenses))
	for _, key := range slices.Sorted(maps.Keys(g.licenses)) {
		license := g.licenses[key]
		slices.SortFunc(license.Entitlements, func(a, b policy.Entitlement) int { return strings.Compare(a.Dimension, b.Dimension) })
		licenses = append(licenses, *license)
	}
	return licenses
}

// key names the license that an entitlement belongs to.
func (e *Entitlements) key(held types.Entitlement) (policy.Key, error) {
	if e.product.Agreements == policy.AgreementsLegacy {
		customer := aws.ToString(held.CustomerIdentifier)
		if customer == "" {
			return "", errors.New("an entitlement has no CustomerIdentifier; a listing with concurrent agreements needs agreements: concurrent")
		}
		return policy.Key(e.product.Code + "/" + customer), nil
	}
	arn := aws.ToString(held.LicenseArn)
	if arn == "" {
		return "", errors.New("an entitlement has no LicenseArn; a listing from before concurrent agreements needs agreements: legacy")
	}
	return policy.Key(arn), nil
}

// value takes the one member that is set.
func value(v *types.EntitlementValue) policy.Value {
	switch {
	case v == nil:
		return policy.Value{}
	case v.IntegerValue != nil:
		return policy.Value{Kind: policy.ValueInteger, Integer: int64(*v.IntegerValue)}
	case v.DoubleValue != nil:
		return policy.Value{Kind: policy.ValueDecimal, Decimal: *v.DoubleValue}
	case v.BooleanValue != nil:
		return policy.Value{Kind: policy.ValueBoolean, Boolean: *v.BooleanValue}
	case v.StringValue != nil:
		return policy.Value{Kind: policy.ValueText, Text: *v.StringValue}
	default:
		return policy.Value{}
	}
}
