package metering

import (
	"context"
	"errors"
	"time"

	"github.com/weirhq/weir/policy"
)

// Ledger keeps every counted unit until it has an end, durably. Everything that a
// Commit changes for one license and feature is one value: Commit is atomic and
// idempotent for each of these, not across them, so that a ledger on a store with
// conditional writes on single items can stand behind the same interface.
//
// Every time that goes in is AWS time (BILLING B18). Package ledgertest holds what
// any implementation has to fulfil.
type Ledger interface {
	// Commit adds. The writer's sequence is remembered with each value that it changes: one
	// that is not above the last changes nothing there. Totals are those after the commit, at the index of their delta;
	// they are good until the next Commit. Of the deltas nothing is kept but their tokens and events.
	Commit(ctx context.Context, writer string, seq uint64, deltas []Delta) ([]Total, error)
	// Freeze turns the open hours that ended at least the ledger's closing time
	// before now into records that never change, and adds records of 0.
	Freeze(ctx context.Context, now time.Time, zero []ZeroKey) error
	// FreezeLicense does so for one license, its present hour included (BILLING B15).
	// A nonzero ends is when the license ended: no deadline of its is more than an hour later.
	FreezeLicense(ctx context.Context, now time.Time, license policy.Key, ends time.Time) error
	// Due lists the records that have to be sent: at most n of each product, earliest deadline first.
	Due(ctx context.Context, now time.Time, n int) ([]Record, error)
	// Sending marks the records as sent, durably, before the first byte leaves (BILLING B10).
	// One that was marked already had an attempt without an answer: it becomes ambiguous.
	Sending(ctx context.Context, now time.Time, records []Record) error
	// Settle writes what AWS answered, outcomes at the index of their record, each on condition
	// that its row is still in the record's state, and returns the rows that it changed.
	Settle(ctx context.Context, now time.Time, records []Record, outcomes []Outcome) ([]Row, error)
	// Retry lets the blocked records be due at once: what AWS refused them for may have been mended (BILLING B12).
	Retry(ctx context.Context) error
	// Expire ends the records whose deadline has passed and returns them (BILLING B13).
	Expire(ctx context.Context, now time.Time) ([]Row, error)
	// Rebook gives the units of a row that AWS did not bill to the license's open hour, late and not through
	// the included units again; the row becomes rebooked (BILLING B21).
	Rebook(ctx context.Context, now time.Time, id string) (Row, error)
	// OtherWriters lists the products of which AWS held what was never sent from here, and nobody has acknowledged
	// it: Freeze adds no records of 0 for these (BILLING B21).
	OtherWriters(ctx context.Context) ([]OtherWriter, error)
	// Acknowledge forgets that sign of a product and returns it; false: there was none.
	Acknowledge(ctx context.Context, product string) (OtherWriter, bool, error)
	// Presence tells at which starts of hours weir was running (BILLING B16).
	Presence(ctx context.Context) (Presence, error)
	// SetPresence keeps it.
	SetPresence(ctx context.Context, p Presence) error
	// Prune removes the rows that ended longer ago than the ledger keeps them. Totals stay.
	Prune(ctx context.Context, now time.Time) error
	// Recall looks usage events up by their ids: those that were committed with a Delta, and came less than 48 h ago.
	Recall(ctx context.Context, now time.Time, ids []EventID) (Memory, error)
	// Forget removes the ids of events that came longer ago.
	Forget(ctx context.Context, now time.Time) error
	// Tokens reads which tokens of checks are used: those of committed deltas. Some of the minutes
	// before the second result may be forgotten (BILLING B04).
	Tokens(ctx context.Context) ([]TokenBlock, time.Time, error)
	// ForgetTokens removes the blocks of tokens whose latest minute is before an instant, and remembers it.
	ForgetTokens(ctx context.Context, before time.Time) error
	// Totals reads the totals of every license and feature, to start from, with the last sequence of the writer.
	Totals(ctx context.Context, writer string) ([]Total, error)
	// Rows lists ledger rows for people, open ones among them, by hour.
	Rows(ctx context.Context, f Filter) (rows []Row, next string, err error)
	// States counts the rows in each state.
	States(ctx context.Context) (map[State]int64, error)
	// Backlog sums up, by product, the records that are frozen, sent or blocked.
	Backlog(ctx context.Context) ([]Backlog, error)
	// Place is nil, or says why nothing may be sent from here (BILLING B17).
	Place() error
}

// Sentinels of a ledger.
var (
	// ErrInUse means that another process holds the ledger.
	ErrInUse = errors.New("state is in use by another weir")
	// ErrCorrupt means that the ledger's file is torn or its content is not what was written.
	ErrCorrupt = errors.New("ledger is corrupt")
	// ErrMoved means that a record is not in the state that the caller read.
	ErrMoved = errors.New("record has changed its state")
	// ErrPlace means that unsettled usage belongs to another region or kind of agreement (BILLING B17).
	ErrPlace = errors.New("unsettled usage belongs to another place")
	// ErrNoRow means that the ledger holds no row of this id.
	ErrNoRow = errors.New("no such record")
	// ErrNoPage means that Filter.After is no next of an earlier page.
	ErrNoPage = errors.New("no next of an earlier page")
	// ErrNotLost means that nothing of a row can be rebooked: it is not refused, conflict or expired, or holds no units.
	ErrNotLost = errors.New("nothing of this record can be rebooked")
	// ErrEnded means that the license has ended: no hour of its is open.
	ErrEnded = errors.New("license has ended")
)

// Delta is what one commit changes for one license, feature and set of terms: units
// counted in an hour, or checks that wait, by the minute in which they were let through.
type Delta struct {
	Kind     Kind
	License  policy.Key
	Account  string // the buyer's AWS account, as the record needs it
	Customer string // the legacy customer identifier, as the record needs it
	Product  string // the configuration's key of the product
	Feature  string
	Quantity int64     // units: counted, > 0; of checks, those known at the check
	Starts   time.Time // when the license began
	Ends     time.Time // when it ended; zero while active
	Terms    policy.Terms

	// Of counted units:
	Hour  time.Time // start of the hour, UTC
	First time.Time // the first whole second at which weir counted in this hour (BILLING B10)
	Late  bool
	Else  time.Time // the hour that takes it, late, where Hour is not open; zero: the first that is open
	// Events are the usage events whose units are in it, which came at Seen. Their ids are kept with the
	// units: both or neither.
	Events []EventID
	Seen   time.Time

	// Of checks:
	Minute time.Time // start of the minute, UTC
	To     time.Time // the minute that Moved moves to
	Count  int64     // checks
	Held   int64     // units held for them
	Epoch  uint64    // of Issued: the process that let them through
	Turn   uint32    // of Issued: which of its commits for this license and feature this is
	Tokens Tokens    // of Resolved and Moved: the checks, whose tokens are used from now on
}

// tells is true of a delta that knows anything of the license but its name.
func (d *Delta) tells() bool {
	return d.Account != "" || d.Customer != "" || d.Product != "" || !d.Starts.IsZero() || !d.Ends.IsZero()
}

// Memory is what a ledger knows of usage events.
type Memory struct {
	Known  []bool    // at the index of the id that was asked for
	Held   int64     // ids that are kept
	Oldest time.Time // when the first of them came; zero: none is kept
}

// Kind is what a Delta is about (BILLING B04).
type Kind uint8

// The kinds of delta.
const (
	Counted  Kind = iota // units
	Issued               // checks let through, which wait for their access log entry
	Moved                // checks that a sign of life brought to a later minute
	Resolved             // checks that have come to an end
	Settled              // checks whose waiting ended without an entry, with their minute
)

// Total is how one license and feature stand.
type Total struct {
	License policy.Key
	Feature string
	Ends    time.Time // when the license ended, once its last hours are frozen; otherwise zero
	Seq     uint64    // the last sequence of the writer that asks
	// Periods holds the present period of each length: its start and the units counted in it.
	Periods [policy.Periods]PeriodTotal

	Counted, Included, Billable, Overrun, Unpriced int64 // units since ever (BILLING B01)
	// Lines holds what billable units wait for a whole billed unit.
	Lines []Carry

	// Closed is the first hour that is open for the license, where it was frozen out of turn; otherwise zero.
	Closed time.Time
	// Issued and Resolved count checks since ever; what is between is in Pending (BILLING B04).
	Issued, Resolved int64
	Pending          []PendingCell
	// Settled is the latest minute whose checks ended without an entry; zero: none.
	Settled time.Time
	Turns   []Turn
}

// PeriodTotal is what was counted in one period.
type PeriodTotal struct {
	Start time.Time
	Used  int64
}

// Carry is what is left of billable units below one whole billed unit, and what rows
// held that are there no longer.
type Carry struct {
	Dimension string
	Per       int64 // counted units in one billed unit
	Units     int64 // counted units, less than Per
	Pruned    int64 // billed units of rows that were pruned, rebooked ones aside
}

// OtherWriter is the sign that something else sends usage of a product: AWS held another quantity for an
// hour of which nothing can have arrived from here (BILLING B21).
type OtherWriter struct {
	Product   string    `json:"product"`
	Since     time.Time `json:"since"`     // when AWS first said so
	Conflicts int64     `json:"conflicts"` // records since
	Record    string    `json:"record"`    // the first one's id
}

// Presence is when weir was running, as far as hours need it: over a jump of the clock it was (BILLING B16).
type Presence struct {
	// Starts are the starts of hours at which weir was running, in rising order: a day of them.
	Starts []time.Time `json:"starts"`
	// Zeroed is the first hour for which no records of 0 were made yet.
	Zeroed time.Time `json:"zeroed,omitzero"`
}

// ZeroKey names a record of 0 to make for an hour without usage (BILLING B16).
type ZeroKey struct {
	License   policy.Key
	Account   string
	Customer  string
	Product   string
	Dimension string
	Hour      time.Time
	Ends      time.Time // when the license ended since; zero while active
}

// Record is what is sent to AWS: frozen whole, and the same at every attempt. The
// names in JSON are the format of a ledger's values.
type Record struct {
	ID        string     `json:"id"`
	Product   string     `json:"product,omitempty"` // the configuration's key
	License   policy.Key `json:"license"`
	Account   string     `json:"account,omitempty"`
	Customer  string     `json:"customer,omitempty"`
	Dimension string     `json:"dimension"`
	Timestamp time.Time  `json:"timestamp"`           // whole seconds, UTC
	Quantity  int64      `json:"quantity"`            // millionths of a billed unit (BILLING B08)
	Deadline  time.Time  `json:"deadline"`            // AWS takes nothing after it (BILLING B13)
	State     State      `json:"state"`               // the state it was read in
	Ambiguous bool       `json:"ambiguous,omitempty"` // an earlier attempt had no clear answer
	Late      bool       `json:"late,omitempty"`
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

// unsettled tells whether the record still has to be sent or answered.
func (s State) unsettled() bool { return s == Frozen || s == Sent || s == Blocked }

// lost tells whether AWS will not bill the row's units, nor are they anywhere else.
func (s State) lost() bool { return s == Refused || s == Conflict || s == Expired || s == Stranded }

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
	// Active, with NotSubscribed, tells that a fresh read shows the license active.
	Active bool
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
	Hour             time.Time `json:"hour"`
	Units            int64     `json:"units"`             // whole billed units; an open row may hold more than a record can
	Feature          string    `json:"feature,omitempty"` // empty in a record of 0
	Per              int64     `json:"per,omitempty"`     // counted units in one billed unit
	Ends             time.Time `json:"ends,omitzero"`     // when the license ended, if it has
	Next             time.Time `json:"next,omitzero"`     // a blocked record is not tried again before
	Settled          time.Time `json:"settled,omitzero"`  // when the row came to its end
	Assumed          bool      `json:"assumed,omitempty"` // accepted without AWS saying so of this attempt
	MeteringRecordID string    `json:"meteringRecordId,omitempty"`
	Error            string    `json:"error,omitempty"`
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

// Backlog sums up the unsettled records of one product.
type Backlog struct {
	Product  string
	Records  int
	Oldest   time.Time // the earliest hour
	Deadline time.Time // the earliest deadline
	Ending   time.Time // the earliest deadline that the end of a license sets; zero: none
}

// Place is where, and with which kind of agreement, usage is sent (BILLING B17).
type Place struct {
	Region     string            `json:"region"`
	Agreements map[string]string `json:"agreements"` // by the configuration's key of the product
}
