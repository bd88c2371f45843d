// Package policy decides requests: it is pure, has no clock and does no I/O, and
// uses nothing but the standard library.
//
// Start at [Compile], which turns a [Config] into a [Policy], then read
// [Policy.Decide]. The words are those of weir.yaml: a license holds
// entitlements, which choose plans, which grant features, which routes require
// and meter.
//
// # Map
//
//   - A decision: decide.go, from request.go to decision.go; reason.go and problem.go are what it says to people.
//   - Which route: router.go, for each of the readings of a path (path.go, readings.go) and host.go.
//   - Who asks: identity.go, subject.go. What he holds: view.go, license.go, holding.go, entitlements.go, trial.go.
//   - What is counted: measure.go and counter.go for requests, charge.go for what the application reports.
//   - The configuration: config.go, compiled by compile.go; validate*.go finds every mistake in it, each a field.go.
//
// # What it guarantees
//
// The zero [Decision] denies. An allowed decision allocates nothing. A request
// never gets a less strict route than one that a reading of its path names.
package policy
