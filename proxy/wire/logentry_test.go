package wire

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	logservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// said is everything that an entry says, with the fields of maps by name.
type said struct {
	Type                        int32
	Intermediate, Upstream      bool
	Code                        uint32
	Details                     string
	RequestBytes, ResponseBytes uint64
	Headers, Trailers, Texts    map[string]string
}

// sayings are those of a message's entries by the generated types.
func sayings(m *logservicev3.StreamAccessLogsMessage) (all []said) {
	for _, e := range m.GetHttpLogs().GetLogEntry() {
		c, r := e.GetCommonProperties(), e.GetResponse()
		s := said{
			Type: int32(c.GetAccessLogType()), Upstream: c.GetTimeToFirstUpstreamRxByte() != nil,
			Intermediate: c.GetIntermediateLogEntry(), //nolint:staticcheck // deprecated, but all there is without a type
			Code:         r.GetResponseCode().GetValue(), Details: r.GetResponseCodeDetails(),
			RequestBytes: e.GetRequest().GetRequestBodyBytes(), ResponseBytes: r.GetResponseBodyBytes(),
			Headers: r.GetResponseHeaders(), Trailers: r.GetResponseTrailers(), Texts: map[string]string{},
		}
		for name, fields := range c.GetMetadata().GetFilterMetadata() {
			for key, v := range fields.GetFields() {
				s.Texts[name+" "+key] = v.GetStringValue()
			}
		}
		all = append(all, s)
	}
	return all
}

// saying is what an entry says, asked for all that want has.
func saying(e *LogEntry, want *said) said {
	s := said{
		Type: e.Type, Intermediate: e.Intermediate, Upstream: e.Upstream, Code: e.Code, Details: e.Details,
		RequestBytes: e.RequestBytes, ResponseBytes: e.ResponseBytes, Texts: map[string]string{},
	}
	ask := func(of map[string]string, field func(string) (string, bool)) (got map[string]string) {
		if of != nil {
			got = map[string]string{}
		}
		for name := range of {
			if value, ok := field(name); ok {
				got[name] = value
			}
		}
		if value, ok := field("not there"); ok {
			got["not there"] = value
		}
		return got
	}
	s.Headers, s.Trailers = ask(want.Headers, e.ResponseHeader), ask(want.Trailers, e.ResponseTrailer)
	for at := range want.Texts {
		name, key, _ := strings.Cut(at, " ")
		s.Texts[at] = e.Text(name, key)
	}
	return s
}

// agreesLog compares what is read of a message with what the generated types say. It is
// false where these refuse the message.
func agreesLog(t *testing.T, msg []byte) bool {
	t.Helper()
	in := &logservicev3.StreamAccessLogsMessage{}
	refused := proto.Unmarshal(msg, in)
	want := sayings(in)
	var got []said
	var e LogEntry
	err := logEntries(msg, &e, func(e *LogEntry) {
		s := said{}
		if len(got) < len(want) {
			s = want[len(got)]
		}
		got = append(got, saying(e, &s))
	})
	if refused != nil {
		return false
	}
	if e.fields > MaxFields {
		return true
	}
	if err != nil {
		t.Fatalf("a message that the generated types take: %v\n%x", err, msg)
	}
	if !cmp.Equal(got, want) {
		t.Fatalf("%s\n%x", cmp.Diff(want, got), msg)
	}
	return true
}

// randomLog is a message with some of everything, from few names so that they meet.
func randomLog(r *rand.Rand) *logservicev3.StreamAccessLogsMessage {
	text := func() string { return fmt.Sprintf("%c%d", 'a'+r.IntN(3), r.IntN(3)) }
	texts := func() map[string]string { return map[string]string{text(): text(), text(): text()} }
	fields := func() *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{
			text(): structpb.NewStringValue(text()), text(): structpb.NewNumberValue(3), text(): structpb.NewStringValue(text()),
			text(): structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{text(): structpb.NewStringValue(text())}}),
		}}
	}
	list := &logservicev3.StreamAccessLogsMessage_HTTPAccessLogEntries{}
	for range r.IntN(4) {
		list.LogEntry = append(list.LogEntry, &accesslogv3.HTTPAccessLogEntry{
			CommonProperties: &accesslogv3.AccessLogCommon{
				AccessLogType: accesslogv3.AccessLogType(r.IntN(4)), IntermediateLogEntry: r.IntN(2) == 0, //nolint:staticcheck // as above
				TimeToFirstUpstreamRxByte: durationpb.New(time.Duration(r.IntN(3))), UpstreamCluster: text(), StreamId: text(),
				Metadata:   &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{text(): fields(), text(): fields()}},
				CustomTags: texts(),
			},
			Request: &accesslogv3.HTTPRequestProperties{Path: "/" + text(), RequestBodyBytes: r.Uint64(), RequestHeaders: texts()},
			Response: &accesslogv3.HTTPResponseProperties{
				ResponseCode: wrapperspb.UInt32(uint32(r.IntN(600))), ResponseCodeDetails: text(), ResponseBodyBytes: r.Uint64() >> r.IntN(64),
				ResponseHeaders: texts(), ResponseTrailers: texts(),
			},
		})
	}
	return &logservicev3.StreamAccessLogsMessage{
		Identifier: &logservicev3.StreamAccessLogsMessage_Identifier{LogName: text()},
		LogEntries: &logservicev3.StreamAccessLogsMessage_HttpLogs{HttpLogs: list},
	}
}

func scrambledLog(t testing.TB, r *rand.Rand) []byte {
	t.Helper()
	in := randomLog(r)
	msg, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := scramble(r, msg, in.ProtoReflect().Descriptor())
	if r.IntN(10) == 0 { // the other kind of entries, and more of this
		out = pack(out, messageTCP, "")
		out = append(out, scramble(r, msg, in.ProtoReflect().Descriptor())...)
	}
	return out
}

func TestLogEntriesSayOfScrambledMessagesWhatTheGeneratedTypesSay(t *testing.T) {
	scrambledMessages(t, rand.New(rand.NewPCG(7, 8)), scrambledLog, agreesLog, 8)
}

func TestDamagedLogMessagesAreReadWithoutPanic(t *testing.T) {
	damagedMessages(t, rand.New(rand.NewPCG(9, 10)), scrambledLog, agreesLog)
}

func FuzzLogEntriesAgreeWithTheGeneratedTypes(f *testing.F) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 20 {
		f.Add(scrambledLog(f, r))
	}
	f.Fuzz(func(t *testing.T, msg []byte) { agreesLog(t, msg) })
}

func TestALogEntryHoldsABoundedNumberOfFields(t *testing.T) {
	var pairs []string
	for i := range MaxFields + 1 {
		pairs = append(pairs, fmt.Sprintf("x-%d", i), "v")
	}
	for name, part := range map[string][]byte{
		"headers":    pack(nil, logResponse, string(packed(responseHeaders, pairs...))),
		"trailers":   pack(nil, logResponse, string(packed(responseTrailers, pairs...))),
		"namespaces": pack(nil, logCommon, string(pack(nil, commonMetadata, string(packed(metadataFilterMetadata, pairs...))))),
	} {
		if err := new(LogEntry).Scan(part); err == nil {
			t.Errorf("%d %s are read", MaxFields+1, name)
		}
	}
}

func TestALogEntryForgetsTheOneBefore(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	msg, err := proto.Marshal(randomLog(r))
	if err != nil {
		t.Fatal(err)
	}
	var e LogEntry
	if err := logEntries(msg, &e, func(*LogEntry) {}); err != nil || len(e.metadata) == 0 {
		t.Fatalf("%v: %+v", err, e)
	}
	if err := e.Scan(nil); err != nil || !cmp.Equal(saying(&e, &said{}), said{Texts: map[string]string{}}) {
		t.Errorf("%v: an empty entry after a full one says %+v", err, e)
	}
	for _, f := range e.headers[:cap(e.headers)] {
		if f != (Field{}) {
			t.Errorf("a view into the message before is kept: %v", f)
		}
	}
}

func TestLogEntriesAreReadWithoutAllocating(t *testing.T) {
	msg, err := proto.Marshal(typicalLog())
	if err != nil {
		t.Fatal(err)
	}
	var e LogEntry
	read := func() {
		if err := logEntries(msg, &e, func(e *LogEntry) { e.Text("envoy.filters.http.ext_authz", "check") }); err != nil {
			t.Fatal(err)
		}
	}
	if got := testing.AllocsPerRun(100, read); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// typicalLog is a message of an entry as Envoy sends it: about 1 KB.
func typicalLog() *logservicev3.StreamAccessLogsMessage {
	address := func(a string, port uint32) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: a, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}
	}
	after := func(us int) *durationpb.Duration { return durationpb.New(time.Duration(us) * time.Microsecond) }
	metadata := map[string]*structpb.Value{"ext_authz_duration": structpb.NewNumberValue(3)}
	for name, text := range map[string]string{
		"tenant": "tenant-000123", "account": "500000000123", "plan": "enterprise", "route": "reports", "decision": "allow", "reason": "allowed",
		"license": "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000123", "check": strings.Repeat("token", 20),
	} {
		metadata[name] = structpb.NewStringValue(text)
	}
	id := "5c8f5c8f-1111-2222-3333-123456789012"
	e := &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			SampleRate: 1, DownstreamRemoteAddress: address("10.0.0.7", 41234), DownstreamLocalAddress: address("10.0.0.1", 443),
			DownstreamDirectRemoteAddress: address("10.0.0.7", 41234), UpstreamRemoteAddress: address("10.0.1.7", 8080),
			UpstreamLocalAddress: address("10.0.0.1", 51234), TimeToLastRxByte: after(10), TimeToFirstUpstreamTxByte: after(500),
			TimeToLastUpstreamTxByte: after(510), TimeToFirstUpstreamRxByte: after(3000), TimeToLastUpstreamRxByte: after(3100),
			TimeToFirstDownstreamTxByte: after(3110), TimeToLastDownstreamTxByte: after(3120), Duration: after(3200),
			UpstreamCluster: "app", RouteName: "default", StreamId: id, AccessLogType: accesslogv3.AccessLogType_DownstreamEnd,
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.ext_authz": {Fields: metadata}}},
		},
		Request: &accesslogv3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_GET, Scheme: "https", Authority: "api.acme.example", Path: "/v1/reports/7", UserAgent: "curl/8",
			ForwardedFor: "10.0.0.7", RequestId: id, RequestHeadersBytes: 900,
		},
		Response: &accesslogv3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(200), ResponseCodeDetails: "via_upstream", ResponseBodyBytes: 2048, ResponseHeadersBytes: 200,
		},
	}
	return &logservicev3.StreamAccessLogsMessage{LogEntries: &logservicev3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &logservicev3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogv3.HTTPAccessLogEntry{e}},
	}}
}

// BenchmarkLogEntry is an entry read here, and by the generated types.
func BenchmarkLogEntry(b *testing.B) {
	msg, err := proto.Marshal(typicalLog())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		var e LogEntry
		for b.Loop() {
			err := logEntries(msg, &e, func(e *LogEntry) {
				for _, key := range [...]string{"check", "license", "route"} {
					if e.Text("envoy.filters.http.ext_authz", key) == "" {
						b.Fatal(key)
					}
				}
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(msg, &logservicev3.StreamAccessLogsMessage{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
