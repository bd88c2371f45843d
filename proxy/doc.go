// Package proxy answers the proxies that ask whether a request may pass, and hears from
// them how it ended: Envoy's external authorization (ext_authz v3) and access log
// (HTTP gRPC access log v3), on the same addresses.
//
// Start at [New] and [Server.Run]. A check comes in as Envoy's CheckRequest,
// request.go turns it into a policy.Request, a [Decider] decides, and response.go turns the
// Decision into a CheckResponse; package wire knows the bytes of both. Proxies that ask
// over HTTP (nginx, Traefik, Caddy, Envoy's http_service) are answered by [Server.Forward]:
// forwarded.go reads their questions, and the answers are made by the same code.
//
// The answer to a metered check carries a token of [Tokens] in its dynamic metadata, and the
// access log entry of the request brings it back: accesslog.go reads entries, served.go
// tells what the application served and how much, and [Endings] takes it (BILLING B04).
//
// # What it guarantees
//
// Envoy takes an empty answer for permission, so one constructor makes every answer,
// and what it is not told to allow it denies. A caller who went away, a
// panic and a check without an HTTP request never end in permission, and what was held for
// them is released.
//
// Every entry of every stream is heard, whatever the others are: none of them is
// acknowledged or sent again. At the end entries are waited for before their streams end.
//
// No CR, LF or NUL leaves in a header. No header x-weir-* that a client made up
// reaches the application. No log line holds a header, a path or a token.
package proxy
