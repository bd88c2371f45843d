package wire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// pack appends a length-delimited field.
func pack(b []byte, number protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), value)
}

// packed is a submessage made of names and values in turn, each an entry of a map.
func packed(number protowire.Number, pairs ...string) (b []byte) {
	for i := 0; i < len(pairs); i += 2 {
		b = pack(b, number, string(pack(pack(nil, entryKey, pairs[i]), entryValue, pairs[i+1])))
	}
	return b
}

// httpCheck is a check whose HTTP request is these bytes.
func httpCheck(http []byte) []byte {
	request := pack(nil, requestHTTP, string(http))
	return pack(nil, checkAttributes, string(pack(nil, attributesRequest, string(request))))
}

func TestTheLastOfARepeatedHeaderOfAMapCounts(t *testing.T) {
	msg := httpCheck(packed(httpHeaders, "x-a", "1", "x-b", "2", "x-a", "3"))
	if !agrees(t, msg) {
		t.Fatal("the message is not one")
	}
	var r Request
	if err := r.Scan(msg); err != nil {
		t.Fatal(err)
	}
	if v, n := r.Header("x-a"); v != "3" || n != 1 || len(r.Fields()) != 2 {
		t.Errorf("x-a = %q, %d times; %d headers", v, n, len(r.Fields()))
	}
}

func TestMetadataBehindMalformedBytesIsPresentButEmpty(t *testing.T) {
	for name, value := range map[string]string{
		"the value": "\x1a\xff", "its fields": string(pack(nil, valueStruct, "\x0a\x7f")), "a key": string(pack(nil, valueStruct, "\x0a\x01\x0a")),
	} {
		fields := packed(structFields, "k", value)
		entry := pack(pack(nil, entryKey, "ns"), entryValue, string(fields))
		context := pack(nil, metadataFilterMetadata, string(entry))
		var r Request
		if err := r.Scan(pack(nil, checkAttributes, string(pack(nil, attributesMetadataContext, string(context))))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, ok := r.Metadata("ns", []string{"k", "l"}); got != "" || !ok {
			t.Errorf("%s: %q, %v; want an empty text", name, got, ok)
		}
	}
}

func TestRequestHoldsABoundedNumberOfFields(t *testing.T) {
	var pairs []string
	for i := range MaxFields + 10 {
		pairs = append(pairs, fmt.Sprintf("x-%d", i), "v")
	}
	var r Request
	if err := r.Scan(httpCheck(packed(httpHeaders, pairs...))); err != nil || r.Dropped != 10 || len(r.Fields()) != MaxFields {
		t.Errorf("%v: %d headers, %d dropped", err, len(r.Fields()), r.Dropped)
	}
	raw := httpCheck(pack(nil, httpHeaderMap, string(packed(headerMapHeaders, pairs...))))
	if err := r.Scan(raw); err != nil || r.Dropped != 10 || len(r.Fields()) != MaxFields {
		t.Errorf("%v: %d raw headers, %d dropped", err, len(r.Fields()), r.Dropped)
	}
	for name, attributes := range map[string][]byte{
		"context extensions": packed(attributesContextExtensions, pairs...),
		"namespaces":         pack(nil, attributesMetadataContext, string(packed(metadataFilterMetadata, pairs...))),
	} {
		if err := r.Scan(pack(nil, checkAttributes, string(attributes))); err == nil {
			t.Errorf("%d %s are read", MaxFields+10, name)
		}
	}
}

// A peer must not make a message of 4 MiB that takes long to read.
func TestHostileMessagesAreReadInTime(t *testing.T) {
	same := packed(httpHeaders, "x", "1")
	part := pack(nil, valueStruct, string(packed(structFields, "k", "")))
	many := func(b []byte) []byte { return []byte(strings.Repeat(string(b), (3<<20)/len(b))) }
	entry := pack(nil, structFields, string(pack(pack(nil, entryKey, "k"), entryValue, string(many(part)))))
	inNamespace := pack(pack(nil, entryKey, "ns"), entryValue, string(entry))
	for name, msg := range map[string][]byte{
		"one header, often": httpCheck(many(same)),
		"a value in many parts": pack(nil, checkAttributes,
			string(pack(nil, attributesMetadataContext, string(pack(nil, metadataFilterMetadata, string(inNamespace)))))),
	} {
		began := time.Now()
		var r Request
		if err := r.Scan(msg); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r.Metadata("ns", []string{"k", "k"})
		if took := time.Since(began); took > 5*time.Second { // milliseconds; squares of this take minutes
			t.Errorf("%s took %v", name, took)
		}
	}
}

func TestAScanForgetsTheOneBefore(t *testing.T) {
	full, err := proto.Marshal(typical())
	if err != nil {
		t.Fatal(err)
	}
	var r Request
	if err := r.Scan(full); err != nil || r.Path == "" || len(r.Fields()) == 0 {
		t.Fatalf("%v: %+v", err, r)
	}
	if err := r.Scan(nil); err != nil || r.HTTP || r.Path != "" || len(r.Fields()) != 0 {
		t.Errorf("%v: an empty message after a full one says %+v", err, r)
	}
	if _, ok := r.Context("weir.route"); ok {
		t.Error("a context extension is left")
	}
	for _, f := range r.joined[:cap(r.joined)] {
		if f != (Field{}) {
			t.Errorf("a view into the message before is kept: %v", f)
		}
	}
}

// typical is a check as Envoy sends it: about 1.6 KB.
func typical() *authv3.CheckRequest {
	headers := map[string]string{":method": "GET", ":path": "/v1/reports/7", ":authority": "api.acme.example", "authorization": strings.Repeat("a", 600)}
	for i := range 15 {
		headers[fmt.Sprintf("x-header-%d", i)] = "some value"
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:            &authv3.AttributeContext_Peer{Principal: "spiffe://lab/client/alice"},
		Request:           &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Id: "42", Method: "GET", Host: "api.acme.example", Path: "/v1/reports/7", Headers: headers}},
		ContextExtensions: map[string]string{"weir.route": "reports"},
	}}
}

func TestScanOfATypicalCheckAllocatesNothing(t *testing.T) {
	msg, err := proto.Marshal(typical())
	if err != nil {
		t.Fatal(err)
	}
	var r Request
	got := testing.AllocsPerRun(100, func() {
		if err := r.Scan(msg); err != nil {
			t.Fatal(err)
		}
		r.Header("authorization")
		r.Context("weir.route")
	})
	if got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

func BenchmarkScan(b *testing.B) {
	msg, err := proto.Marshal(typical())
	if err != nil {
		b.Fatal(err)
	}
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Scan(msg); err != nil {
			b.Fatal(err)
		}
	}
}
