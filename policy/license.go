package policy

import (
	"strings"
	"time"
)

// Key names a license: a LicenseArn, "<product code>/<customer identifier>" for a
// listing from before concurrent agreements, or "direct:<tenant>". It is opaque
// to everything but Kind.
type Key string

// DirectPrefix begins the key of a direct customer's license.
const DirectPrefix = "direct:"

// Kind tells what sort of license a key names.
type Kind uint8

// The kinds of license key.
const (
	KindLegacy Kind = iota // product code + customer identifier
	KindARN                // LicenseArn of a concurrent agreement
	KindDirect             // a customer who did not buy through AWS
)

// Kind tells what sort of license the key names.
func (k Key) Kind() Kind {
	switch {
	case strings.HasPrefix(string(k), "arn:"):
		return KindARN
	case strings.HasPrefix(string(k), DirectPrefix):
		return KindDirect
	default:
		return KindLegacy
	}
}

// License is one buyer agreement for one product. A License is never changed
// after it is made: a read makes a new one. All times are AWS time.
type License struct {
	Key       Key
	Product   string // the configuration's key; empty for a direct customer who may use every product
	Account   string // the buyer's AWS account id; empty where AWS gives none
	Customer  string // the legacy customer identifier; empty for concurrent agreements
	Plan      string // a direct customer's plan; empty otherwise, then dimensions choose it
	Direct    string // a direct customer's tenant; empty otherwise
	Trial     *Trial // what is known of a free trial; nil: nothing
	Suspended bool
	Renewal   Renewal

	// Entitlements of a pay-as-you-go license are none, or one that names no dimension: it holds
	// nothing and carries the date at which the agreement ends.
	Entitlements []Entitlement

	Starts time.Time // the agreement's StartTime, or when weir first saw it
	// TermStarts is when the present term began: with the license, or when the expiry that AWS reports last moved later (BILLING B06).
	TermStarts time.Time
	Read       time.Time // when the last read that showed it by itself began
	Ended      time.Time // when it ended; zero while it is active
}

// LastExpiry is the latest of the dates up to which AWS promised the license; zero: none.
func (l *License) LastExpiry() (last time.Time) {
	for i := range l.Entitlements {
		last = later(last, l.Entitlements[i].Expires)
	}
	return last
}

// Renewal is what the Agreement API says of the date at which a license ends (AWS:
// AgreementViewSummary, EndTimeBehaviorType).
type Renewal uint8

// What may follow at the end date.
const (
	RenewalUnknown Renewal = iota // not asked, or not answered
	RenewalDue                    // another term or agreement: RENEW, REPLACE
	RenewalNone                   // nothing: EXPIRE
)

// Entitlement is a dimension and its value inside a license.
type Entitlement struct {
	Dimension string
	Value     Value
	// Expires is a minimum: AWS may renew at that instant (AWS: GetEntitlements,
	// ExpirationDate). Zero: no end.
	Expires time.Time
}

// Value is the value of an entitlement: one of a boolean, integer, decimal or text.
// The zero value is not held.
type Value struct {
	Kind    ValueKind
	Boolean bool
	Integer int64
	Decimal float64
	Text    string
}

// ValueKind tells which member of a Value is set.
type ValueKind uint8

// The kinds of entitlement value.
const (
	ValueNone ValueKind = iota
	ValueBoolean
	ValueInteger
	ValueDecimal
	ValueText
)

// Held tells whether the value grants its dimension: true, more than 0, or a
// text other than empty, "false" and "disabled".
func (v Value) Held() bool {
	switch v.Kind {
	case ValueBoolean:
		return v.Boolean
	case ValueInteger:
		return v.Integer > 0
	case ValueDecimal:
		return v.Decimal > 0
	case ValueText:
		return v.Text != "" && v.Text != "false" && v.Text != "disabled"
	default:
		return false
	}
}

// Quantity is the whole number that the value adds to a feature: integers as they
// are, decimals cut off, true as 1; 0 for the rest.
func (v Value) Quantity() int64 {
	switch {
	case !v.Held():
		return 0
	case v.Kind == ValueInteger:
		return v.Integer
	case v.Kind == ValueDecimal:
		return int64(min(v.Decimal, maxQuantity))
	case v.Kind == ValueBoolean:
		return 1
	default:
		return 0
	}
}

// maxQuantity bounds every quantity, so that sums of them can't overflow an
// int64: 15 digits, as in a request.
const maxQuantity = 999_999_999_999_999

// State is where a license stands at an instant.
type State uint8

// The states of a license.
const (
	StateEnded State = iota
	StateExpired
	StateSuspended
	StateGrace
	StateActive
)

// String is the state as the API and the metrics spell it.
func (s State) String() string {
	return [...]string{"ended", "expired", "suspended", "grace", "active"}[s]
}
