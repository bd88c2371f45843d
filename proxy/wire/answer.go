package wire

import "google.golang.org/protobuf/encoding/protowire"

// What a denial says that does not say it well itself: Envoy takes status code 0 for permission.
const (
	codeUnavailable   = 14  // google.rpc.Code
	statusUnavailable = 503 // HTTP
	leastError        = 400 // HTTP
)

// How many bytes a tag takes, and the length of a submessage below 128 bytes.
const tagSize, shortLength = 1, 1

// briefPair bounds a name and its value together, in bytes: below it every length around
// them takes one byte. Nearly all are. The six are three tags and three lengths.
const briefPair = 128 - 6

// Answer is what a CheckResponse says. The zero Answer denies. Its text has to be UTF-8.
type Answer struct {
	Allowed bool
	Code    int32 // google.rpc.Code of a denial
	Status  int32 // HTTP status of a denial
	Body    string

	// Headers go to the application, those of a denial to the client.
	Headers []Field
	// Remove are the client's headers that must not reach the application. Envoy removes
	// after it has set.
	Remove []string
	// ResponseHeaders go to the client of a request that is allowed.
	ResponseHeaders []Field
	// Metadata is dynamic metadata: fields of text. No name may come twice.
	Metadata []Field
}

// Reset makes it the zero Answer, and keeps the room of its lists.
func (a *Answer) Reset() {
	clear(a.Headers)
	clear(a.Remove)
	clear(a.ResponseHeaders)
	clear(a.Metadata)
	*a = Answer{Headers: a.Headers[:0], Remove: a.Remove[:0], ResponseHeaders: a.ResponseHeaders[:0], Metadata: a.Metadata[:0]}
}

// Append appends the answer as a CheckResponse. Headers have no append action: Envoy
// drops a denial's header that has one (Envoy: DeniedHttpResponse.headers).
func (a *Answer) Append(b []byte) []byte {
	if a.Allowed {
		b = appendAllowance(b, a)
	} else {
		b = appendDenial(b, a)
	}
	b, start := open(b, responseDynamicMetadata)
	for _, f := range a.Metadata {
		b = appendValue(b, f)
	}
	return closed(b, start)
}

func appendAllowance(b []byte, a *Answer) []byte {
	b = begin(b, responseStatus, 0)
	b, start := open(b, responseOK)
	for _, f := range a.Headers {
		b = appendHeader(b, okHeaders, f)
	}
	for _, name := range a.Remove {
		b = appendText(b, okHeadersToRemove, name)
	}
	for _, f := range a.ResponseHeaders {
		b = appendHeader(b, okResponseHeadersToAdd, f)
	}
	return closed(b, start)
}

func appendDenial(b []byte, a *Answer) []byte {
	code, status := a.Code, a.Status
	if code == 0 || status < leastError {
		code, status = codeUnavailable, statusUnavailable
	}
	b, start := open(b, responseStatus)
	b = appendNumber(b, statusCode, code)
	b = closed(b, start)
	b, start = open(b, responseDenied)
	b, inner := open(b, deniedStatus)
	b = appendNumber(b, httpStatusCode, status)
	b = closed(b, inner)
	for _, f := range a.Headers {
		b = appendHeader(b, deniedHeaders, f)
	}
	b = appendText(b, deniedBody, a.Body)
	return closed(b, start)
}

// appendHeader appends a HeaderValueOption.
func appendHeader(b []byte, number byte, f Field) []byte {
	if size := len(f.Name) + len(f.Value); size < briefPair {
		b = append(b, tag(number), byte(size+6), tag(optionHeader), byte(size+4), tag(headerKey), byte(len(f.Name)))
		b = append(b, f.Name...)
		b = append(b, tag(headerValue), byte(len(f.Value)))
		return append(b, f.Value...)
	}
	header := fieldSize(len(f.Name)) + fieldSize(len(f.Value))
	b = begin(b, number, fieldSize(header))
	b = begin(b, optionHeader, header)
	b = appendText(b, headerKey, f.Name)
	return appendText(b, headerValue, f.Value)
}

// appendValue appends an entry of a Struct's fields, whose value is a text, of a oneof and
// so there even if it is empty.
func appendValue(b []byte, f Field) []byte {
	if size := len(f.Name) + len(f.Value); size < briefPair {
		b = append(b, tag(structFields), byte(size+6), tag(entryKey), byte(len(f.Name)))
		b = append(b, f.Name...)
		b = append(b, tag(entryValue), byte(len(f.Value)+2), tag(valueString), byte(len(f.Value)))
		return append(b, f.Value...)
	}
	value := fieldSize(len(f.Value))
	b = begin(b, structFields, fieldSize(len(f.Name))+fieldSize(value))
	b = appendText(b, entryKey, f.Name)
	b = begin(b, entryValue, value)
	return appendText(b, valueString, f.Value)
}

func appendText(b []byte, number byte, text string) []byte {
	return append(begin(b, number, len(text)), text...)
}

func appendNumber(b []byte, number protowire.Number, n int32) []byte {
	b = protowire.AppendTag(b, number, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(n))
}

// begin appends what stands before the content of a length-delimited field.
func begin(b []byte, number byte, size int) []byte {
	return protowire.AppendVarint(append(b, tag(number)), uint64(size))
}

// fieldSize is the size of a length-delimited field with this much content.
func fieldSize(content int) int { return tagSize + protowire.SizeBytes(content) }

// open begins a submessage whose length is not known yet; closed ends the one that
// begins at start.
func open(b []byte, number byte) (_ []byte, start int) {
	b = append(b, tag(number), 0) // the length, where it is a short one
	return b, len(b)
}

// closed writes the length of a submessage before it, and moves it where the length
// takes more than the byte that was left.
func closed(b []byte, start int) []byte {
	size := len(b) - start
	if more := protowire.SizeVarint(uint64(size)) - shortLength; more > 0 {
		var room [9]byte
		b = append(b, room[:more]...)
		copy(b[start+more:], b[start:start+size])
	}
	protowire.AppendVarint(b[:start-shortLength], uint64(size))
	return b
}
