// Package api is the HTTP that operators call: metrics, health, status, the ledger's
// rows, licenses, and why a request is decided as it is.
//
// Start at [NewAdmin] and [Admin.Run]. The package holds no state: [Sources] says where
// the answers come from, and each source is an interface of one or two methods.
//
// # What it guarantees
//
// Every error is a problem (RFC 9457). Every endpoint answers before there is anything
// to answer. On an address that others can reach, nobody without the callers' token or a
// verified certificate learns more than whether the process lives and is ready.
// No request changes anything.
package api
