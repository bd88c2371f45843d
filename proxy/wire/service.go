package wire

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// The names of the service (Envoy: external_auth.proto).
const (
	ServiceName = "envoy.service.auth.v3.Authorization"
	checkMethod = "Check"
	protoFile   = "envoy/service/auth/v3/external_auth.proto"
)

// answerSize is the buffer that an answer begins with, in bytes: the smallest that
// grpc uses again. Nearly all fit.
const answerSize = 4 << 10

// Checker answers checks.
type Checker interface {
	// AppendAnswer appends to dst the CheckResponse for a CheckRequest. Neither msg nor a
	// view into it is good after the call.
	AppendAnswer(ctx context.Context, msg, dst []byte) ([]byte, error)
}

// Register puts Envoy's external authorization service on a server that uses NewCodec.
func Register(r grpc.ServiceRegistrar, c Checker) {
	s := &service{checker: c, pool: mem.DefaultBufferPool()}
	s.messages.New = func() any { return new(message) }
	s.answer = s.check
	s.info = grpc.UnaryServerInfo{Server: c, FullMethod: "/" + ServiceName + "/" + checkMethod}
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*Checker)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: checkMethod, Handler: s.handle}},
		Metadata:    protoFile,
	}, c)
}

// service calls a Checker. What every call needs is made once.
type service struct {
	checker  Checker
	answer   grpc.UnaryHandler // check, which as a value costs an allocation each time
	info     grpc.UnaryServerInfo
	pool     mem.BufferPool
	messages sync.Pool // of *message
}

// message is a CheckRequest as it came. The codec fills it with a reference to grpc's buffer.
type message struct{ buffer mem.Buffer }

// handle is the handler of one call (grpc.MethodHandler): what it returns, the codec sends.
func (s *service) handle(
	_ any, ctx context.Context, //nolint:revive // grpc's order
	decode func(any) error, through grpc.UnaryServerInterceptor,
) (any, error) {
	in := s.messages.Get().(*message)
	defer s.messages.Put(in)
	if err := decode(in); err != nil {
		return nil, err
	}
	defer in.free()
	if through == nil {
		return s.check(ctx, in)
	}
	return through(ctx, in, &s.info, s.answer)
}

// check answers a message with a buffer.
func (s *service) check(ctx context.Context, in any) (any, error) {
	room := s.pool.Get(answerSize)
	out, err := s.checker.AppendAnswer(ctx, in.(*message).buffer.ReadOnlyData(), (*room)[:0])
	switch {
	case err != nil:
		s.pool.Put(room)
		return nil, err
	case cap(out) != cap(*room): // it did not fit
		s.pool.Put(room)
		return mem.SliceBuffer(out), nil
	default:
		*room = out
		return mem.NewBuffer(room, s.pool), nil
	}
}

func (m *message) free() {
	m.buffer.Free()
	m.buffer = nil
}
