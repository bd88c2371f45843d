package policy

import "time"

// Counter holds the usage of one license in memory. It outlives the License, so
// that a refresh of entitlements never touches a count.
type Counter interface {
	// Take counts a request's units of a feature if the terms allow it, and says how the period stands after.
	Take(Taking) Balance
}

// Taking is what one request asks of a Counter.
type Taking struct {
	Feature  int   // index of the feature in the Policy
	Quantity int64 // units to count
	Need     int64 // units that have to be left under ThenDeny
	Terms    Terms
	ID       string // name of the request across repeated checks; empty: a request of its own
	At       time.Time
	// Served holds Need now; the units are counted when the access log says that the application answered.
	Served bool
	// Look only looks: nothing is counted.
	Look bool
	// Shadow counts apart, in no quota.
	Shadow bool
}

// Balance is how a metered feature's period stands.
type Balance struct {
	// OK tells that the request fits, or that its units were counted.
	OK bool
	// Waiting tells, when not OK, that units are merely held by requests under way.
	Waiting bool
	Terms   Terms
	Used    int64 // units counted in the period, this request's among them
	Held    int64 // units held by requests under way
	Start   time.Time
	End     time.Time // zero: a term without an end
	Receipt Receipt
}

// Receipt names what a Counter did for one request, so that the end of the request
// can be told of it later: the token of BILLING B04 is made of it. The zero Receipt: nothing.
type Receipt struct {
	Kind     ReceiptKind
	Tally    uint64 // names license and feature, the same after a restart
	Epoch    uint64 // names the process that gave it, at random
	Number   uint64 // of the epoch
	Minute   int64  // minute of issue, since 1970 in AWS time
	Terms    uint32 // fingerprint of the terms
	Turn     uint32 // which commit of the tally, by this process, is to bring it to the disk
	Quantity int64  // units known at the check; 0 where only the access log can tell
	Need     int64  // units held
}

// ReceiptKind says what a Counter did.
type ReceiptKind uint8

// What can have been done for a request.
const (
	NoReceipt ReceiptKind = iota
	Pending               // held; counted when the access log says so
	Counted               // counted at the check
	Shadowed              // nothing held; counted apart when the access log says so
	Uncounted             // let through in shadow mode, although it was refused: nothing is counted
)
