package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/policy"
)

// The limits of the gRPC server.
const (
	// maxMessage is the largest message taken, in bytes; a check with a body of Envoy's default limit is 1 MiB.
	maxMessage = 4 << 20
	// maxMetadata bounds the metadata of an rpc, in bytes.
	maxMetadata = 64 << 10
	// maxStreams bounds the checks under way on one connection; Envoy opens another when it needs more.
	maxStreams = 1000
	// connectTimeout bounds the handshakes of a new connection.
	connectTimeout = 10 * time.Second
	// pingAfter is how long a connection is silent before it is asked whether it still
	// stands, and pingTimeout how long that may take.
	pingAfter, pingTimeout = 30 * time.Second, 10 * time.Second
	// minPing is how often a proxy may ask the same; one that asks more often is cut off.
	minPing = 10 * time.Second
	// drainTimeout bounds how long checks under way are waited for at the end: they
	// take well under a second, streams may take for ever.
	drainTimeout = 5 * time.Second
)

// Decider decides a request. It is called by many goroutines at once, and ctx ends
// when the proxy no longer waits.
type Decider interface {
	Decide(ctx context.Context, r *policy.Request) policy.Decision
}

// Options are what a Server needs to know.
type Options struct {
	// Decisions says which decisions are logged.
	Decisions DecisionLog
	// TrustRequestID takes x-request-id for a request's name (metering.trustRequestID).
	TrustRequestID bool
	// Ready tells whether health is SERVING. It is asked at each health check.
	Ready func() bool
	// Now is AWS time, from which clients are told when a quota resets.
	Now func() time.Time
}

// Server is the gRPC server that proxies call.
type Server struct {
	listeners []*listen.Listener
	servers   []*grpc.Server // one for each listener: who may call differs
	record    *recorder
	draining  chan struct{}
	drain     sync.Once
}

// New makes a server on open listeners, which Run closes.
func New(o Options, listeners []*listen.Listener, d Decider, log *slog.Logger) *Server {
	record := &recorder{choice: o.Decisions, log: log}
	s := &Server{listeners: listeners, record: record, draining: make(chan struct{})}
	checks := &authorization{
		decider: d, record: record, log: log, now: o.Now, trustRequestID: o.TrustRequestID,
	}
	h := &health{ready: o.Ready, draining: s.draining}
	for _, l := range listeners {
		g := grpc.NewServer(serverOptions(l, log)...)
		authv3.RegisterAuthorizationServer(g, checks)
		healthv1.RegisterHealthServer(g, h)
		s.servers = append(s.servers, g)
	}
	return s
}

func serverOptions(l *listen.Listener, log *slog.Logger) []grpc.ServerOption {
	door := &door{listener: l, log: log}
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(door.unary),
		grpc.StreamInterceptor(door.stream),
	}
	if cfg := l.TLS(); cfg != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(cfg)))
	}
	return opts
}

// Run serves until ctx is done; then health says NOT_SERVING, no new connection is
// taken, and checks under way are waited for within a bound.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, g := range s.servers {
		l := s.listeners[i]
		group.Go(func() error {
			if err := g.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve gRPC on %s: %w", l, err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			s.drain.Do(func() { close(s.draining) })
			stop(g)
			return nil
		})
	}
	err := group.Wait()
	s.record.flush()
	return err
}

// stop ends a server: gracefully within drainTimeout, then at once.
func stop(g *grpc.Server) {
	hurry := time.AfterFunc(drainTimeout, g.Stop)
	defer hurry.Stop()
	g.GracefulStop()
}
