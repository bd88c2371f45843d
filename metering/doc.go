// Package metering counts what was served and turns it into records that AWS bills
// exactly once.
//
// Start at [Meter]: a [policy.Counter] of it counts in memory on the path of a
// request, or holds what [Meter.Resolve] counts when the access log says that the
// application answered. [Meter.Run] commits what was counted to a [Ledger]. [Bolt] is the
// ledger on a local file, and [Journal] makes its commits cheap. [Dispatcher] takes the records that a ledger has frozen,
// hands them to a [Sender] and settles them by what it answered.
//
// # The way of a unit
//
// held for a check in flight, counted in memory, then in the ledger's open hour, then in a frozen record, sent,
// and at its end accepted, refused, conflict, expired, rebooked, stranded or dry.
//
// # Map
//
// From the request down to the disk, and from there to AWS; each part uses the next ones.
//
//   - In memory: meter.go and tally.go count, window.go counts a repeated check once. waits.go holds
//     the checks in flight, whose tokens are token.go and tokenkey.go; resolve.go and ending.go end them,
//     settle.go those that no entry came for. events.go and gathering.go take what the application reports.
//   - By the clock: commit.go commits and freezes, lasthour.go sees to licenses that end, zero.go to
//     hours without usage.
//   - The contract: ledger.go is what any [Ledger] does, held to it by the package ledgertest. Its arithmetic is
//     pure: book.go and pending.go for one license and feature, bits.go for used tokens, row.go for a
//     record and its states.
//   - The journal: journal.go answers commits, segment.go and change.go are what one file of it
//     holds, journalfile.go writes it, journalread.go reads it after a crash, journalfold.go takes it over into the ledger.
//   - The ledger on bbolt: bolt*.go, one file for each part of the contract, begun in bolt.go, which has the
//     buckets. bookcode.go and code.go are a book's bytes; ledgerfile.go closes and verifies the file after trouble,
//     aside.go begins a new one in the place of one that is damaged, salvage.go reads that.
//   - To AWS: sending.go and round.go take what is due and settle it, backoff.go waits.
//
// # What it guarantees
//
// The rules are numbered B01 to B21; tests carry the number of the rule they prove.
// Every counted unit is included, billable, overrun or unpriced, and every billable
// one in exactly one row or carried (B01). Each check in flight ends exactly once, whatever
// comes of its entry, over restarts and crashes (B04). For a license, dimension and hour at most
// one quantity ever leaves (B10). A count is on disk within 50 ms (B07), and nobody on the path of
// a request waits for the disk.
//
// All times that matter to a bill are AWS time, from the clock that a constructor takes (B18).
package metering
