package wire

import (
	"errors"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// errMalformed is the error of bytes that are no protobuf message.
var errMalformed = errors.New("read check: the message is malformed")

// How a tag and a length are written (protobuf.dev, "Encoding").
const (
	tagBits   = 3              // of a tag, before the field's number: its wire type
	kindMask  = 1<<tagBits - 1 // of these bits
	leastTag  = 1 << tagBits   // no field has the number 0
	moreBytes = 0x80           // on every byte of a varint but the last
	briefSize = 1 << 14        // the least that two bytes don't hold
)

// tag is that of a length-delimited field whose number is at most 15: it takes one byte.
func tag(number byte) byte { return number<<tagBits | byte(protowire.BytesType) }

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
	b := c.rest
	start, end := brief(b)
	if end == 0 {
		return c.general()
	}
	c.number, c.kind, c.value, c.rest = protowire.Number(b[0]>>tagBits), protowire.BytesType, b[start:end], b[end:]
	return true
}

// general is next for every field; it alone says what is valid.
func (c *cursor) general() bool {
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

// brief tells where the content of a length-delimited field lies whose tag takes one byte
// and whose length one or two, as nearly all do. The end is 0 for any other field, be it
// valid or not.
func brief(b []byte) (start, end int) {
	if len(b) < 3 || b[0] < leastTag || b[0]&(moreBytes|kindMask) != byte(protowire.BytesType) {
		return 0, 0
	}
	size, start := int(b[1]), 2
	if size >= moreBytes {
		size, start = size&^moreBytes|int(b[2])<<7, 3
	}
	if size >= briefSize || size > len(b)-start {
		return 0, 0
	}
	return start, start + size
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
	if start, end := brief(msg); end != 0 && msg[0] == tag(entryKey) {
		rest := msg[end:]
		if from, to := brief(rest); to == len(rest) && to != 0 && rest[0] == tag(entryValue) {
			return msg[start:end], rest[from:to], true // as every encoder writes it
		}
	}
	return generalEntry(msg)
}

// generalEntry is entry for every way to write one.
func generalEntry(msg []byte) (key, value []byte, ok bool) {
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
