package proxy

import (
	"errors"
	"io"
	"log/slog"
	"runtime/debug"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

// authzNamespace is where Envoy keeps the dynamic metadata of a check (Envoy:
// CheckResponse.dynamic_metadata).
const authzNamespace = "envoy.filters.http.ext_authz"

// Endings take what the access log says of the checks that were let through.
type Endings interface {
	// Resolve ends the check that an entry is about, or says why it does not. The strings of e are
	// views into a buffer: whoever keeps one clones it.
	Resolve(e *metering.Ending) metering.Refusal
	// Refused counts an entry, or a whole stream, that says nothing of a check.
	Refused(why metering.Refusal)
	// Pending is how many checks wait for their entry.
	Pending() int64
}

// accessLog is Envoy's access log service. What Envoy sends is not acknowledged, and
// Envoy opens one stream for each of its workers, some only with the first entries.
type accessLog struct {
	endings Endings
	measure func(route string) (policy.Measure, bool)
	rule    *servedRule
	pulse   *pulse
	log     *slog.Logger
	over    <-chan struct{} // closed when nothing is waited for any more
}

var _ wire.Logger = (*accessLog)(nil)

// StreamAccessLogs takes entries until Envoy ends the stream, or weir does.
func (a *accessLog) StreamAccessLogs(stream *wire.LogStream) error {
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
func (a *accessLog) receive(stream *wire.LogStream) error {
	for {
		err := stream.Receive(a.take)
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose()
		}
		if err != nil {
			return err
		}
	}
}

// take acts upon one entry. A panic costs no other entry.
func (a *accessLog) take(e *wire.LogEntry) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("access log entry panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	stage := stageOf(e)
	if stage == otherStage {
		return
	}
	token := e.Text(authzNamespace, checkField)
	if token == "" {
		if stage == atEnd {
			a.endings.Refused(metering.RefusedNoToken)
		}
		return
	}
	a.pulse.entry()
	ending := metering.Ending{Token: token, License: policy.Key(e.Text(authzNamespace, licenseField)), Route: e.Text(authzNamespace, routeField), How: metering.Alive}
	if stage == atEnd {
		a.conclude(e, &ending)
	}
	a.endings.Resolve(&ending)
}

// conclude says how the request ended, and how much it was.
func (a *accessLog) conclude(e *wire.LogEntry, to *metering.Ending) {
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
func stageOf(e *wire.LogEntry) stage {
	switch accesslogv3.AccessLogType(e.Type) {
	case accesslogv3.AccessLogType_DownstreamEnd:
		return atEnd
	case accesslogv3.AccessLogType_DownstreamPeriodic:
		return underWay
	case accesslogv3.AccessLogType_NotSet:
		if e.Intermediate {
			return underWay
		}
		return atEnd
	default:
		return otherStage
	}
}
