package proxy

import (
	"errors"
	"io"
	"log/slog"
	"runtime/debug"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	logservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// authzNamespace is where Envoy keeps the dynamic metadata of a check (Envoy:
// CheckResponse.dynamic_metadata).
const authzNamespace = "envoy.filters.http.ext_authz"

// Endings take what the access log says of the checks that were let through.
type Endings interface {
	// Resolve ends the check that an entry is about, or says why it does not.
	Resolve(e *metering.Ending) metering.Refusal
	// Refused counts an entry, or a whole stream, that says nothing of a check.
	Refused(why metering.Refusal)
	// Pending is how many checks wait for their entry.
	Pending() int64
}

// accessLog is Envoy's access log service. What Envoy sends is not acknowledged, and
// Envoy opens one stream for each of its workers, some only with the first entries.
type accessLog struct {
	logservicev3.UnimplementedAccessLogServiceServer
	endings Endings
	measure func(route string) (policy.Measure, bool)
	rule    *servedRule
	pulse   *pulse
	log     *slog.Logger
	over    <-chan struct{} // closed when nothing is waited for any more
}

// StreamAccessLogs takes entries until Envoy ends the stream, or weir does.
func (a *accessLog) StreamAccessLogs(stream logservicev3.AccessLogService_StreamAccessLogsServer) error {
	ended := make(chan error, 1)
	go func() { ended <- a.receive(stream) }() // it ends with the stream, which ends with this call
	select {
	case err := <-ended:
		return err
	case <-a.over:
		return status.Error(codes.Unavailable, "the server is draining")
	}
}

// receive reads a stream to its end.
func (a *accessLog) receive(stream logservicev3.AccessLogService_StreamAccessLogsServer) error {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&logservicev3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		for _, e := range message.GetHttpLogs().GetLogEntry() {
			a.take(e)
		}
	}
}

// take acts upon one entry. A panic costs no other entry.
func (a *accessLog) take(e *accesslogv3.HTTPAccessLogEntry) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("access log entry panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	stage := stageOf(e.GetCommonProperties())
	if stage == otherStage {
		return
	}
	fields := e.GetCommonProperties().GetMetadata().GetFilterMetadata()[authzNamespace]
	token := text(fields, checkField)
	if token == "" {
		if stage == atEnd {
			a.endings.Refused(metering.RefusedNoToken)
		}
		return
	}
	a.pulse.entry()
	ending := metering.Ending{Token: token, License: policy.Key(text(fields, licenseField)), Route: text(fields, routeField), How: metering.Alive}
	if stage == atEnd {
		a.conclude(e, &ending)
	}
	a.endings.Resolve(&ending)
}

// conclude says how the request ended, and how much it was.
func (a *accessLog) conclude(e *accesslogv3.HTTPAccessLogEntry, to *metering.Ending) {
	to.How = metering.NotServed
	if !a.rule.served(e) {
		return
	}
	to.How = metering.Served
	// A route that is gone from the configuration, or meters nothing now, leaves what the check knew.
	if m, ok := a.measure(to.Route); ok && m.Source != policy.KnownAtCheck {
		to.FromResponse = true
		to.Quantity, to.Measured = measured(e, &m)
	}
}

// stage is when in a request's life an entry was written.
type stage uint8

const (
	otherStage stage = iota // the start, which knows of no check; connections, tunnels
	underWay
	atEnd
)

// stageOf reads the type of an entry. An Envoy that gives none writes at the end, or says
// that the entry is an intermediate one (Envoy: AccessLogCommon).
func stageOf(c *accesslogv3.AccessLogCommon) stage {
	switch c.GetAccessLogType() {
	case accesslogv3.AccessLogType_DownstreamEnd:
		return atEnd
	case accesslogv3.AccessLogType_DownstreamPeriodic:
		return underWay
	case accesslogv3.AccessLogType_NotSet:
		if c.GetIntermediateLogEntry() { //nolint:staticcheck // deprecated, but all there is without a type
			return underWay
		}
		return atEnd
	default:
		return otherStage
	}
}

// text is a metadata field that is a text; empty where it is not.
func text(fields *structpb.Struct, name string) string {
	return fields.GetFields()[name].GetStringValue()
}
