package proxy

import (
	"context"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/proxy/wire"
)

// callerHeader is where the proxy shows the callers' token.
const callerHeader = "x-weir-caller"

// door stands before every rpc of one listener: it lets in who may call, and keeps a
// panic from ending the process.
type door struct {
	listener *listen.Listener
	endings  Endings // counts the access log streams that are refused
	log      *slog.Logger
}

func (d *door) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	defer d.rescue(info.FullMethod, &err)
	if err := d.admit(ctx, info.Server); err != nil {
		return nil, err
	}
	return next(ctx, in)
}

func (d *door) stream(server any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer d.rescue(info.FullMethod, &err)
	if err := d.admit(ss.Context(), server); err != nil {
		if _, ok := server.(wire.Logger); ok {
			d.endings.Refused(metering.RefusedCaller)
		}
		return err
	}
	return next(server, ss)
}

// rescue makes a panic the error of its rpc, on which Envoy does not let the request pass.
func (d *door) rescue(method string, err *error) {
	if p := recover(); p != nil {
		d.log.Error("rpc panicked", "rpc", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Unavailable, "internal error")
	}
}

// admit refuses who can't prove to be a caller. Health is open to all: probes have no token.
func (d *door) admit(ctx context.Context, server any) error {
	if d.listener.AdmitsAll() {
		return nil
	}
	if _, open := server.(healthv1.HealthServer); open {
		return nil
	}
	var token string
	if shown := metadata.ValueFromIncomingContext(ctx, callerHeader); len(shown) == 1 {
		token = shown[0]
	}
	p, _ := peer.FromContext(ctx)
	if p != nil {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && d.listener.Admits(token, &info.State) {
			return nil
		}
	}
	if d.listener.Admits(token, nil) {
		return nil
	}
	return status.Error(codes.Unauthenticated, "the caller is not known: metadata "+callerHeader+" has to hold the callers' token, or the connection a client certificate that listen.tls.clientCA has signed")
}
