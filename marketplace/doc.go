// Package marketplace is the one place where weir talks to AWS: entitlements,
// metering, notifications, and the time that AWS has.
//
// Start at [Connect]: it turns a [Config] into a [Connection], which hands out
// everything else: [Entitlements] or [Agreements] (a cache.Source for each product), [Usage] (the
// metering.Sender), [Queue] (hints from SQS), [Notifications] (hints that SNS posts), [AgreementWatch]
// (hints for what neither told), [Registrations] (who has just bought), and [Clock].
//
// # Map
//
//   - Every call: connect.go makes the clients, observe.go sees each call, clock.go learns AWS's time from it,
//     limits.go keeps the quotas, errors.go tells what an error means.
//   - What buyers hold: entitlements.go for contracts, agreements*.go for what is paid as it goes and for
//     renewals, subscriptions*.go and history.go for listings of which only SNS tells, trials.go for free trials.
//   - What has changed: queue.go receives from SQS, notifications.go what SNS posts. envelope.go, certificates.go, topics.go and
//     replays.go say what of that is believed, events.go what it means, aside.go keeps what nobody understands,
//     hearing.go knows how long AWS has been silent.
//   - What buyers owe: metering.go sends, batch.go divides records among calls.
//   - Who has just bought: registration.go. What weir will need: checkup*.go, for `weir doctor`.
//
// # What it guarantees
//
// AWS's quotas are kept for the whole account by one [Limits]: a sweep never delays
// the read that a notification caused.
//
// A usage record leaves once for each attempt that the ledger makes, and again within it
// only when AWS has refused the whole call for the fault of one record. Each record's
// outcome says the least that is certain: what may have been recorded is ambiguous.
//
// A notification is a hint, and is deleted, or SNS answered, only after its effect. What comes through SQS is
// trusted as far as the queue's policy lets AWS alone send; what is posted has to be signed by SNS.
//
// AWS types stop here, and its errors: what one means for a record is the metering.Answer of its outcome
// (errors.go, metering.go).
package marketplace
