package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/weirhq/weir/internal/direct"
	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

// The limits of the gRPC server.
const (
	// maxMessage is the largest message taken, in bytes; a check with a body of Envoy's default limit is 1 MiB,
	// access log entries come in lots of some 16 KiB (Envoy: buffer_size_bytes).
	maxMessage = 4 << 20
	// maxMetadata bounds the metadata of an rpc, in bytes.
	maxMetadata = 64 << 10
	// maxStreams bounds the rpcs under way on one connection; Envoy opens another when it needs more.
	maxStreams = 1000
	// connectTimeout bounds the handshakes of a new connection.
	connectTimeout = 10 * time.Second
	// pingAfter is how long a connection is silent before it is asked whether it still
	// stands, and pingTimeout how long that may take.
	pingAfter, pingTimeout = 30 * time.Second, 10 * time.Second
	// minPing is how often a proxy may ask the same; one that asks more often is cut off.
	minPing = 10 * time.Second
	// maxIdle is how long a connection may stand without an rpc, and maxAge how long new rpcs may come on one
	// (grpc: more or less a tenth). Then the proxy is told to open another; an access log stream goes on
	// where it is, for as long as it likes.
	maxIdle, maxAge = 15 * time.Minute, time.Hour
)

// What makes a check cheap.
const (
	// workers answer rpcs one after the other on a stack that has grown already; when all
	// are busy, an rpc gets a goroutine of its own.
	workers = 64
	// window is the flow control window of a connection and of a stream, in bytes: room for
	// hundreds of checks. One that is fixed spares the ping after each lone check by which
	// grpc would find a better one.
	window = 1 << 20
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
	// Tokens and Endings tie the access log's entries to checks (BILLING B04).
	Tokens  Tokens
	Endings Endings
	// Measure says how the requests of a route are counted; false: they are not.
	Measure func(route string) (policy.Measure, bool)
	// NotBilled lists the answers of the application that are not counted (metering.notBilled).
	NotBilled metering.NotBilled
}

// Server is the gRPC server that proxies call.
type Server struct {
	listeners []*listen.Listener
	checks    *authorization
	entries   *accessLog
	health    *health
	pulse     *pulse
	drain     *drain
	log       *slog.Logger
}

// New makes a server on open listeners, which Run closes.
func New(o Options, listeners []*listen.Listener, d Decider, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	rule, err := newServedRule(o.NotBilled)
	if err != nil {
		return nil, err
	}
	s := &Server{listeners: listeners, pulse: newPulse(log, reg), drain: newDrain(), log: log}
	s.checks = &authorization{
		decider: d, tokens: o.Tokens, pulse: s.pulse, drain: s.drain,
		record: &recorder{choice: o.Decisions, log: log}, log: log, now: o.Now, trustRequestID: o.TrustRequestID,
		spoofed: newSpoofed(reg),
	}
	s.entries = &accessLog{
		endings: o.Endings, measure: o.Measure, rule: rule, pulse: s.pulse, log: log, over: s.drain.over,
	}
	s.health = &health{ready: o.Ready, draining: s.drain.began}
	return s, nil
}

// server makes the server of one listener: who may call differs.
func (s *Server) server(l *listen.Listener) *grpc.Server {
	g := grpc.NewServer(serverOptions(&door{listener: l, endings: s.entries.endings, log: s.log})...)
	wire.Register(g, s.checks)
	wire.RegisterLog(g, s.entries)
	healthv1.RegisterHealthServer(g, s.health)
	return g
}

func serverOptions(door *door) []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: pingAfter, Timeout: pingTimeout, MaxConnectionIdle: maxIdle, MaxConnectionAge: maxAge,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.NumStreamWorkers(workers),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.ForceServerCodecV2(wire.NewCodec()),
		grpc.UnaryInterceptor(door.unary),
		grpc.StreamInterceptor(door.stream),
	}
	if cfg := door.listener.TLS(); cfg != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(cfg)))
	}
	return opts
}

// Run serves until ctx is done; then health says NOT_SERVING, and within bounds checks
// under way and the access log entries of those that were let through are waited for.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		s.pulse.run(ctx)
		return nil
	})
	group.Go(func() error {
		s.drain.run(ctx, s.entries.endings.Pending)
		return nil
	})
	for _, l := range s.listeners {
		g := s.server(l)
		group.Go(func() error {
			if err := g.Serve(direct.Listen(l)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve gRPC on %s: %w", l, err)
			}
			return nil
		})
		group.Go(func() error {
			<-s.drain.over
			stop(g)
			return nil
		})
	}
	err := group.Wait()
	s.checks.record.flush()
	return err
}

// stop ends a server: gracefully within drainTimeout, then at once.
func stop(g *grpc.Server) {
	hurry := time.AfterFunc(drainTimeout, g.Stop)
	defer hurry.Stop()
	g.GracefulStop()
}
