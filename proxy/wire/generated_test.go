package wire

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// agrees compares what a Request says of a message with what the generated types say.
// It is false where these refuse the message.
func agrees(t *testing.T, msg []byte) bool {
	t.Helper()
	in := &authv3.CheckRequest{}
	refused := proto.Unmarshal(msg, in)
	var r Request
	err := r.Scan(msg)
	touch(&r)
	if refused != nil {
		return false
	}
	if r.headers > MaxFields || r.others > MaxFields {
		return true
	}
	if err != nil {
		t.Fatalf("a message that the generated types take: %v\n%x", err, msg)
	}
	source, http := in.GetAttributes(), in.GetAttributes().GetRequest().GetHttp()
	got := map[string]string{"id": r.ID, "method": r.Method, "host": r.Host, "path": r.Path, "principal": r.Principal, "http": strconv.FormatBool(r.HTTP)}
	want := map[string]string{
		"id": http.GetId(), "method": http.GetMethod(), "host": http.GetHost(), "path": http.GetPath(),
		"principal": source.GetSource().GetPrincipal(), "http": strconv.FormatBool(http != nil),
	}
	if !cmp.Equal(got, want) {
		t.Fatalf("%s\n%x", cmp.Diff(want, got), msg)
	}
	sameHeaders(t, &r, http)
	for key, want := range source.GetContextExtensions() {
		if got, ok := r.Context(key); got != want || !ok {
			t.Fatalf("context extension %q = %q, %v; want %q\n%x", key, got, ok, want, msg)
		}
	}
	if len(r.extensions) != len(source.GetContextExtensions()) {
		t.Fatalf("%d context extensions, want %d\n%x", len(r.extensions), len(source.GetContextExtensions()), msg)
	}
	for name, fields := range source.GetMetadataContext().GetFilterMetadata() {
		sameMetadata(t, &r, name, nil, structpb.NewStructValue(fields))
	}
	return true
}

// touch asks a Request for everything, whatever it was made of.
func touch(r *Request) {
	for _, h := range r.Fields() {
		r.Header(h.Name)
	}
	for _, ns := range r.metadata {
		r.Metadata(ns.name, []string{"main", "org_id"})
	}
	r.Header("")
	r.Context("")
}

func sameHeaders(t *testing.T, r *Request, http *authv3.AttributeContext_HttpRequest) {
	t.Helper()
	type header struct {
		Name, Value string
		N           int
	}
	values := map[string][]string{}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		values[h.GetKey()] = append(values[h.GetKey()], value)
	}
	total := len(http.GetHeaderMap().GetHeaders())
	if len(values) == 0 {
		total = len(http.GetHeaders())
		for name, value := range http.GetHeaders() {
			values[name] = []string{value}
		}
	}
	if len(r.Fields()) != total {
		t.Fatalf("%d headers, want %d", len(r.Fields()), total)
	}
	var got, want []header
	for _, name := range slices.Sorted(maps.Keys(values)) {
		want = append(want, header{name, strings.Join(values[name], ","), len(values[name])})
		value, n := r.Header(name)
		got = append(got, header{name, value, n})
	}
	if !cmp.Equal(got, want) {
		t.Fatal(cmp.Diff(want, got))
	}
}

// sameMetadata compares a value, and all below it.
func sameMetadata(t *testing.T, r *Request, name string, path []string, v *structpb.Value) {
	t.Helper()
	if len(path) > 0 {
		want := ""
		switch kind := v.GetKind().(type) {
		case *structpb.Value_StringValue:
			want = kind.StringValue
		case *structpb.Value_NumberValue:
			want = strconv.FormatFloat(kind.NumberValue, 'f', -1, 64)
		case *structpb.Value_BoolValue:
			want = strconv.FormatBool(kind.BoolValue)
		}
		if got, ok := r.Metadata(name, path); got != want || !ok {
			t.Fatalf("metadata %q %q = %q, %v; want %q", name, path, got, ok, want)
		}
	}
	fields := v.GetStructValue().GetFields()
	for key, below := range fields {
		sameMetadata(t, r, name, append(slices.Clone(path), key), below)
	}
	if _, there := fields["not there"]; !there {
		if got, ok := r.Metadata(name, append(slices.Clone(path), "not there")); ok {
			t.Fatalf("metadata %q %q holds %q, and has no such key", name, path, got)
		}
	}
}
