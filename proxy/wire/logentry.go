package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// errMalformedLog is the error of bytes that are no message of the access log.
var errMalformedLog = errors.New("read access log: the message is malformed")

// LogEntry is what an HTTPAccessLogEntry says of a request and its end. Scan fills it; it can be
// used again and again. Its strings are views into the scanned message.
type LogEntry struct {
	// Type is when in the request's life it was written (accesslogv3.AccessLogType).
	Type int32
	// Intermediate tells of one without a type that it was not written at the end.
	Intermediate bool
	// Upstream tells that a byte of the response came from upstream.
	Upstream bool
	// Code is the status of the response, Details is why it has that (Envoy: response_code_details).
	Code    uint32
	Details string
	// RequestBytes and ResponseBytes are the sizes of the bodies.
	RequestBytes, ResponseBytes uint64

	headers, trailers []Field // of the response; of one name the last counts
	metadata          namespaces
	fields            count
	broken            bool
}

// Scan reads an entry. After an error it says nothing that can be relied on.
func (e *LogEntry) Scan(msg []byte) error {
	e.Reset()
	c := cursor{rest: msg}
	for c.next() {
		switch c.content() {
		case logCommon:
			e.scanCommon(c.value)
		case logRequest:
			e.scanRequest(c.value)
		case logResponse:
			e.scanResponse(c.value)
		}
	}
	if e.broken || c.broken {
		return errMalformedLog
	}
	return nil
}

// Reset forgets the entry, so that its buffer can be used for another.
func (e *LogEntry) Reset() {
	clear(e.headers)
	clear(e.trailers)
	clear(e.metadata)
	*e = LogEntry{headers: e.headers[:0], trailers: e.trailers[:0], metadata: e.metadata[:0]}
}

// ResponseHeader is a header of the response that Envoy was told to log, by its lower-case name.
func (e *LogEntry) ResponseHeader(name string) (string, bool) { return lastOf(e.headers, name) }

// ResponseTrailer is a trailer of the response that Envoy was told to log, by its lower-case name.
func (e *LogEntry) ResponseTrailer(name string) (string, bool) { return lastOf(e.trailers, name) }

// Text is a field of a namespace of the dynamic metadata that is a text; empty where it is not.
func (e *LogEntry) Text(name, key string) string {
	at, _ := e.metadata.find(name)
	fields, whole := merged(at, entryValue)
	at, found, _ := lastEntry(fields, key)
	if !whole || !found {
		return ""
	}
	if v, ok := readValue(at); ok && v.kind == valueString {
		return view(v.bytes)
	}
	return ""
}

func (e *LogEntry) scanCommon(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		switch c.content() {
		case commonFirstUpstreamByte:
			e.Upstream = true
		case commonMetadata:
			e.broken = !e.metadata.scan(c.value, &e.fields) || e.broken
		}
		switch c.varint() {
		case commonType:
			e.Type = int32(c.uint())
		case commonIntermediate:
			e.Intermediate = protowire.DecodeBool(c.uint())
		}
	}
	e.broken = e.broken || c.broken
}

func (e *LogEntry) scanRequest(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		if c.varint() == requestBodyBytes {
			e.RequestBytes = c.uint()
		}
	}
	e.broken = e.broken || c.broken
}

func (e *LogEntry) scanResponse(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		switch c.content() {
		case responseCode:
			e.scanCode(c.value)
		case responseHeaders:
			e.headers = e.add(e.headers, c.value)
		case responseTrailers:
			e.trailers = e.add(e.trailers, c.value)
		case responseDetails:
			e.Details = view(c.value)
		}
		if c.varint() == responseBodyBytes {
			e.ResponseBytes = c.uint()
		}
	}
	e.broken = e.broken || c.broken
}

// scanCode reads a UInt32Value.
func (e *LogEntry) scanCode(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		if c.varint() == wrapperValue {
			e.Code = uint32(c.uint())
		}
	}
	e.broken = e.broken || c.broken
}

// add adds an entry of a map<string, string>.
func (e *LogEntry) add(to []Field, msg []byte) []Field {
	key, value, ok := entry(msg)
	if !ok || e.fields.full() {
		e.broken = true
		return to
	}
	return append(to, Field{view(key), view(value)})
}

// lastOf is the value of the last field of a name.
func lastOf(fields []Field, name string) (string, bool) {
	for i := len(fields) - 1; i >= 0; i-- {
		if fields[i].Name == name {
			return fields[i].Value, true
		}
	}
	return "", false
}

// varint is the number of a field of a varint, 0 of any other.
func (c *cursor) varint() protowire.Number {
	if c.kind == protowire.VarintType {
		return c.number
	}
	return 0
}

// uint is the value of a field of a varint.
func (c *cursor) uint() uint64 {
	n, _ := protowire.ConsumeVarint(c.value)
	return n
}

// logEntries hands over every HTTP entry of a StreamAccessLogsMessage, each scanned into e.
// Its lists are a oneof: HTTP entries that those of TCP follow do not count.
func logEntries(msg []byte, e *LogEntry, take func(*LogEntry)) error {
	http := msg
	all := cursor{rest: msg}
	for all.next() {
		if all.content() == messageTCP {
			http = all.rest
		}
	}
	lists := cursor{rest: http}
	for !all.broken && lists.next() {
		if lists.content() != messageHTTP {
			continue
		}
		each := cursor{rest: lists.value}
		for each.next() {
			if each.content() != listEntry {
				continue
			}
			if err := e.Scan(each.value); err != nil {
				return err
			}
			take(e)
		}
		all.broken = each.broken
	}
	if all.broken {
		return errMalformedLog
	}
	return nil
}
