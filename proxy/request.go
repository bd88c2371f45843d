package proxy

import (
	"strconv"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirhq/weir/policy"
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

// check is one question of a proxy's.
type check struct {
	policy.Request
	grpc    bool     // the client speaks gRPC, and has to be answered so
	spoofed []string // headers x-weir-* that came with the request
	token   string   // what ties the access log's entry to this check; empty: nothing waits for one
}

// request reads a CheckRequest, which may lack anything; ok is false where it holds no
// HTTP request. The check keeps views into the message.
func request(in *authv3.CheckRequest, trustRequestID bool) (c *check, ok bool) {
	source := in.GetAttributes()
	http := source.GetRequest().GetHttp()
	a := &attributes{source: source, http: http}
	c = &check{Request: policy.Request{
		ID: http.GetId(), Method: http.GetMethod(), Host: http.GetHost(), Path: http.GetPath(),
		Route: source.GetContextExtensions()[routeExtension], Attributes: a,
	}}
	c.spoofed = a.survey()
	contentType, _ := a.Header("content-type")
	c.grpc = speaksGRPC(contentType)
	if trustRequestID {
		if id, n := a.Header(requestIDHeader); n == 1 && id != "" && len(id) <= maxRequestID {
			c.ID = id
		}
	}
	return c, http != nil
}

// speaksGRPC tells whether Envoy will turn a denial into a gRPC status. It compares as
// Envoy does: application/grpc-web, for one, is something else.
func speaksGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+')
}

// attributes are those of a CheckRequest. Envoy fills either headers, where it has
// joined repeated ones by ",", or, with encode_raw_headers, header_map.
type attributes struct {
	source  *authv3.AttributeContext
	http    *authv3.AttributeContext_HttpRequest
	clients int // headers of the client's
}

var _ policy.Attributes = (*attributes)(nil)

// Header is a request header. What Envoy has joined itself counts as given once: a
// comma in it makes it no identity and no quantity all the same.
func (a *attributes) Header(name string) (string, int) {
	raw := a.http.GetHeaderMap().GetHeaders()
	if len(raw) == 0 {
		value, ok := a.http.GetHeaders()[name]
		if !ok {
			return "", 0
		}
		return value, 1
	}
	var values []string
	for _, h := range raw {
		if h.GetKey() != name {
			continue
		}
		if b := h.GetRawValue(); len(b) > 0 {
			values = append(values, string(b))
		} else {
			values = append(values, h.GetValue())
		}
	}
	return strings.Join(values, ","), len(values)
}

// Headers counts the client's headers.
func (a *attributes) Headers() int { return a.clients }

// survey counts the client's headers and collects those in weir's name.
func (a *attributes) survey() (spoofed []string) {
	var added uint16 // bits of the names that were left out already
	see := func(name string) {
		if strings.HasPrefix(name, ":") {
			return
		}
		if len(name) >= len(ownPrefix) && strings.EqualFold(name[:len(ownPrefix)], ownPrefix) {
			spoofed = append(spoofed, name)
		}
		if bit := addedOnTheWay(name); bit != 0 && added&bit == 0 {
			added |= bit
			return
		}
		a.clients++
	}
	if raw := a.http.GetHeaderMap().GetHeaders(); len(raw) > 0 {
		for _, h := range raw {
			see(h.GetKey())
		}
		return spoofed
	}
	for name := range a.http.GetHeaders() {
		see(name)
	}
	return spoofed
}

// addedOnTheWay is a bit for each header that Envoy, or weir at a gateway, adds once
// to a client's request; 0 for all others.
func addedOnTheWay(name string) uint16 { //nolint:cyclop // a table: a bit for each name
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

// Metadata is a dynamic metadata value as text. One that is there and has no text
// form (a list, an object, null) is an empty text, so that it is found unusable
// and not passed over.
func (a *attributes) Metadata(namespace string, path []string) (string, bool) {
	fields := a.source.GetMetadataContext().GetFilterMetadata()[namespace]
	if fields == nil || len(path) == 0 {
		return "", false
	}
	value := structpb.NewStructValue(fields)
	for _, key := range path {
		next, ok := value.GetStructValue().GetFields()[key]
		if !ok {
			return "", false
		}
		value = next
	}
	switch v := value.GetKind().(type) {
	case *structpb.Value_StringValue:
		return v.StringValue, true
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(v.NumberValue, 'f', -1, 64), true
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(v.BoolValue), true
	default:
		return "", true
	}
}

// Context is a context extension of Envoy's route.
func (a *attributes) Context(key string) (string, bool) {
	value, ok := a.source.GetContextExtensions()[key]
	return value, ok
}

// PeerURI is the URI name in the client's certificate. Envoy's principal is that name
// if there is one, else a DNS name or the whole subject, and these are no URI.
func (a *attributes) PeerURI() (string, bool) {
	principal := a.source.GetSource().GetPrincipal()
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
