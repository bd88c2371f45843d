package marketplace

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	// startSlack is how far ahead of AWS's time, as far as it is known, an agreement that is in
	// force may begin.
	startSlack = time.Minute
	// provisioning is how long after it was accepted an agreement may be without a license.
	provisioning = time.Hour
)

// Agreements reads what the buyers of one pay-as-you-go product hold: GetEntitlements knows
// nothing of them, so the agreements in force stand for it (AWS: SearchAgreements). Their
// licenses hold no dimension.
type Agreements struct {
	search *search
	clock  *Clock
	name   string // the configuration's key
}

var _ cache.Source = (*Agreements)(nil)

// Agreements is the source of one product with model subscription, by the configuration's key.
func (c *Connection) Agreements(name string, product policy.Product) *Agreements {
	return &Agreements{search: c.search(product), clock: c.Clock, name: name}
}

// Licenses reads what the subject holds; with the zero subject everything.
func (a *Agreements) Licenses(ctx context.Context, subject policy.Subject) iter.Seq2[policy.License, error] {
	return func(yield func(policy.License, error) bool) {
		for l, err := range a.read(ctx, subject) {
			if err != nil {
				err = fmt.Errorf("read agreements of product %s: %w", a.name, err)
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// License reads one license; cache.ErrNotFound when no agreement in force has it.
func (a *Agreements) License(ctx context.Context, key policy.Key) (policy.License, error) {
	oops := cache.ErrNotFound
	for l, err := range a.read(ctx, policy.Subject{Kind: policy.SubjectLicense, ID: string(key)}) {
		if err != nil {
			oops = err
		} else if l.Key == key {
			return l, nil
		}
	}
	return policy.License{}, fmt.Errorf("read license %s of product %s: %w", key, a.name, oops)
}

// read yields what the agreements of a subject grant. An agreement without a license ends it
// with an error: the read misses a buyer.
func (a *Agreements) read(ctx context.Context, subject policy.Subject) iter.Seq2[policy.License, error] {
	return func(yield func(policy.License, error) bool) {
		filters, err := a.filters(subject)
		if err != nil {
			yield(policy.License{}, err)
		}
		if filters == nil {
			return
		}
		list := listing{source: a, seen: make(map[policy.Key]struct{})}
		for found, err := range a.search.all(ctx, subject.Kind == policy.SubjectNone, byStartTime, filters...) {
			if err != nil {
				yield(policy.License{}, err)
				return
			}
			for _, l := range list.take(found) {
				if !yield(l, nil) {
					return
				}
			}
		}
		if list.nameless != nil {
			yield(policy.License{}, list.nameless)
		}
	}
}

// listing turns agreements into licenses: each once, as the latest agreement has it, which comes first.
type listing struct {
	source   *Agreements
	seen     map[policy.Key]struct{}
	nameless error // of the first agreement that names no license
}

// take gives the licenses that an agreement adds to those taken before.
func (g *listing) take(found *types.AgreementViewSummary) (fresh []policy.License) {
	if g.source.isAhead(found) {
		return nil
	}
	keys := licenseARNs(found)
	if len(keys) == 0 && g.nameless == nil {
		g.nameless = g.source.nameless(found)
	}
	for _, key := range keys {
		if _, ok := g.seen[key]; !ok {
			g.seen[key] = struct{}{}
			fresh = append(fresh, g.source.license(key, found))
		}
	}
	return fresh
}

// filters are what to search for; none: the subject can hold nothing of this product.
func (a *Agreements) filters(subject policy.Subject) ([]types.Filter, error) {
	active := []types.Filter{whereActive()}
	switch subject.Kind {
	case policy.SubjectNone:
		return active, nil
	case policy.SubjectAccount:
		return append(active, where("AcceptorAccountId", subject.ID)), nil
	case policy.SubjectLicense:
		if policy.Key(subject.ID).Kind() != policy.KindARN {
			return nil, nil
		}
		return append(active, where("LicenseArn", subject.ID)), nil
	case policy.SubjectCustomer:
		return nil, nil // agreements name their buyers by account
	default:
		return nil, fmt.Errorf("AWS knows no %s", subject.Kind)
	}
}

// license is what an agreement in force grants. Its end, where it has one, stands in an entitlement
// without a dimension.
func (a *Agreements) license(key policy.Key, found *types.AgreementViewSummary) policy.License {
	l := policy.License{Key: key, Product: a.name, Account: acceptor(found)}
	if found.StartTime != nil {
		l.Starts = found.StartTime.UTC()
	}
	if found.EndTime != nil {
		l.Entitlements = []policy.Entitlement{{Expires: found.EndTime.UTC()}}
		l.Renewal = renewalOf(found)
	}
	return l
}

// isAhead tells that an agreement was accepted and has not begun.
func (a *Agreements) isAhead(found *types.AgreementViewSummary) bool {
	return found.StartTime != nil && found.StartTime.After(a.clock.Now().Add(startSlack))
}

// nameless is the error of an agreement that names no license, unless AWS may still be making
// it. What the usage of such an agreement is metered by can't be known from it.
func (a *Agreements) nameless(found *types.AgreementViewSummary) error {
	accepted := aws.ToTime(found.AcceptanceTime)
	if found.AcceptanceTime == nil {
		accepted = aws.ToTime(found.StartTime)
	}
	if a.clock.Now().Sub(accepted) < provisioning {
		return nil
	}
	return errors.New("agreement " + aws.ToString(found.AgreementId) +
		" has no LicenseArn, as in listings from before concurrent agreements; have AWS Marketplace move the listing to concurrent agreements")
}
