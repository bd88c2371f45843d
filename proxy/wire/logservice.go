package wire

import (
	logservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The names of the service (Envoy: als.proto).
const (
	LogServiceName = "envoy.service.accesslog.v3.AccessLogService"
	logMethod      = "StreamAccessLogs"
	logProtoFile   = "envoy/service/accesslog/v3/als.proto"
)

// Logger takes streams of Envoy's access log.
type Logger interface {
	// StreamAccessLogs takes one stream. When it returns the stream ends.
	StreamAccessLogs(s *LogStream) error
}

// RegisterLog puts Envoy's access log service on a server that uses NewCodec.
func RegisterLog(r grpc.ServiceRegistrar, l Logger) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: LogServiceName,
		HandlerType: (*Logger)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: logMethod, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				return l.StreamAccessLogs(&LogStream{ServerStream: stream})
			},
		}},
		Metadata: logProtoFile,
	}, l)
}

// LogStream is a stream of the access log. It is for one goroutine.
type LogStream struct {
	grpc.ServerStream
	message message
	entry   LogEntry
}

// Receive waits for the next message and hands its HTTP entries over, one after the other: neither one nor a
// view into it is good after its call. At the end of the stream its error is io.EOF.
func (s *LogStream) Receive(take func(*LogEntry)) error {
	if err := s.RecvMsg(&s.message); err != nil {
		return err
	}
	defer s.message.free()
	defer s.entry.Reset()
	if err := logEntries(s.message.buffer.ReadOnlyData(), &s.entry, take); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// SendAndClose answers a stream that has ended.
func (s *LogStream) SendAndClose() error {
	return s.SendMsg(&logservicev3.StreamAccessLogsResponse{})
}
