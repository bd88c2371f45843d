package wire

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

// check is a Checker that is a function.
type check func(msg, dst []byte) ([]byte, error)

func (f check) AppendAnswer(_ context.Context, msg, dst []byte) ([]byte, error) { return f(msg, dst) }

// mirror answers with the path of the request as a header.
func mirror(msg, dst []byte) ([]byte, error) {
	var r Request
	if err := r.Scan(msg); err != nil {
		return nil, err
	}
	return (&Answer{Allowed: true, Headers: []Field{{"path", r.Path}}}).Append(dst), nil
}

// serve runs a server until the test ends, and returns a connection to it.
func serve(t *testing.T, c Checker, o ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	pipe := bufconn.Listen(1 << 16)
	g := grpc.NewServer(append(o, grpc.ForceServerCodecV2(NewCodec()))...)
	Register(g, c)
	healthv1.RegisterHealthServer(g, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(pipe) }()
	conn, err := grpc.NewClient("passthrough:weir", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Stop()
		if err := errors.Join(<-ended, conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func TestGeneratedClientsAreAnsweredWhateverTheSize(t *testing.T) {
	conn := serve(t, check(mirror))
	for _, size := range []int{0, 10, 1000, 5000, 100_000, 3 << 20} {
		in := typical()
		in.Attributes.Request.Http.Path = "/" + strings.Repeat("a", size)
		out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), in, grpc.MaxCallRecvMsgSize(8<<20))
		if err != nil || len(out.GetOkResponse().GetHeaders()) != 1 || out.GetOkResponse().GetHeaders()[0].GetHeader().GetValue() != in.Attributes.Request.Http.Path {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestOtherServicesOfTheServerKeepTheGeneratedTypes(t *testing.T) {
	out, err := healthv1.NewHealthClient(serve(t, check(mirror))).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || out.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", out, err)
	}
}

func TestErrorsOfACheckerAreThoseOfTheCall(t *testing.T) {
	conn := serve(t, check(func(_, _ []byte) ([]byte, error) { return nil, status.Error(codes.ResourceExhausted, "full") }))
	if _, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), typical()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
}

func TestInterceptorsSeeTheService(t *testing.T) {
	var method string
	var server any
	refuse := false
	conn := serve(t, check(mirror), grpc.UnaryInterceptor(func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		method, server = info.FullMethod, info.Server
		if refuse {
			return nil, status.Error(codes.Unauthenticated, "no")
		}
		return next(ctx, in)
	}))
	client := authv3.NewAuthorizationClient(conn)
	if _, err := client.Check(t.Context(), typical()); err != nil || method != authv3.Authorization_Check_FullMethodName {
		t.Errorf("%v: method %q", err, method)
	}
	if _, ok := server.(Checker); !ok {
		t.Errorf("the server is %T", server)
	}
	refuse = true
	if _, err := client.Check(t.Context(), typical()); status.Code(err) != codes.Unauthenticated {
		t.Errorf("%v", err)
	}
}

// poison is a pool that overwrites what comes back, as the next message would.
type poison struct{ taken, given int }

func (p *poison) Get(n int) *[]byte {
	p.taken++
	b := make([]byte, n)
	return &b
}

func (p *poison) Put(b *[]byte) {
	p.given++
	whole := (*b)[:cap(*b)]
	for i := range whole {
		whole[i] = 0xDB
	}
}

func TestBuffersGoBackOnceTheCallIsOver(t *testing.T) {
	for name, checker := range map[string]check{
		"answered": mirror,
		"refused":  func(_, _ []byte) ([]byte, error) { return nil, errors.New("no") },
		"with a long answer": func(_, dst []byte) ([]byte, error) {
			return (&Answer{Code: 7, Status: 403, Body: strings.Repeat("a", 2*answerSize)}).Append(dst), nil
		},
	} {
		pool := &poison{}
		var kept Request
		s := &service{pool: pool, checker: check(func(msg, dst []byte) ([]byte, error) {
			if err := kept.Scan(msg); err != nil {
				t.Fatal(err)
			}
			return checker(msg, dst)
		})}
		s.messages.New = func() any { return new(message) }
		msg, err := proto.Marshal(typical())
		if err != nil {
			t.Fatal(err)
		}
		room := pool.Get(len(msg))
		copy(*room, msg)
		data := mem.BufferSlice{mem.NewBuffer(room, pool)}
		c := &codec{generated: NewCodec(), pool: pool}
		out, err := s.handle(nil, t.Context(), func(v any) error {
			defer data.Free() // as grpc does
			return c.Unmarshal(data, v)
		}, nil)
		if (err != nil) != (name == "refused") {
			t.Fatalf("%s: %v", name, err)
		}
		if err == nil {
			sent, err := c.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			if err := proto.Unmarshal(sent.Materialize(), &authv3.CheckResponse{}); err != nil {
				t.Errorf("%s: the answer can't be read: %v", name, err)
			}
			sent.Free()
		}
		if pool.taken != pool.given {
			t.Errorf("%s: %d buffers were taken, %d given back", name, pool.taken, pool.given)
		}
		if kept.Method == "GET" {
			t.Errorf("%s: a view outlives the call", name)
		}
	}
}
