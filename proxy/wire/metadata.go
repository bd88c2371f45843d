package wire

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// namespace is an entry of the dynamic metadata, not looked into.
type namespace struct {
	name  string
	entry []byte
}

// namespaces are those of a message, which may name one more than once.
type namespaces []namespace

// scan adds those of a Metadata, as many as there is room for; it is false where that does not do, or
// the Metadata is malformed.
func (n *namespaces) scan(msg []byte, room *count) bool {
	c := cursor{rest: msg}
	for c.next() {
		if c.content() != metadataFilterMetadata {
			continue
		}
		key, _, ok := entry(c.value)
		if !ok || room.full() {
			return false
		}
		*n = append(*n, namespace{view(key), c.value})
	}
	return !c.broken
}

// find is the entry of a name: the last one counts.
func (n namespaces) find(name string) (entry []byte, ok bool) {
	for i := len(n) - 1; i >= 0; i-- {
		if n[i].name == name {
			return n[i].entry, true
		}
	}
	return nil, false
}

// Metadata is a dynamic metadata value as text. One that is there and has no text
// form (a list, an object, null) is an empty text, so that it is found unusable
// and not passed over; so is one behind bytes that are malformed.
func (r *Request) Metadata(name string, path []string) (string, bool) {
	at, ok := r.metadata.find(name)
	if !ok || len(path) == 0 {
		return "", false
	}
	return descend(at, path)
}

// descend follows a path of keys from a map's entry whose value is a Struct.
func descend(at []byte, path []string) (string, bool) {
	fields, ok := merged(at, entryValue)
	v := value{kind: valueStruct, parts: parts{bytes: fields}}
	for _, key := range path {
		if !ok {
			return "", true
		}
		var found bool
		at, found, ok = lastEntry(v.fields(), key)
		if !found {
			return "", !ok
		}
		v, ok = readValue(at)
	}
	return v.text(), true
}

// lastEntry is the entry of a Struct's fields that counts for a key. It is not ok
// where the Struct is malformed, and nothing is found then.
func lastEntry(fields []byte, key string) (last []byte, found, ok bool) {
	c := cursor{rest: fields}
	for c.next() {
		if c.content() != structFields {
			continue
		}
		name, _, ok := entry(c.value)
		if !ok {
			return nil, false, false
		}
		if view(name) == key {
			last, found = c.value, true
		}
	}
	return last, found && !c.broken, !c.broken
}

// value is a google.protobuf.Value: one kind, by its field's number, and its content.
type value struct {
	kind protowire.Number
	parts
}

// readValue reads the value of an entry. Its kinds are a oneof: the last one counts,
// and a Struct in parts that no other kind comes between is merged.
func readValue(entry []byte) (v value, ok bool) {
	msg, ok := merged(entry, entryValue)
	c := cursor{rest: msg}
	for c.next() {
		switch {
		case c.kind != wireType(c.number):
		case c.number == valueStruct && v.kind == valueStruct:
			v.add(c.value)
		default:
			v = value{c.number, parts{bytes: c.value}}
		}
	}
	if !ok || c.broken {
		return value{}, false
	}
	return v, true
}

// wireType is how a kind of Value is encoded; a wire type of no use for a number that is none.
func wireType(kind protowire.Number) protowire.Type {
	switch kind {
	case valueNull, valueBool:
		return protowire.VarintType
	case valueNumber:
		return protowire.Fixed64Type
	case valueString, valueStruct, valueList:
		return protowire.BytesType
	default:
		return protowire.EndGroupType
	}
}

// fields is the content of a Struct; any other kind has no fields.
func (v value) fields() []byte {
	if v.kind == valueStruct {
		return v.bytes
	}
	return nil
}

// text is a text, number or boolean as text, and empty for all others.
func (v value) text() string {
	switch v.kind {
	case valueString:
		return view(v.bytes)
	case valueNumber:
		bits, _ := protowire.ConsumeFixed64(v.bytes)
		return strconv.FormatFloat(math.Float64frombits(bits), 'f', -1, 64)
	case valueBool:
		n, _ := protowire.ConsumeVarint(v.bytes)
		return strconv.FormatBool(protowire.DecodeBool(n))
	default:
		return ""
	}
}
