package wire

import "google.golang.org/protobuf/encoding/protowire"

// What a denial says that does not say it well itself: Envoy takes status code 0 for permission.
const (
	codeUnavailable   = 14  // google.rpc.Code
	statusUnavailable = 503 // HTTP
	leastError        = 400 // HTTP
)

// shortLength is how many bytes the length of a submessage below 128 bytes takes.
const shortLength = 1

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
	b, start := open(b, responseStatus)
	b = closed(b, start)
	b, start = open(b, responseOK)
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
func appendHeader(b []byte, number protowire.Number, f Field) []byte {
	b, option := open(b, number)
	b, header := open(b, optionHeader)
	b = appendText(b, headerKey, f.Name)
	b = appendText(b, headerValue, f.Value)
	return closed(closed(b, header), option)
}

// appendValue appends an entry of a Struct's fields, whose value is a text.
func appendValue(b []byte, f Field) []byte {
	b, whole := open(b, structFields)
	b = appendText(b, entryKey, f.Name)
	b, value := open(b, entryValue)
	b = protowire.AppendTag(b, valueString, protowire.BytesType) // of a oneof: an empty text too
	b = protowire.AppendString(b, f.Value)
	return closed(closed(b, value), whole)
}

func appendText(b []byte, number protowire.Number, text string) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return protowire.AppendString(b, text)
}

func appendNumber(b []byte, number protowire.Number, n int32) []byte {
	b = protowire.AppendTag(b, number, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(n))
}

// open begins a submessage whose length is not known yet; closed ends the one that
// begins at start.
func open(b []byte, number protowire.Number) (_ []byte, start int) {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	b = append(b, 0) // the length, where it is a short one
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
