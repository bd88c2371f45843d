package cache

import (
	"time"

	"github.com/weirhq/weir/policy"
)

// tie ties the tenants of the configuration to their buyers, and gives a direct
// customer a license of its own. Starts are those that the disk copy remembers, so
// that a restart begins no new term.
func tie(e *edit, tenants map[string]policy.Tenant, starts map[policy.Key]time.Time, now time.Time) {
	for id, t := range tenants {
		made := &tenant{product: t.Product}
		switch {
		case t.Account != "":
			made.buyer = policy.Subject{Kind: policy.SubjectAccount, ID: t.Account}
		case t.Customer != "":
			made.buyer = policy.Subject{Kind: policy.SubjectCustomer, ID: t.Customer}
		case t.Plan != "":
			l := directLicense(id, t, starts, now)
			made.direct = l.Key
			e.put(&record{license: l, changed: l.Starts})
		}
		e.tenants.set(id, made)
	}
}

func directLicense(id string, t policy.Tenant, starts map[policy.Key]time.Time, now time.Time) *policy.License {
	l := &policy.License{Key: policy.Key(policy.DirectPrefix + id), Product: t.Product, Plan: t.Plan, Direct: id}
	l.Starts = now
	if known := starts[l.Key]; !known.IsZero() {
		l.Starts = known
	}
	l.TermStarts, l.Read = l.Starts, now
	return l
}
