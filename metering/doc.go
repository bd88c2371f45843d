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
