package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	logservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/internal/listen/listentest"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// entry is an access log entry as Envoy writes it at the end of a request that the
// application answered with 200; each of edits changes it.
func entry(edits ...func(*accesslogv3.HTTPAccessLogEntry)) *accesslogv3.HTTPAccessLogEntry {
	e := &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			AccessLogType:             accesslogv3.AccessLogType_DownstreamEnd,
			TimeToFirstUpstreamRxByte: durationpb.New(3 * time.Millisecond),
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
				"envoy.filters.http.ext_authz": {Fields: map[string]*structpb.Value{
					"check": structpb.NewStringValue("token-1"), "license": structpb.NewStringValue("l-1"),
					"route": structpb.NewStringValue("reports"), "ext_authz_duration": structpb.NewNumberValue(3),
				}},
			}},
		},
		Request:  &accesslogv3.HTTPRequestProperties{RequestBodyBytes: 17},
		Response: &accesslogv3.HTTPResponseProperties{ResponseCodeDetails: "via_upstream", ResponseBodyBytes: 2048},
	}
	code(200)(e)
	for _, edit := range edits {
		edit(e)
	}
	return e
}

func code(n uint32) func(*accesslogv3.HTTPAccessLogEntry) {
	return func(e *accesslogv3.HTTPAccessLogEntry) { e.Response.ResponseCode = wrapperspb.UInt32(n) }
}

func details(s string) func(*accesslogv3.HTTPAccessLogEntry) {
	return func(e *accesslogv3.HTTPAccessLogEntry) { e.Response.ResponseCodeDetails = s }
}

// local makes it an answer of Envoy's own: no byte came from upstream.
func local(e *accesslogv3.HTTPAccessLogEntry) { e.CommonProperties.TimeToFirstUpstreamRxByte = nil }

func noCode(e *accesslogv3.HTTPAccessLogEntry) { e.Response.ResponseCode = nil }

func header(name, value string) func(*accesslogv3.HTTPAccessLogEntry) {
	return func(e *accesslogv3.HTTPAccessLogEntry) { e.Response.ResponseHeaders = map[string]string{name: value} }
}

func trailer(name, value string) func(*accesslogv3.HTTPAccessLogEntry) {
	return func(e *accesslogv3.HTTPAccessLogEntry) {
		e.Response.ResponseTrailers = map[string]string{name: value}
	}
}

func kind(k accesslogv3.AccessLogType) func(*accesslogv3.HTTPAccessLogEntry) {
	return func(e *accesslogv3.HTTPAccessLogEntry) {
		e.CommonProperties.AccessLogType = k
		e.CommonProperties.IntermediateLogEntry = k != accesslogv3.AccessLogType_DownstreamEnd //nolint:staticcheck // as Envoy sets it
	}
}

func field(name string, v *structpb.Value) func(*accesslogv3.HTTPAccessLogEntry) {
	return func(e *accesslogv3.HTTPAccessLogEntry) {
		e.CommonProperties.Metadata.FilterMetadata["envoy.filters.http.ext_authz"].Fields[name] = v
	}
}

// logging is a server with the stream that an Envoy has opened to it.
type logging struct {
	t       *testing.T
	endings *endings
	conn    *grpc.ClientConn
	stream  logservicev3.AccessLogService_StreamAccessLogsClient
}

func startLogging(t *testing.T, edit ...func(*Options)) *logging {
	t.Helper()
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	g := &logging{t: t, endings: &endings{}}
	o := options()
	o.Endings = g.endings
	for _, e := range edit {
		e(&o)
	}
	start(t, o, decide(allowAll), l)
	g.conn = dial(t, l.String(), insecure.NewCredentials())
	g.open()
	return g
}

func (g *logging) open() {
	g.t.Helper()
	var err error
	if g.stream, err = logservicev3.NewAccessLogServiceClient(g.conn).StreamAccessLogs(waiting(g.t)); err != nil {
		g.t.Fatal(err)
	}
}

func message(entries ...*accesslogv3.HTTPAccessLogEntry) *logservicev3.StreamAccessLogsMessage {
	return &logservicev3.StreamAccessLogsMessage{LogEntries: &logservicev3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &logservicev3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries},
	}}
}

// send sends entries in one message, ends the stream, and returns what was said of checks.
func (g *logging) send(entries ...*accesslogv3.HTTPAccessLogEntry) []metering.Ending {
	g.t.Helper()
	if err := g.stream.Send(message(entries...)); err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.stream.CloseAndRecv(); err != nil {
		g.t.Fatal(err)
	}
	return g.endings.heard()
}

func TestB04EachEndThatEnvoyLogsIsServedOrNot(t *testing.T) {
	rows := []struct {
		name  string
		entry *accesslogv3.HTTPAccessLogEntry
		want  metering.How
	}{
		{"normal", entry(), metering.Served},
		{"upstream 404", entry(code(404)), metering.Served},
		{"upstream 429", entry(code(429)), metering.Served},
		{"upstream 500", entry(code(500)), metering.NotServed},
		{"upstream 503", entry(code(503)), metering.NotServed},
		{"upstream 599", entry(code(599)), metering.NotServed},
		{"a status beyond all classes", entry(code(999)), metering.Served},
		{"gRPC OK", entry(trailer("grpc-status", "0")), metering.Served},
		{"gRPC NOT_FOUND", entry(trailer("grpc-status", "5")), metering.Served},
		{"gRPC UNAVAILABLE after messages", entry(trailer("grpc-status", "14")), metering.NotServed},
		{"gRPC INTERNAL without a message", entry(header("grpc-status", "13")), metering.NotServed},
		{"gRPC UNKNOWN", entry(trailer("grpc-status", "2")), metering.NotServed},
		{"gRPC DATA_LOSS", entry(trailer("grpc-status", "15")), metering.NotServed},
		{"gRPC status that is none", entry(trailer("grpc-status", "bad")), metering.NotServed},
		{"gRPC trailer before header", entry(header("grpc-status", "0"), trailer("grpc-status", "14")), metering.NotServed},
		{"gRPC cut off before its status", entry(details("downstream_remote_disconnect")), metering.Served},
		{"direct response", entry(local, details("direct_response")), metering.NotServed},
		{"redirect by Envoy", entry(local, code(301), details("direct_response")), metering.NotServed},
		{"RBAC after the check", entry(local, code(403), details("rbac_access_denied_matched_policy[none]")), metering.NotServed},
		{"rate limit after the check", entry(local, code(429), details("local_rate_limited")), metering.NotServed},
		{"denial over HTTP", entry(local, code(402), details("ext_authz_denied")), metering.NotServed},
		{"denial over gRPC", entry(local, details("ext_authz_denied")), metering.NotServed},
		{"stalled upload", entry(local, code(408), details("stream_idle_timeout")), metering.NotServed},
		{"no connection to upstream", entry(local, code(503), details("upstream_reset_before_response_started{connection_failure}")), metering.NotServed},
		{"upstream timeout", entry(local, code(504), details("response_timeout")), metering.NotServed},
		{"client gone before headers", entry(local, noCode, details("downstream_remote_disconnect")), metering.NotServed},
		{"no status although upstream spoke", entry(noCode), metering.NotServed},
		{"client gone in mid-body", entry(details("downstream_remote_disconnect")), metering.Served},
		{"upstream reset in mid-body", entry(details("upstream_reset_after_response_started{connection_termination}")), metering.Served},
		{"route timeout in mid-body", entry(details("response_timeout")), metering.Served},
		{"longest duration in mid-body", entry(details("max_duration_timeout")), metering.Served},
		{"internal redirect, first leg", entry(code(302), details("internal_redirect")), metering.NotServed},
		{"internal redirect, second leg", entry(), metering.Served},
		{"websocket", entry(code(101), details("upstream_reset_after_response_started{connection_termination}")), metering.Served},
		{"no properties at all", entry(func(e *accesslogv3.HTTPAccessLogEntry) { e.Request, e.Response = nil, nil }), metering.NotServed},
	}
	g := startLogging(t)
	var entries []*accesslogv3.HTTPAccessLogEntry
	for _, r := range rows {
		entries = append(entries, r.entry)
	}
	said := g.send(entries...)
	if len(said) != len(rows) {
		t.Fatalf("%d of %d entries were heard", len(said), len(rows))
	}
	for i, r := range rows {
		want := metering.Ending{Token: "token-1", License: "l-1", Route: "reports", How: r.want}
		if diff := cmp.Diff(want, said[i]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.name, diff)
		}
	}
}

func TestB04NotBilledReplacesTheDefaultLists(t *testing.T) {
	only404 := int64(404)
	g := startLogging(t, func(o *Options) {
		o.NotBilled = metering.NotBilled{Status: []metering.StatusRange{{Number: &only404}}, GRPC: []string{"CANCELLED"}}
	})
	said := g.send(entry(code(404)), entry(code(503)), entry(trailer("grpc-status", "1")), entry(trailer("grpc-status", "14")))
	want := []metering.How{metering.NotServed, metering.Served, metering.NotServed, metering.Served}
	for i, s := range said {
		if s.How != want[i] {
			t.Errorf("entry %d: got %v, want %v", i, s.How, want[i])
		}
	}
}

func TestAListOfAnswersThatAreNotBilledHasToBeValid(t *testing.T) {
	for _, bad := range []metering.NotBilled{{Status: []metering.StatusRange{{}}}, {GRPC: []string{"SORRY"}}} {
		o := options()
		o.NotBilled = bad
		if _, err := New(o, nil, decide(allowAll), slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestB04QuantitiesComeFromTheResponseOrAreUnmeasured(t *testing.T) {
	for _, tt := range []struct {
		name    string
		measure policy.Measure
		entry   *accesslogv3.HTTPAccessLogEntry
		want    metering.Ending
	}{
		{"known at the check", policy.Measure{}, entry(), metering.Ending{}},
		{"header", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "42")), metering.Ending{FromResponse: true, Measured: true, Quantity: 42}},
		{"header of 0", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "0")), metering.Ending{FromResponse: true, Measured: true}},
		{"15 digits", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "999999999999999")), metering.Ending{FromResponse: true, Measured: true, Quantity: 999_999_999_999_999}},
		{"16 digits", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "0000000000000001")), metering.Ending{FromResponse: true}},
		{"a header given twice", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "4,2")), metering.Ending{FromResponse: true}},
		{"a sign", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "-1")), metering.Ending{FromResponse: true}},
		{"other digits", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "٣")), metering.Ending{FromResponse: true}},
		{"empty", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(header("x-n", "")), metering.Ending{FromResponse: true}},
		{"no header", policy.Measure{Source: policy.FromResponseHeader, Name: "x-n"}, entry(trailer("x-n", "42")), metering.Ending{FromResponse: true}},
		{"trailer", policy.Measure{Source: policy.FromResponseTrailer, Name: "x-n"}, entry(trailer("x-n", "42")), metering.Ending{FromResponse: true, Measured: true, Quantity: 42}},
		{"no trailer", policy.Measure{Source: policy.FromResponseTrailer, Name: "x-n"}, entry(header("x-n", "42")), metering.Ending{FromResponse: true}},
		{"bytes of the request", policy.Measure{Source: policy.FromRequestBytes}, entry(), metering.Ending{FromResponse: true, Measured: true, Quantity: 17}},
		{"bytes of the response", policy.Measure{Source: policy.FromResponseBytes}, entry(), metering.Ending{FromResponse: true, Measured: true, Quantity: 2048}},
		{"more bytes than there are", policy.Measure{Source: policy.FromResponseBytes}, entry(func(e *accesslogv3.HTTPAccessLogEntry) { e.Response.ResponseBodyBytes = 1 << 63 }), metering.Ending{FromResponse: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := startLogging(t, func(o *Options) {
				o.Measure = func(route string) (policy.Measure, bool) { return tt.measure, route == "reports" }
			})
			tt.want.Token, tt.want.License, tt.want.Route, tt.want.How = "token-1", "l-1", "reports", metering.Served
			if diff := cmp.Diff([]metering.Ending{tt.want}, g.send(tt.entry)); diff != "" {
				t.Errorf("said (-want +got):\n%s", diff)
			}
		})
	}
}

func TestB04WhatWasNotServedHasNoQuantity(t *testing.T) {
	g := startLogging(t, func(o *Options) {
		o.Measure = func(string) (policy.Measure, bool) { return policy.Measure{Source: policy.FromResponseBytes}, true }
	})
	want := []metering.Ending{{Token: "token-1", License: "l-1", Route: "reports", How: metering.NotServed}}
	if diff := cmp.Diff(want, g.send(entry(code(503)))); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

func TestB04EntriesInBetweenAreSignsOfLife(t *testing.T) {
	g := startLogging(t)
	old := func(intermediate bool) func(*accesslogv3.HTTPAccessLogEntry) { // an Envoy that gives no type
		return func(e *accesslogv3.HTTPAccessLogEntry) {
			e.CommonProperties.AccessLogType = accesslogv3.AccessLogType_NotSet
			e.CommonProperties.IntermediateLogEntry = intermediate //nolint:staticcheck // as above
		}
	}
	noToken := field("check", nil)
	said := g.send(
		entry(kind(accesslogv3.AccessLogType_DownstreamStart), noToken),
		entry(kind(accesslogv3.AccessLogType_DownstreamStart)),
		entry(kind(accesslogv3.AccessLogType_DownstreamPeriodic), noToken),
		entry(kind(accesslogv3.AccessLogType_DownstreamPeriodic)),
		entry(kind(accesslogv3.AccessLogType_UpstreamEnd)),
		entry(kind(accesslogv3.AccessLogType_TcpConnectionEnd)),
		entry(old(true)), entry(old(false)),
	)
	want := []metering.How{metering.Alive, metering.Alive, metering.Served}
	var got []metering.How
	for _, s := range said {
		got = append(got, s.How)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if n := g.endings.refusals(metering.RefusedNoToken); n != 0 {
		t.Errorf("%d entries in between were refused", n)
	}
}

func TestB04AnEntryWithoutATokenIsRefused(t *testing.T) {
	g := startLogging(t)
	said := g.send(
		&accesslogv3.HTTPAccessLogEntry{},
		entry(func(e *accesslogv3.HTTPAccessLogEntry) { e.CommonProperties.Metadata = nil }),
		entry(field("check", nil)),
		entry(field("check", structpb.NewNumberValue(7))),
		entry(field("check", structpb.NewStringValue(""))),
	)
	if len(said) != 0 || g.endings.refusals(metering.RefusedNoToken) != 5 {
		t.Errorf("said %v, %d refused", said, g.endings.refusals(metering.RefusedNoToken))
	}
}

func TestB04EveryEntryOfEveryStreamIsHeardWhateverItsToken(t *testing.T) {
	g := startLogging(t)
	forged := entry(field("check", structpb.NewStringValue("forged")), field("license", structpb.NewStringValue("another")))
	panics := entry(field("check", structpb.NewStringValue("panic")))
	g.send(entry(), entry(), panics, forged)
	g.open()
	var got []string
	for _, s := range g.send(entry()) {
		got = append(got, string(s.License)+" "+s.Token)
	}
	want := []string{"l-1 token-1", "l-1 token-1", "another forged", "l-1 token-1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

func TestConnectionsAndEmptyMessagesAreNoEntries(t *testing.T) {
	g := startLogging(t)
	for _, m := range []*logservicev3.StreamAccessLogsMessage{
		{},
		{Identifier: &logservicev3.StreamAccessLogsMessage_Identifier{LogName: strings.Repeat("x", 60<<10)}},
		{LogEntries: &logservicev3.StreamAccessLogsMessage_TcpLogs{TcpLogs: &logservicev3.StreamAccessLogsMessage_TCPAccessLogEntries{
			LogEntry: []*accesslogv3.TCPAccessLogEntry{{}},
		}}},
	} {
		if err := g.stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if said := g.send(); len(said) != 0 || g.endings.refusals(metering.RefusedNoToken) != 0 {
		t.Errorf("said %v, refused %v", said, g.endings.refused)
	}
}

func TestAMessageThatIsTooLargeEndsItsStreamAlone(t *testing.T) {
	g := startLogging(t)
	padded := func(n int) *logservicev3.StreamAccessLogsMessage {
		return message(entry(header("x-pad", strings.Repeat("x", n))))
	}
	if err := g.stream.Send(padded(maxMessage - 4096)); err != nil {
		t.Fatal(err)
	}
	if err := g.stream.Send(padded(maxMessage)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.stream.CloseAndRecv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the stream ends with %v", err)
	}
	g.open()
	if said := g.send(entry()); len(said) != 2 {
		t.Errorf("heard %d entries, want the one that fits and the one after", len(said))
	}
}

func TestB04ACallerWhoCantProveToBeOneIsNotHeard(t *testing.T) {
	l := listentest.Open(t, "0.0.0.0:0", listen.Access{Token: "secret"})
	o, said := options(), &endings{}
	o.Endings = said
	start(t, o, decide(allowAll), l)
	client := logservicev3.NewAccessLogServiceClient(dial(t, "127.0.0.1:"+listentest.Port(l), insecure.NewCredentials()))
	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, "secre7": codes.Unauthenticated, "secret": codes.OK} {
		ctx := metadata.AppendToOutgoingContext(waiting(t), "x-weir-caller", token)
		stream, err := client.StreamAccessLogs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(message(entry())); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := stream.CloseAndRecv(); status.Code(err) != want {
			t.Errorf("%q: %v, want %v", token, err, want)
		}
	}
	if got := len(said.heard()); got != 1 {
		t.Errorf("%d entries were heard, want the one of the caller with the token", got)
	}
	if got := said.refusals(metering.RefusedCaller); got != 2 {
		t.Errorf("%d callers were refused, want 2", got)
	}
}

func TestNoEntryWhileChecksFlowIsAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		reg := prometheus.NewRegistry()
		p := newPulse(slog.New(slog.NewTextHandler(&out, nil)), reg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			p.run(ctx)
			close(done)
		}()
		for i, minute := range []struct {
			checks, entries int
			silent          bool
		}{
			{0, 0, false}, {3, 0, false}, {0, 0, true}, {0, 0, true}, {2, 1, false}, {5, 0, true}, {5, 1, false}, {0, 1, false}, {0, 0, false},
		} {
			for range minute.checks {
				p.checked()
			}
			for range minute.entries {
				p.entry()
			}
			time.Sleep(pulseInterval)
			synctest.Wait()
			want := "0"
			if minute.silent {
				want = "1"
			}
			text := "# HELP weir_access_log_silent 1 while requests are let through and no access log entry says how they ended.\n" +
				"# TYPE weir_access_log_silent gauge\nweir_access_log_silent " + want + "\n"
			if err := testutil.GatherAndCompare(reg, strings.NewReader(text)); err != nil {
				t.Errorf("minute %d: %v", i, err)
			}
		}
		cancel()
		<-done
		if got := strings.Count(out.String(), "no access log entry comes"); got != 2 {
			t.Errorf("%d alarms, want 2:\n%s", got, &out)
		}
	})
}

func TestB04DrainingTakesNewStreamsUntilNothingWaits(t *testing.T) {
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	said := &endings{}
	said.pending.Store(1)
	o := options()
	o.Endings = said
	stop := start(t, o, decide(allowAll), l)
	c := dial(t, l.String(), insecure.NewCredentials())
	if _, code := ask(t, c); code != codes.OK {
		t.Fatalf("check: %v", code)
	}
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	health, err := healthv1.NewHealthClient(c).Watch(waiting(t), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for s := healthv1.HealthCheckResponse_SERVING; s == healthv1.HealthCheckResponse_SERVING; {
		r, err := health.Recv()
		if err != nil {
			t.Fatal(err)
		}
		s = r.GetStatus()
	}
	// A worker of Envoy's opens its stream with its first entry.
	stream, err := logservicev3.NewAccessLogServiceClient(dial(t, l.String(), insecure.NewCredentials())).StreamAccessLogs(waiting(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(message(entry())); err != nil {
		t.Fatal(err)
	}
	for len(said.heard()) == 0 {
		select {
		case <-stopped:
			t.Fatal("it ended before the entry came")
		case <-time.After(time.Millisecond):
		}
	}
	said.pending.Store(0)
	<-stopped
	if err := stream.RecvMsg(&logservicev3.StreamAccessLogsResponse{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v", err)
	}
}
