// Package marketplace is the one place where weir talks to AWS: entitlements,
// metering, notifications, and the time that AWS has.
//
// Start at [Connect]: it turns a [Config] into a [Connection], which hands out
// everything else: [Entitlements] or [Agreements] (a cache.Source for each product), [Usage] (the
// metering.Sender), [Queue] (hints from SQS), [Notifications] (hints that SNS posts), [AgreementWatch]
// (hints for what neither told), [Registrations] (who has just bought), and [Clock].
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
// AWS types stop here. [IsTransient], [IsAmbiguous] and [IsThrottle] tell callers
// what an error means.
package marketplace
