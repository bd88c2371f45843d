package marketplace

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"

	"github.com/weirhq/weir/policy"
)

const (
	// endSlack is how much later than its entitlements an agreement may end, for a sweep to find it.
	endSlack = 24 * time.Hour
	// renewalTimeout bounds what a read waits for the Agreement API, and sweepRenewalTimeout what a sweep does.
	renewalTimeout      = 5 * time.Second
	sweepRenewalTimeout = time.Minute
)

// renewals tells of licenses whose date has passed whether AWS will renew them. It is asked only
// then: before the date, nothing depends on it. Without permission, or an answer, it tells nothing.
type renewals struct {
	search *search
	access *agreementAccess
	clock  *Clock
}

func (c *Connection) renewals(product policy.Product) *renewals {
	return &renewals{search: c.search(product), access: c.agreements, clock: c.Clock}
}

// tell notes in the licenses of one read of the subject what follows their dates.
func (r *renewals) tell(ctx context.Context, subject policy.Subject, licenses []policy.License) {
	now := r.clock.Now()
	filter, ok := r.filter(subject, now)
	if !ok || !anyPast(licenses, now) || !r.access.allowed() {
		return
	}
	sweep, timeout := subject.Kind == policy.SubjectNone, renewalTimeout
	if sweep {
		timeout = sweepRenewalTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	known := make(map[policy.Key]policy.Renewal)
	for found, err := range r.search.all(ctx, sweep, byStartTime, whereActive(), filter) {
		r.access.note(err)
		if err != nil {
			break // what is known by now is true all the same
		}
		for _, key := range licenseARNs(found) {
			if _, ok := known[key]; !ok {
				known[key] = renewalOf(found)
			}
		}
	}
	for i := range licenses {
		if isPast(&licenses[i], now) {
			licenses[i].Renewal = known[licenses[i].Key]
		}
	}
}

// filter finds the agreements of a subject; of everything only those that are at their end.
func (r *renewals) filter(subject policy.Subject, now time.Time) (types.Filter, bool) {
	switch {
	case r.search.product.Agreements == policy.AgreementsLegacy: // their agreements name no license
		return types.Filter{}, false
	case subject.Kind == policy.SubjectNone:
		return whereTime("BeforeEndTime", now.Add(endSlack)), true
	case subject.Kind == policy.SubjectAccount:
		return where("AcceptorAccountId", subject.ID), true
	case subject.Kind == policy.SubjectLicense:
		return where("LicenseArn", subject.ID), true
	default:
		return types.Filter{}, false
	}
}

// renewalOf is what follows the end of an agreement that is in force. One without an end says
// nothing: its entitlements may still have dates of their own.
func renewalOf(a *types.AgreementViewSummary) policy.Renewal {
	switch a.EndTimeBehaviorType {
	case types.EndTimeBehaviorTypeRenew, types.EndTimeBehaviorTypeReplace:
		return policy.RenewalDue
	case types.EndTimeBehaviorTypeExpire:
		return policy.RenewalNone
	default:
		return policy.RenewalUnknown
	}
}

func anyPast(licenses []policy.License, now time.Time) bool {
	for i := range licenses {
		if isPast(&licenses[i], now) {
			return true
		}
	}
	return false
}

// isPast tells whether the date of some entitlement has passed.
func isPast(l *policy.License, now time.Time) bool {
	for i := range l.Entitlements {
		if at := l.Entitlements[i].Expires; !at.IsZero() && !now.Before(at) {
			return true
		}
	}
	return false
}
