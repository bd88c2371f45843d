package wire

import "strings"

// MaxFields is how many headers are read of one message, and how many context extensions
// and namespaces of metadata, repeated ones included: Envoy takes 100 headers by default,
// and its operator names the others.
const MaxFields = 1024

// Field is a name and its value.
type Field struct{ Name, Value string }

// Request is what a CheckRequest says. Scan fills it; it can be used again and again.
// Its strings are views into the scanned message.
type Request struct {
	ID, Method, Host, Path string
	// Principal is that of the client's certificate.
	Principal string
	// HTTP tells that there is an HTTP request at all.
	HTTP bool
	// Dropped is how many headers came beyond MaxFields; the Request does not hold them.
	Dropped int

	joined     []Field // headers, where Envoy has joined repeated ones by ","
	raw        []Field // header_map, which Envoy fills instead with encode_raw_headers
	names      nameSet // of joined
	extensions []Field
	metadata   namespaces
	headers    count
	others     count
	broken     bool
}

// Scan reads a message. After an error the Request says nothing that can be relied on.
func (r *Request) Scan(msg []byte) error {
	r.Reset()
	c := cursor{rest: msg}
	for c.next() {
		if c.content() == checkAttributes {
			r.scanAttributes(c.value)
		}
	}
	if r.broken || c.broken {
		return errMalformed
	}
	return nil
}

// Reset forgets the message, so that its buffer can be used for another.
func (r *Request) Reset() {
	clear(r.joined)
	clear(r.raw)
	clear(r.extensions)
	clear(r.metadata)
	*r = Request{joined: r.joined[:0], raw: r.raw[:0], extensions: r.extensions[:0], metadata: r.metadata[:0]}
}

// Fields are the request's headers in the form in which they came. In the joined
// form no name comes twice.
func (r *Request) Fields() []Field {
	if len(r.raw) > 0 {
		return r.raw
	}
	return r.joined
}

// Header is a request header by its lower-case name, and how often it was given: its
// values joined by ",". What Envoy has joined counts as given once.
func (r *Request) Header(name string) (value string, n int) {
	fields := r.Fields()
	for i := range fields {
		if fields[i].Name != name {
			continue
		}
		if n > 0 {
			return r.joinRaw(name)
		}
		value, n = fields[i].Value, 1
		if len(r.raw) == 0 { // no name comes twice
			break
		}
	}
	return value, n
}

// joinRaw joins the values of a header that was given more than once.
func (r *Request) joinRaw(name string) (value string, n int) {
	var values []string
	for _, h := range r.raw {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return strings.Join(values, ","), len(values)
}

// Context is a context extension of Envoy's route.
func (r *Request) Context(key string) (string, bool) {
	for _, e := range r.extensions {
		if e.Name == key {
			return e.Value, true
		}
	}
	return "", false
}

func (r *Request) scanAttributes(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		switch c.content() {
		case attributesSource:
			r.scanPeer(c.value)
		case attributesRequest:
			r.scanRequest(c.value)
		case attributesContextExtensions:
			r.addExtension(c.value)
		case attributesMetadataContext:
			r.broken = !r.metadata.scan(c.value, &r.others) || r.broken
		}
	}
	r.broken = r.broken || c.broken
}

func (r *Request) scanPeer(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		if c.content() == peerPrincipal {
			r.Principal = view(c.value)
		}
	}
	r.broken = r.broken || c.broken
}

func (r *Request) scanRequest(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		if c.content() == requestHTTP {
			r.HTTP = true
			r.scanHTTP(c.value)
		}
	}
	r.broken = r.broken || c.broken
}

func (r *Request) scanHTTP(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		switch c.content() {
		case httpID:
			r.ID = view(c.value)
		case httpMethod:
			r.Method = view(c.value)
		case httpHeaders:
			r.addJoined(c.value)
		case httpPath:
			r.Path = view(c.value)
		case httpHost:
			r.Host = view(c.value)
		case httpHeaderMap:
			r.scanHeaderMap(c.value)
		}
	}
	r.broken = r.broken || c.broken
}

// addJoined adds an entry of headers; the last of one name counts.
func (r *Request) addJoined(msg []byte) {
	key, value, ok := entry(msg)
	f := Field{view(key), view(value)}
	switch {
	case !ok:
		r.broken = true
	case r.headers.full():
		r.Dropped++
	case r.names.add(f.Name) || !replace(r.joined, f):
		r.joined = append(r.joined, f)
	}
}

func (r *Request) scanHeaderMap(msg []byte) {
	c := cursor{rest: msg}
	for c.next() {
		if c.content() == headerMapHeaders {
			r.addRaw(c.value)
		}
	}
	r.broken = r.broken || c.broken
}

// addRaw adds a HeaderValue; its raw value goes before its value.
func (r *Request) addRaw(msg []byte) {
	var f Field
	var raw []byte
	c := cursor{rest: msg}
	for c.next() {
		switch c.content() {
		case headerKey:
			f.Name = view(c.value)
		case headerValue:
			f.Value = view(c.value)
		case headerRawValue:
			raw = c.value
		}
	}
	if len(raw) > 0 {
		f.Value = view(raw)
	}
	switch {
	case c.broken:
		r.broken = true
	case r.headers.full():
		r.Dropped++
	default:
		r.raw = append(r.raw, f)
	}
}

func (r *Request) addExtension(msg []byte) {
	key, value, ok := entry(msg)
	f := Field{view(key), view(value)}
	switch {
	case !ok || r.others.full():
		r.broken = true
	case !replace(r.extensions, f):
		r.extensions = append(r.extensions, f)
	}
}

// count counts fields up to MaxFields.
type count int

// full counts one more, and tells whether there is no room for it.
func (n *count) full() bool {
	*n++
	return *n > MaxFields
}

// replace puts a field into the place of the one with its name, if there is one.
func replace(fields []Field, f Field) bool {
	for i := range fields {
		if fields[i].Name == f.Name {
			fields[i].Value = f.Value
			return true
		}
	}
	return false
}

// nameSet tells at once of nearly every name that it is new, so that a map's entries
// need not all be compared with each other. It is a Bloom filter of one hash.
type nameSet [4]uint64

// add adds a name; true: it is certainly new.
func (s *nameSet) add(name string) bool {
	hash := uint32(len(name))
	if name != "" {
		hash = hash*31 + uint32(name[0])
		hash = hash*31 + uint32(name[len(name)/2])
		hash = hash*31 + uint32(name[len(name)-1])
	}
	place := hash * 0x9E3779B1 >> 24 // Fibonacci hashing to 8 bits
	word, bit := place>>6, uint64(1)<<(place&63)
	isNew := s[word]&bit == 0
	s[word] |= bit
	return isNew
}
