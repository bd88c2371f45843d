// Package proxy answers the proxies that ask whether a request may pass: Envoy's
// external authorization over gRPC (ext_authz v3).
//
// Start at [New] and [Server.Run]. A check comes in as Envoy's CheckRequest,
// request.go turns it into a policy.Request, a [Decider] decides, and response.go turns the
// Decision into a CheckResponse. No other file knows these two messages.
//
// # What it guarantees
//
// Envoy takes an empty answer for permission, so one constructor makes every answer,
// and what it is not told to allow it denies. A caller who went away, a
// panic and a check without an HTTP request never end in permission.
//
// No CR, LF or NUL leaves in a header. No header x-weir-* that a client made up
// reaches the application. No log line holds a header, a path or a token.
package proxy
