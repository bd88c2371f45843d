package proxy

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/proxy/wire"
)

// watchInterval is how often a watcher's answer is looked at again: soon enough for a
// proxy that takes an endpoint out of its set.
const watchInterval = time.Second

// health is the standard gRPC health service. It serves while the process is
// ready and not draining.
type health struct {
	healthv1.UnimplementedHealthServer
	ready    func() bool
	draining <-chan struct{} // closed once draining begins
}

// Check answers for the whole server and for the authorization service.
func (h *health) Check(_ context.Context, in *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if !known(in.GetService()) {
		return nil, status.Error(codes.NotFound, "no such service")
	}
	return &healthv1.HealthCheckResponse{Status: h.status()}, nil
}

// List answers for every service.
func (h *health) List(context.Context, *healthv1.HealthListRequest) (*healthv1.HealthListResponse, error) {
	now := &healthv1.HealthCheckResponse{Status: h.status()}
	return &healthv1.HealthListResponse{Statuses: map[string]*healthv1.HealthCheckResponse{
		"": now, wire.ServiceName: now,
	}}, nil
}

// Watch sends the status, and each change of it until draining begins.
func (h *health) Watch(in *healthv1.HealthCheckRequest, out grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := healthv1.HealthCheckResponse_UNKNOWN
	for {
		now := healthv1.HealthCheckResponse_SERVICE_UNKNOWN
		if known(in.GetService()) {
			now = h.status()
		}
		if now != last {
			if err := out.Send(&healthv1.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
			last = now
		}
		if h.isDraining() {
			return status.Error(codes.Unavailable, "the server is draining")
		}
		select {
		case <-tick.C:
		case <-h.draining:
		case <-out.Context().Done():
			return status.FromContextError(out.Context().Err()).Err()
		}
	}
}

func (h *health) status() healthv1.HealthCheckResponse_ServingStatus {
	if !h.isDraining() && h.ready() {
		return healthv1.HealthCheckResponse_SERVING
	}
	return healthv1.HealthCheckResponse_NOT_SERVING
}

func (h *health) isDraining() bool {
	select {
	case <-h.draining:
		return true
	default:
		return false
	}
}

// known tells whether a name is one that health is asked for here; empty is the whole server.
func known(service string) bool {
	return service == "" || service == wire.ServiceName
}
