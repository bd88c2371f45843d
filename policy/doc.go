// Package policy decides requests: it is pure, has no clock and does no I/O, and
// uses nothing but the standard library.
//
// Start at [Compile], which turns a [Config] into a [Policy], then read
// [Policy.Decide]. The words are those of weir.yaml: a license holds
// entitlements, which choose plans, which grant features, which routes require
// and meter.
//
// # What it guarantees
//
// The zero [Decision] denies. An allowed decision allocates nothing. A request
// never gets a less strict route than one that a reading of its path names.
package policy
