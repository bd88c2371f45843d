package proxy

import (
	"strings"

	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

const (
	// routeExtension is the context extension by which Envoy names weir's route.
	routeExtension = "weir.route"
	// ownPrefix begins the headers that are weir's alone.
	ownPrefix = "x-weir-"
	// requestIDHeader is a client's word unless a trusted hop sets it (Envoy: x-request-id).
	requestIDHeader = "x-request-id"
	// maxRequestID bounds what is remembered of a trusted request id, in bytes.
	maxRequestID = 128
)

// check is one question of a proxy's, and room for its answer. It is used again and again.
type check struct {
	policy.Request
	attributes attributes
	decision   policy.Decision
	grpc       bool     // the client speaks gRPC, and has to be answered so
	bodyless   bool     // the proxy passes no body of a denial on, so that its reason goes into a header (nginx: auth_request)
	spoofed    []string // headers x-weir-* that came with the request
	token      string   // what ties the access log's entry to this check; empty: nothing waits for one
	room       []byte   // in which the token is made
	reply      wire.Answer
}

// read reads a CheckRequest, which may lack anything; it is false where it is
// malformed or holds no HTTP request. The check keeps views into the message.
func (c *check) read(msg []byte, trustRequestID bool) bool {
	a := &c.attributes
	err := a.request.Scan(msg)
	r := &a.request
	c.Request = policy.Request{ID: r.ID, Method: r.Method, Host: r.Host, Path: r.Path, Attributes: a}
	c.Route, _ = r.Context(routeExtension)
	c.spoofed = a.survey(c.spoofed)
	contentType, _ := a.Header("content-type")
	c.grpc = speaksGRPC(contentType)
	if trustRequestID {
		c.trustID(a)
	}
	return err == nil && r.HTTP
}

// trustID takes the request's name from x-request-id, where that can be one.
func (c *check) trustID(a policy.Attributes) {
	if id, n := a.Header(requestIDHeader); n == 1 && id != "" && len(id) <= maxRequestID {
		c.ID = id
	}
}

// reset forgets everything but the room.
func (c *check) reset() {
	c.attributes.request.Reset()
	c.attributes.clients = 0
	clear(c.spoofed)
	c.decision = policy.Decision{}
	c.Request, c.grpc, c.spoofed, c.token = policy.Request{}, false, c.spoofed[:0], ""
	c.reply.Reset()
}

// speaksGRPC tells whether Envoy will turn a denial into a gRPC status. It compares as
// Envoy does: application/grpc-web, for one, is something else.
func speaksGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+')
}

// attributes are those of a CheckRequest.
type attributes struct {
	request wire.Request
	clients int // headers of the client's
}

var _ policy.Attributes = (*attributes)(nil)

// Header is a request header. What Envoy has joined itself counts as given once: a
// comma in it makes it no identity and no quantity all the same.
func (a *attributes) Header(name string) (string, int) { return a.request.Header(name) }

// Headers counts the client's headers.
func (a *attributes) Headers() int { return a.clients }

// survey counts the client's headers and appends those in weir's name to spoofed.
func (a *attributes) survey(spoofed []string) []string {
	var added uint16 // bits of the names that were left out already
	a.clients = 0
	fields := a.request.Fields()
	for i := range fields {
		name := fields[i].Name
		if strings.HasPrefix(name, ":") {
			continue
		}
		if isOwn(name) {
			spoofed = append(spoofed, name)
		}
		if bit := addedOnTheWay(name); bit != 0 && added&bit == 0 {
			added |= bit
			continue
		}
		a.clients++
	}
	if a.request.Dropped > 0 { // whatever they are, they are too many
		a.clients = max(a.clients, wire.MaxFields)
	}
	return spoofed
}

// isOwn tells whether a header is in weir's name, in whatever case. The byte behind "x-"
// is looked at first: it tells nearly all others.
func isOwn(name string) bool {
	const first = len("x-")
	return len(name) >= len(ownPrefix) && name[first]|0x20 == ownPrefix[first] && strings.EqualFold(name[:len(ownPrefix)], ownPrefix)
}

// addedOnTheWay is a bit for each header that Envoy, or weir at a gateway, adds once
// to a client's request; 0 for all others.
func addedOnTheWay(name string) uint16 { //nolint:cyclop // a table: a bit for each name
	if !strings.HasPrefix(name, "x-") { // as all of them do
		return 0
	}
	switch name {
	case requestIDHeader:
		return 1 << 0
	case "x-forwarded-proto":
		return 1 << 1
	case "x-forwarded-for":
		return 1 << 2
	case "x-envoy-external-address":
		return 1 << 3
	case "x-envoy-internal":
		return 1 << 4
	case "x-envoy-auth-partial-body":
		return 1 << 5
	case tenantHeader:
		return 1 << 6
	case accountHeader:
		return 1 << 7
	case licenseHeader:
		return 1 << 8
	case planHeader:
		return 1 << 9
	case decisionHeader:
		return 1 << 10
	default:
		return 0
	}
}

// Metadata is a dynamic metadata value as text.
func (a *attributes) Metadata(namespace string, path []string) (string, bool) {
	return a.request.Metadata(namespace, path)
}

// Context is a context extension of Envoy's route.
func (a *attributes) Context(key string) (string, bool) { return a.request.Context(key) }

// PeerURI is the URI name in the client's certificate. Envoy's principal is that name
// if there is one, else a DNS name or the whole subject, and these are no URI.
func (a *attributes) PeerURI() (string, bool) {
	principal := a.request.Principal
	scheme, _, ok := strings.Cut(principal, ":")
	if !ok || !isScheme(scheme) {
		return "", false
	}
	return principal, true
}

// isScheme tells whether s is the scheme of a URI (RFC 3986, 3.1).
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20 // letters in lower case; digits and signs stay as they are
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(s[i]))) {
			return false
		}
	}
	return s != ""
}
