package metering

import (
	"context"
	"time"

	"github.com/weirhq/weir/policy"
)

// Ledger keeps every counted unit until it has an end, durably. Everything that a
// Commit changes for one license and feature is one value: Commit is atomic and
// idempotent for each of these, not across them, so that a ledger on a store with
// conditional writes on single items can stand behind the same interface.
type Ledger interface {
	// Commit adds. The writer's sequence is remembered with each value that it changes: a
	// repeated one changes nothing. The totals are those after the commit, in the order of the deltas' values.
	Commit(ctx context.Context, writer string, seq uint64, deltas []Delta) ([]Total, error)
	// Freeze turns the open hours that ended at least the ledger's closing time
	// before now into records that never change, and adds records of 0.
	Freeze(ctx context.Context, now time.Time, zero []ZeroKey) error
	// FreezeLicense does so for one license, its present hour included (BILLING B15).
	FreezeLicense(ctx context.Context, now time.Time, license policy.Key) error
	// Due lists at most n records that have to be sent, earliest deadline first.
	Due(ctx context.Context, now time.Time, n int) ([]Record, error)
	// Sending marks the records as sent, durably, before the first byte leaves (BILLING B10).
	Sending(ctx context.Context, now time.Time, records []Record) error
	// Settle writes what AWS answered, on condition that the record's state is still the given one.
	Settle(ctx context.Context, now time.Time, record Record, outcome Outcome) error
	// Totals reads the totals of every license and feature, to start from.
	Totals(ctx context.Context) ([]Total, error)
	// Rows lists ledger rows for people.
	Rows(ctx context.Context, f Filter) (rows []Row, next string, err error)
}

// Delta is what one commit adds for one license, feature, hour and set of terms.
type Delta struct {
	License  policy.Key
	Account  string // the buyer's AWS account, as the record needs it
	Customer string // the legacy customer identifier, as the record needs it
	Product  string // the configuration's key of the product
	Feature  string
	Hour     time.Time // start of the hour, UTC
	Quantity int64     // units, > 0
	First    time.Time // the first whole second at which weir counted in this hour (BILLING B10)
	Starts   time.Time // when the license began
	Ends     time.Time // when it ended; zero while active
	Late     bool
	Terms    policy.Terms
}

// Total is how one license and feature stand.
type Total struct {
	License policy.Key
	Feature string
	// Periods holds the present period of each length: its start and the units counted in it.
	Periods [policy.Periods]PeriodTotal

	Counted, Included, Billable, Overrun, Unpriced int64 // units since ever (BILLING B01)
}

// PeriodTotal is what was counted in one period.
type PeriodTotal struct {
	Start time.Time
	Used  int64
}

// ZeroKey names a record of 0 to make for an hour without usage (BILLING B16).
type ZeroKey struct {
	License   policy.Key
	Account   string
	Customer  string
	Product   string
	Dimension string
	Hour      time.Time
}

// Record is what is sent to AWS: frozen whole, and the same at every attempt.
type Record struct {
	ID        string
	Product   string // the configuration's key
	License   policy.Key
	Account   string
	Customer  string
	Dimension string
	Timestamp time.Time // whole seconds, UTC
	Quantity  int64     // millionths of a billed unit (BILLING B08)
	Deadline  time.Time // AWS takes nothing after it (BILLING B13)
	State     State     // the state it was read in
	Ambiguous bool      // an earlier attempt had no clear answer
	Late      bool
}

// State is where a row stands.
type State string

// The states of a row (BILLING B01, B12). The last seven are ends.
const (
	Open     State = "open"
	Frozen   State = "frozen"
	Sent     State = "sent"
	Blocked  State = "blocked"
	Accepted State = "accepted"
	Refused  State = "refused"
	Conflict State = "conflict"
	Expired  State = "expired"
	Rebooked State = "rebooked"
	Stranded State = "stranded"
	Dry      State = "dry"
)

// Sender sends records of one or several products and says how each fared. Outcomes
// stand at the index of their record. An error means that nothing was sent at all.
type Sender interface {
	Send(ctx context.Context, records []Record) ([]Outcome, error)
}

// Outcome is what one attempt told about one record (BILLING B12).
type Outcome struct {
	Answer           Answer
	MeteringRecordID string
	Error            string // what AWS said, for people
}

// Answer is the kind of an outcome.
type Answer uint8

// The answers. The zero answer is the one that must never lose or repeat a unit.
const (
	Ambiguous     Answer = iota // may or may not have been recorded: the same record again
	NotRecorded                 // certainly not recorded: sent again
	Success                     // recorded, with its id
	Duplicate                   // DuplicateRecord
	NotSubscribed               // CustomerNotSubscribed
	Faulty                      // an error of the request that this record alone causes
	Unavailable                 // an error of the product: it backs off, others go on
)

// Row is one ledger row for people and programs.
type Row struct {
	Record
	Hour             time.Time
	Assumed          bool
	MeteringRecordID string
	Error            string
}

// Filter chooses rows; zero members choose all.
type Filter struct {
	License   policy.Key
	Dimension string
	State     State
	Hour      time.Time
	Limit     int    // at most 1,000; 0 is 100
	After     string // the next of the page before
}
