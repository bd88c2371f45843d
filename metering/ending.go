package metering

import "github.com/weirhq/weir/policy"

// Ending is what one access log entry says of a check.
type Ending struct {
	Token   string     // as the check was given it
	License policy.Key // of the entry, as the check was told it
	Route   string     // of the entry, as the check was told it
	How     How
	// FromResponse tells that the route's quantity comes from the access log; otherwise the token's counts.
	FromResponse bool
	Quantity     int64 // units, where FromResponse
	Measured     bool  // Quantity could be read
}

// How is what became of a request.
type How uint8

// What an entry can say. The zero How bills nothing.
const (
	NotServed How = iota
	Served        // the application answered
	Alive         // an entry in between: the request is still under way
)

// Refusal says why an access log entry ends no check; empty: it was taken.
type Refusal string

// The refusals (BILLING B04), as weir_access_log_refused_total spells them.
const (
	RefusedNoToken      Refusal = "no_token"
	RefusedUnknown      Refusal = "unknown" // no such check waits: it ended as unconfirmed, or a crash lost it
	RefusedForged       Refusal = "forged"  // not a token of this weir for this route
	RefusedUsed         Refusal = "used"
	RefusedOtherLicense Refusal = "other_license"
	RefusedCaller       Refusal = "caller" // of who may not send entries
)
