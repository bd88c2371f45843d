package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

// noop is A: it permits everything, on the generated types and grpc's defaults.
type noop struct {
	authv3.UnimplementedAuthorizationServer
}

func (noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &status.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}

// serveNoop serves A on a TCP address or the path of a socket, and its metrics, until it is killed.
func serveNoop(ctx context.Context, address, metrics string) error {
	network := "tcp"
	if address != "" && address[0] == '/' {
		network = "unix"
		if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("serve A: %w", err)
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return fmt.Errorf("serve A: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector())
	web := &http.Server{Addr: metrics, Handler: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), ReadHeaderTimeout: answerTimeout}
	ended := make(chan error, 1)
	go func() { ended <- web.ListenAndServe() }()
	g := grpc.NewServer()
	authv3.RegisterAuthorizationServer(g, noop{})
	go func() { ended <- g.Serve(l) }()
	return <-ended
}
