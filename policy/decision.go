package policy

import "time"

// Decision is the answer to a request and the obligations that go with it. The
// zero Decision denies, with reason fault.
type Decision struct {
	Effect Effect
	Reason Reason
	// Mode is enforce, shadow or open; in shadow and open modes Reason is what enforcement would have said.
	Mode Mode
	// Cause says, in open mode, which failure policy let the request through.
	Cause Cause

	Tenant, Account string
	License         Key    // empty without a known license
	Plan            string // name of the license's plan
	Route           string // name of the route; empty: none
	Product         string // the configuration's key of the route's product

	// Feature is the one that a denial is about, or the one that the request counts.
	Feature string
	// Plans are those that would allow it, rank ascending; URL is the product's. Denials only.
	Plans []string
	URL   string
	// Quota is the state of the metered feature; Quota.Terms.Then says whether it is enforced.
	Quota Balance
	// Counted tells that Quota holds and the request was counted, or would have been by a mere look.
	Counted bool

	// Lookup, where set, is who has to be looked up before the request can be decided; Effect then denies.
	Lookup Subject
}

// Allowed tells whether the request goes through.
func (d *Decision) Allowed() bool { return d.Effect == Allow }

// Effect is what happens to a request.
type Effect uint8

// The effects. The zero effect denies.
const (
	Deny Effect = iota
	Allow
)

// Mode tells under which rule a decision was made.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota
	Shadow
	Open
)

// String is the mode as metrics spell it.
func (m Mode) String() string { return [...]string{"enforce", "shadow", "open"}[m] }

// Cause is the failure policy that let a request through.
type Cause uint8

// The causes of an open decision.
const (
	CauseNone Cause = iota
	CauseUnmatched
	CauseUnknown
	CauseStale
	CauseFault
)

// String is the cause as headers and metrics spell it.
func (c Cause) String() string {
	return [...]string{"", "unmatched", "unknown", "stale", "fault"}[c]
}

// Reason says why a decision is what it is.
type Reason uint8

// The reasons, in the order in which they are looked for, except that the zero
// reason is the one that must never let a request through.
const (
	Fault Reason = iota
	HeadersTooMany
	PathAmbiguous
	RouteUnmatched
	Public
	IdentityMissing
	LicenseMissing
	LicenseExpired
	LicenseEnded
	EntitlementsStale
	FeatureMissing
	QuantityInvalid
	QuotaExhausted
	Allowed
	reasons // how many there are
)

// Terms are the conditions under which a unit was counted; they travel with it to
// the ledger, so that a plan change affects only what is counted later (BILLING B06).
type Terms struct {
	Included  int64     // units that the period includes; Unlimited: all of them
	Every     Period    // length of the period
	Since     time.Time // when the license's present term began, also where Every is shorter: a later plan may count by it
	Until     time.Time // when the term ends; zero: not known. Only for Every == Term
	Then      Then      // what happens beyond Included
	Dimension string    // the dimension that meters the feature; empty: none
	Per       int64     // counted units in one billed unit, at least 1
}

// Unlimited is the Terms.Included that counts and never bills.
const Unlimited int64 = -1

// Period is the length of a quota's period, in UTC.
type Period uint8

// The periods.
const (
	Hour Period = iota
	Day
	Month
	Term
	Periods // how many there are
)

// String is the period as weir.yaml spells it.
func (p Period) String() string { return [...]string{"hour", "day", "month", "term"}[p] }

// Bounds is the start and end of the period that holds t. A term has the given
// start and end instead; a zero end is not known.
func (p Period) Bounds(t, since, until time.Time) (start, end time.Time) {
	t = t.UTC()
	switch p {
	case Hour:
		start = t.Truncate(time.Hour)
		return start, start.Add(time.Hour)
	case Day:
		start = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 0, 1)
	case Month:
		start = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	default:
		return since, until
	}
}

// Then is what happens beyond the included quantity.
type Then uint8

// The two ways to go on.
const (
	ThenDeny Then = iota
	ThenBill
)

// String is the word of weir.yaml.
func (t Then) String() string { return [...]string{"deny", "bill"}[t] }
