package proxy

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/policy"
)

// authorization is Envoy's external authorization service.
type authorization struct {
	authv3.UnimplementedAuthorizationServer
	decider        Decider
	record         *recorder
	log            *slog.Logger
	now            func() time.Time
	trustRequestID bool
}

// Check answers one check. A caller who has gone away gets an error, whatever was
// decided; the decision is on record all the same.
func (a *authorization) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if ctx.Err() != nil {
		return nil, goneAway()
	}
	c, ok := request(in, a.trustRequestID)
	var d policy.Decision
	if ok {
		d = a.decide(ctx, &c.Request)
	}
	a.record.decided(c.Method, &d)
	if ctx.Err() != nil {
		return nil, goneAway()
	}
	return response(c, &d, a.now()), nil
}

// decide asks the Decider; its panic is a fault, which denies.
func (a *authorization) decide(ctx context.Context, r *policy.Request) (d policy.Decision) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("decision panicked", "panic", p, "stack", string(debug.Stack()))
			d = policy.Decision{}
		}
	}()
	return a.decider.Decide(ctx, r)
}

func goneAway() error {
	return status.Error(codes.Unavailable, "the caller went away before the answer")
}
