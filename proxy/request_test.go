package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

// checkOf is what Envoy sends about a GET with these headers.
func checkOf(headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Principal: "spiffe://lab/client/alice"},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "3378068729452737838", Method: "GET", Host: "api.acme.example", Path: "/v1/reports/7?x=1", Headers: headers,
		}},
		ContextExtensions: map[string]string{"weir.route": "reports", "weir.tenant": "initech"},
	}}
}

// rawCheckOf is the same with encode_raw_headers: names and values in turn.
func rawCheckOf(pairs ...string) *authv3.CheckRequest {
	in := checkOf(nil)
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	in.Attributes.Request.Http.HeaderMap = m
	return in
}

func TestRequestReadsWhatEnvoySays(t *testing.T) {
	c, ok := request(checkOf(map[string]string{":path": "/other", "x-a": "1"}), false)
	if !ok {
		t.Fatal("no HTTP request found")
	}
	got := c.Request
	got.Attributes = nil
	want := policy.Request{
		ID: "3378068729452737838", Method: "GET", Host: "api.acme.example", Path: "/v1/reports/7?x=1", Route: "reports",
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if v, ok := c.Attributes.Context("weir.tenant"); v != "initech" || !ok {
		t.Errorf("context extension = %q, %v", v, ok)
	}
	if _, ok := c.Attributes.Context("other"); ok {
		t.Error("a context extension that is not there is found")
	}
}

func TestIncompleteChecksAreReadWithoutPanic(t *testing.T) {
	for _, in := range []*authv3.CheckRequest{
		nil,
		{},
		{Attributes: &authv3.AttributeContext{}},
		{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
	} {
		c, ok := request(in, true)
		if ok {
			t.Errorf("%v holds a request", in)
		}
		touch(c)
	}
	in := rawCheckOf("x-a", "1")
	in.Attributes.Request.Http.HeaderMap.Headers = append(in.Attributes.Request.Http.HeaderMap.Headers, nil)
	in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"ns": nil, "x": {Fields: map[string]*structpb.Value{"k": nil}}}}
	c, _ := request(in, true)
	touch(c)
}

// touch asks a check for everything that a policy may ask for.
func touch(c *check) {
	a := c.Attributes
	a.Header("x-a")
	a.Headers()
	a.Metadata("ns", []string{"k", "l"})
	a.Metadata("ns", nil)
	a.Metadata("x", []string{"k"})
	a.Context("k")
	a.PeerURI()
}

func TestHeadersAreReadFromBothForms(t *testing.T) {
	c, _ := request(checkOf(map[string]string{"x-a": "1", "x-empty": ""}), false)
	raw, _ := request(rawCheckOf("x-a", "1", "x-empty", "", "x-b", "1", "x-b", "2"), false)
	tests := []struct {
		c     *check
		name  string
		value string
		n     int
	}{
		{c, "x-a", "1", 1},
		{c, "x-empty", "", 1},
		{c, "x-none", "", 0},
		{raw, "x-a", "1", 1},
		{raw, "x-empty", "", 1},
		{raw, "x-none", "", 0},
		{raw, "x-b", "1,2", 2},
	}
	for _, tt := range tests {
		if value, n := tt.c.Attributes.Header(tt.name); value != tt.value || n != tt.n {
			t.Errorf("%s = %q, %d; want %q, %d", tt.name, value, n, tt.value, tt.n)
		}
	}
}

func TestOnlyTheClientsHeadersCount(t *testing.T) {
	names := []string{":method", ":path", "x-request-id", "x-forwarded-proto", "x-forwarded-for", "x-weir-tenant"}
	for i := range 101 {
		names = append(names, fmt.Sprintf("x-%d", i))
	}
	joined := map[string]string{}
	var raw []string
	for _, n := range names {
		joined[n] = "v"
		raw = append(raw, n, "v")
	}
	c, _ := request(checkOf(joined), false)
	if got := c.Attributes.Headers(); got != 101 {
		t.Errorf("headers: %d, want 101", got)
	}
	c, _ = request(rawCheckOf(append(raw, "x-0", "again", "x-forwarded-for", "again")...), false)
	if got := c.Attributes.Headers(); got != 103 {
		t.Errorf("header_map: %d, want 103: what Envoy adds comes once", got)
	}
}

func TestMoreHeadersThanAreReadAreTooMany(t *testing.T) {
	raw := make([]string, 0, 4*wire.MaxFields)
	for range wire.MaxFields + 1 {
		raw = append(raw, ":x", "v")
	}
	c, ok := request(rawCheckOf(raw...), false)
	if got := c.Attributes.Headers(); got <= 100 || !ok {
		t.Errorf("headers: %d, %v; want more than 100", got, ok)
	}
}

func TestMalformedChecksHoldNoRequest(t *testing.T) {
	msg := encoded(checkOf(map[string]string{"x-a": "1"}))
	c := new(check)
	if !c.read(msg, false) {
		t.Fatal("the whole message holds no request")
	}
	if c.read(msg[:len(msg)-1], false) {
		t.Error("a message that is cut off is taken")
	}
}

func TestSpoofedHeadersAreFoundInBothForms(t *testing.T) {
	want := []string{"X-Weir-Plan", "x-weir-tenant"}
	c, _ := request(checkOf(map[string]string{"x-weir-tenant": "a", "X-Weir-Plan": "b", "x-weird": "c", "x-weir": "d"}), false)
	if slices.Sort(c.spoofed); !cmp.Equal(c.spoofed, want) {
		t.Errorf("headers: %s", cmp.Diff(want, c.spoofed))
	}
	c, _ = request(rawCheckOf("x-weir-tenant", "a", "X-Weir-Plan", "b", "x-weird", "c"), false)
	if slices.Sort(c.spoofed); !cmp.Equal(c.spoofed, want) {
		t.Errorf("header_map: %s", cmp.Diff(want, c.spoofed))
	}
}

func TestOnlyGRPCContentTypesMakeAGRPCCaller(t *testing.T) {
	for contentType, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc+": true,
		"application/grpc-web": false, "application/grpc;x=1": false, "application/grpcx": false,
		"application/connect+proto": false, "application/json": false, "": false, "Application/grpc": false,
	} {
		for form, in := range map[string]*authv3.CheckRequest{
			"headers": checkOf(map[string]string{"content-type": contentType}), "header_map": rawCheckOf("content-type", contentType),
		} {
			if c, _ := request(in, false); c.grpc != want {
				t.Errorf("%q in %s: gRPC caller %v, want %v", contentType, form, c.grpc, want)
			}
		}
	}
}

func TestRequestIDIsTakenFromTheClientOnlyWhenTrusted(t *testing.T) {
	const envoys = "3378068729452737838"
	tests := []struct {
		in      *authv3.CheckRequest
		trusted bool
		want    string
	}{
		{checkOf(map[string]string{"x-request-id": "mine"}), false, envoys},
		{checkOf(map[string]string{"x-request-id": "mine"}), true, "mine"},
		{checkOf(nil), true, envoys},
		{checkOf(map[string]string{"x-request-id": strings.Repeat("a", maxRequestID+1)}), true, envoys},
		{rawCheckOf("x-request-id", "a", "x-request-id", "b"), true, envoys},
	}
	for i, tt := range tests {
		if c, _ := request(tt.in, tt.trusted); c.ID != tt.want {
			t.Errorf("case %d: id %q, want %q", i, c.ID, tt.want)
		}
	}
}

func TestMetadataIsTextAndWhatHasNoTextFormIsPresentButEmpty(t *testing.T) {
	payload, err := structpb.NewStruct(map[string]any{"jwt_payload": map[string]any{
		"org_id": "initech", "account": 111122223333, "half": 0.5, "on": true, "list": []any{"a"}, "nil": nil,
	}})
	if err != nil {
		t.Fatal(err)
	}
	in := checkOf(nil)
	in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"jwt": payload}}
	c, _ := request(in, false)
	tests := []struct {
		path []string
		want string
		ok   bool
	}{
		{[]string{"jwt_payload", "org_id"}, "initech", true},
		{[]string{"jwt_payload", "account"}, "111122223333", true},
		{[]string{"jwt_payload", "half"}, "0.5", true},
		{[]string{"jwt_payload", "on"}, "true", true},
		{[]string{"jwt_payload", "list"}, "", true},
		{[]string{"jwt_payload", "nil"}, "", true},
		{[]string{"jwt_payload"}, "", true},
		{[]string{"jwt_payload", "none"}, "", false},
		{[]string{"jwt_payload", "org_id", "deeper"}, "", false},
		{[]string{"none"}, "", false},
		{nil, "", false},
	}
	for _, tt := range tests {
		if got, ok := c.Attributes.Metadata("jwt", tt.path); got != tt.want || ok != tt.ok {
			t.Errorf("%v = %q, %v; want %q, %v", tt.path, got, ok, tt.want, tt.ok)
		}
	}
	if _, ok := c.Attributes.Metadata("other", []string{"jwt_payload"}); ok {
		t.Error("metadata of another namespace is found")
	}
}

func TestPeerIsAURIOrNobody(t *testing.T) {
	for principal, want := range map[string]bool{
		"spiffe://lab/client/alice": true, "urn:acme:1": true, "https://a.example": true,
		"": false, "client.example": false, "CN=a:b,O=c": false, ":x": false, "1a:b": false,
	} {
		in := checkOf(nil)
		in.Attributes.Source.Principal = principal
		c, _ := request(in, false)
		got, ok := c.Attributes.PeerURI()
		if ok != want || ok && got != principal {
			t.Errorf("%q = %q, %v; want %v", principal, got, ok, want)
		}
	}
}

func FuzzRequestOfAnyMessageNeverPanicsOrAllows(f *testing.F) {
	for _, in := range []*authv3.CheckRequest{{}, checkOf(map[string]string{"x-weir-a": "1"}), rawCheckOf("content-type", "application/grpc")} {
		b, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &authv3.CheckRequest{}
		if proto.Unmarshal(b, in) != nil {
			return
		}
		c, _ := request(in, true)
		touch(c)
		if c.Attributes.Headers() < 0 {
			t.Error("fewer than no headers")
		}
		r := response(c, &policy.Decision{}, noon)
		if r.GetStatus().GetCode() == 0 {
			t.Error("the zero decision allows")
		}
		d := policy.Decision{Effect: policy.Allow, Reason: policy.Allowed, Tenant: "a"}
		if _, err := proto.Marshal(response(c, &d, noon)); err != nil {
			t.Errorf("the answer can't be sent: %v", err)
		}
	})
}
