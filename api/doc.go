// Package api is the HTTP that operators, applications and buyers call.
//
// Start at [NewAdmin] (listen.admin: metrics, health, status, the ledger's rows, licenses,
// why a request is decided as it is), [NewHTTP] (listen.http: what a tenant may use, a
// request checked without counting it, usage that it reports, and the checks of proxies, which
// package proxy answers) and [NewPublic] (listen.public: registration). The
// first two share the endpoints that tie tenants to buyers (tenants.go). A buyer who
// registers takes a signed claim along (claim.go). The package holds no state: [Sources],
// [HTTPSources] and [PublicSources] say where the answers come from.
//
// # What it guarantees
//
// Every error is a problem (RFC 9457), but to a buyer in a browser: he gets a page that
// says what to do and holds nothing of his request. Every endpoint answers before there is
// anything to answer. On an address that others can reach, nobody without the callers'
// token or a verified certificate learns more than whether the process lives and is ready,
// listen.public apart, which gives nothing away. Only ties, reported usage (usage_events.go) and what
// people decide about the ledger (rebook.go) change anything.
package api
