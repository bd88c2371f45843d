package wire

import (
	"errors"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// errMalformed is the error of bytes that are no protobuf message.
var errMalformed = errors.New("read check: the message is malformed")

// cursor walks over the fields of one message.
type cursor struct {
	rest   []byte
	number protowire.Number
	kind   protowire.Type
	value  []byte // of a length-delimited field its content, else the value as encoded
	broken bool   // what is left is no message
}

// next goes to the next field; it is false at the end, and where the message is broken.
func (c *cursor) next() bool {
	if len(c.rest) == 0 {
		return false
	}
	number, kind, n := protowire.ConsumeTag(c.rest)
	if n < 0 {
		return c.stop()
	}
	c.number, c.kind = number, kind
	rest := c.rest[n:]
	if kind == protowire.BytesType {
		c.value, n = protowire.ConsumeBytes(rest)
	} else if n = protowire.ConsumeFieldValue(number, kind, rest); n >= 0 {
		c.value = rest[:n]
	}
	if n < 0 {
		return c.stop()
	}
	c.rest = rest[n:]
	return true
}

func (c *cursor) stop() bool {
	c.rest, c.broken = nil, true
	return false
}

// content is the number of a length-delimited field, 0 of any other: a known number
// with another wire type is an unknown field.
func (c *cursor) content() protowire.Number {
	if c.kind == protowire.BytesType {
		return c.number
	}
	return 0
}

// merged is a submessage of msg that may come in several parts.
func merged(msg []byte, field protowire.Number) (sub []byte, ok bool) {
	var all parts
	c := cursor{rest: msg}
	for c.next() {
		if c.content() == field {
			all.add(c.value)
		}
	}
	return all.bytes, !c.broken
}

// parts are those of a submessage. One after the other they are the message that
// protobuf's merging makes of them, so only the rare second part costs a copy.
type parts struct {
	bytes []byte
	own   bool // a copy
}

func (p *parts) add(b []byte) {
	switch {
	case len(p.bytes) == 0:
		p.bytes, p.own = b, false
	case p.own:
		p.bytes = append(p.bytes, b...)
	default:
		p.bytes, p.own = append(p.bytes[:len(p.bytes):len(p.bytes)], b...), true
	}
}

// entry reads an entry of a map<string, …>: a missing key or value is empty, and the
// last of several counts. The value is for text and bytes; a message's is merged(msg, entryValue).
func entry(msg []byte) (key, value []byte, ok bool) {
	c := cursor{rest: msg}
	for c.next() {
		switch c.content() {
		case entryKey:
			key = c.value
		case entryValue:
			value = c.value
		}
	}
	return key, value, !c.broken
}

// view is b as text, without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
