// Package wire reads and writes the messages of Envoy's external authorization (envoy.service.auth.v3), and
// reads those of its access log, where they lie: it knows their bytes and nothing of weir's rules.
//
// The generated types make some 150 objects of a CheckRequest, of which a decision
// looks at five strings, and some 120 of each entry of the access log, of which as little matters. Here a
// [Request] and a [LogEntry] are scanned once and hold views into the message, and an [Answer] is
// appended in one pass. Start at [Register] and [RegisterLog], which put a [Checker] and a [Logger] on a gRPC
// server, and [NewCodec], which that server needs; any other service on it keeps the generated types.
//
// # What it guarantees
//
// Of a message that proto.Unmarshal takes, Request and LogEntry say what the generated types say:
// fields in any order, unknown fields and groups, submessages in several parts, repeated
// keys, missing keys. What nobody reads is skipped and not looked into, so a message
// that proto.Unmarshal refuses may be read; in doubt a value is present and empty, which is
// no identity and no quantity.
//
// # Lifetime
//
// Every string of a Request is a view into grpc's buffer, which is used again once
// [Checker.AppendAnswer] has returned; one of a LogEntry, once the function given to [LogStream.Receive]
// has. Whatever is kept longer has to be cloned.
//
// The bytes are described at protobuf.dev, "Encoding"; the fields in Envoy's
// external_auth.proto, attribute_context.proto, base.proto, als.proto and accesslog.proto.
package wire
