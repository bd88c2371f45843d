// Package cache holds what every buyer holds, in memory, and keeps it true.
//
// Start at [New], [Cache.Run] and [Cache.Hint]; [Gate.Decide] is what a proxy
// asks. In order of the journey of one entitlement: a [Source] reads
// (source.go), once for all who wait (reads.go), because of a hint (hints.go,
// followup.go), a sweep (sweep.go) or an unknown subject (lookup.go); the rules
// for racing reads decide what of it is believed (apply.go, absence.go); an edit
// makes the next [Snapshot] (edit.go, snapshot.go, table.go), and so does time
// (expiries.go); the disk copy keeps it for the next start (copy.go, codec.go,
// disk.go). Gate (gate.go, tally.go), status.go and metrics.go look at the snapshot.
//
// Tenants are tied to buyers by the configuration (tenants.go) and at run time
// ([Cache.Tie], ties.go), to what tied.go says; tenants.db keeps that (tenantfile.go).
// What AWS tells of a free trial is kept beside it (trials.go).
// A pin follows its license to the one that takes its place (pins.go).
//
// # What it guarantees
//
// Readers never wait: a Snapshot is immutable, stands behind one atomic pointer,
// and looking a subject up allocates nothing. Writers are serialised among
// themselves by a mutex that no reader touches.
//
// A read replaces a license only if it began after the read behind the present
// one. A license ends only when two reads 30 s apart don't show it, or when an
// event says that it ended and a read agrees. From an incomplete read nothing is
// concluded about what it does not show.
//
// A tie is durable before it is answered, and in the snapshot then. A license is pinned
// to one tenant; its pin moves in the very snapshot in which the license ends.
//
// Unknown subjects cost at most five calls a second at AWS and a fixed amount of
// memory, however many there are.
//
// # Time
//
// Dates of licenses are compared with AWS time, the now of New. What waits
// (sweeps, second reads, negative entries) goes on when AWS time or local time has
// passed, whichever is first. Which of two reads began first is told by a number
// and not by a clock, so that a step of AWS time can't turn the order around.
package cache
