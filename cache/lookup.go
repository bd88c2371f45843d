package cache

import (
	"context"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/weirhq/weir/internal/pace"
	"github.com/weirhq/weir/policy"
)

// Rules of look-ups (AWS: GetEntitlements 20 calls a second for an account of AWS,
// SearchAgreements 5): a quarter of what the API allows.
const (
	entitlementLookups = 5
	agreementLookups   = 1
	negativeFor        = 30 * time.Second // how long it is remembered that nothing was found
)

// LookUp finds out at AWS what a subject holds of a product that memory does not
// know of. It waits no longer than the context, but the look-up goes on and the next
// caller finds its result. All who ask for the same wait for one look-up, and none of
// them can end it; a read that a notification caused is none, and goes on beside it. Without an answer in time, or when a quarter of AWS's quota is used
// up, it is Unanswered.
func (c *Cache) LookUp(ctx context.Context, who policy.Subject, product string) policy.Knowledge {
	s := c.Snapshot()
	t := target{product, s.resolve(who, product)}
	if _, known := s.Find(t.subject, product); known != policy.Unknown {
		return known
	}
	quota, ok := c.quotas[product]
	if !ok || c.sources[product] == nil {
		return policy.Unanswered
	}
	if c.negatives.has(t, c.now(), time.Now()) {
		return policy.Absent
	}
	read, err := c.joinOrLookUp(t, func() bool { return quota == nil || free(quota) })
	if read == nil || err != nil {
		return policy.Unanswered
	}
	if _, err := read.wait(ctx); err != nil {
		return policy.Unanswered
	}
	if _, known := c.Snapshot().Find(t.subject, product); known == policy.Present {
		return policy.Present
	}
	return policy.Absent
}

// free takes a turn of a quota if there is one now.
func free(quota *pace.Window) bool {
	now := time.Now()
	_, ok := quota.Reserve(now, now)
	return ok
}

// lookupQuotas are the look-ups that each product may make: those that ask the same
// API share one; nil: they ask none, since what was told of its buyers is stored.
func lookupQuotas(products map[string]policy.Product) map[string]*pace.Window {
	entitlements, agreements := pace.NewWindow(entitlementLookups), pace.NewWindow(agreementLookups)
	quotas := make(map[string]*pace.Window, len(products))
	for name, p := range products {
		switch {
		case p.ByEvents():
			quotas[name] = nil
		case p.Model == policy.ModelSubscription:
			quotas[name] = agreements
		default:
			quotas[name] = entitlements
		}
	}
	return quotas
}

// negatives remember of whom AWS knew nothing. They stand in ristretto, which may
// forget any of them at any time: then a subject is looked up once more.
type negatives struct {
	entries *ristretto.Cache[string, due]
}

// maxNegatives bounds the entries: many more than look-ups can make in negativeFor.
const maxNegatives = 10_000

func newNegatives() (*negatives, error) {
	entries, err := ristretto.NewCache(&ristretto.Config[string, due]{
		NumCounters: 10 * maxNegatives, // ristretto's advice: ten times the entries
		MaxCost:     maxNegatives, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	return &negatives{entries}, nil
}

func (n *negatives) put(t target, until due) { n.entries.SetWithTTL(t.id(), until, 1, negativeFor) }

// has tells whether there is an entry; ristretto sees to local time.
func (n *negatives) has(t target, aws, local time.Time) bool {
	until, ok := n.entries.Get(t.id())
	return ok && !until.passed(aws, local)
}

func (n *negatives) drop(t target) { n.entries.Del(t.id()) }

func (n *negatives) close() { n.entries.Close() }

// id is the target as one text.
func (t target) id() string {
	return t.product + "\x00" + t.subject.Kind.String() + "\x00" + t.subject.ID
}
