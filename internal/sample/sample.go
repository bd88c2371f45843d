// Package sample is an application that weir stands beside in the demo and the
// end-to-end tests: it answers every HTTP request and every gRPC call, and keeps
// its own count of what it served, so that a bill can be held against it.
package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
)

// App is the application. The zero App is ready to use.
type App struct {
	// Web and RPC, where set, answer in its place; what they serve they count themselves.
	Web http.Handler
	RPC grpc.StreamHandler

	mu     sync.Mutex
	served map[use]int64
}

// use is who used what: the license that weir named, and the path.
type use struct{ license, path string }

// Served is how many units each license was served since the start on the paths
// that match: one a request, or what the header x-rows says. The empty license is
// everybody for whom weir named none.
func (a *App) Served(match func(path string) bool) map[string]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	sums := map[string]int64{}
	for u, n := range a.served {
		if match(u.path) {
			sums[u.license] += n
		}
	}
	return sums
}

func (a *App) count(path, license, rows string) {
	units := int64(1)
	if n, err := strconv.ParseInt(rows, 10, 64); err == nil {
		units = n
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.served == nil {
		a.served = map[use]int64{}
	}
	a.served[use{license, path}] += units
}

// answer is what the application says: what weir told it.
type answer struct {
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Weir   map[string]string `json:"weir"`
}

// ServeHTTP answers 200 with the x-weir-* headers that arrived.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	said := answer{Method: r.Method, Path: r.URL.RequestURI(), Weir: map[string]string{}}
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-weir-") {
			said.Weir[name] = strings.Join(values, ",")
		}
	}
	a.count(r.URL.Path, r.Header.Get("x-weir-license"), r.Header.Get("x-rows"))
	w.Header().Set("content-type", "application/json")
	_ = json.NewEncoder(w).Encode(said) // the caller may have gone
}

// serveGRPC answers any method with an empty message.
func (a *App) serveGRPC(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	md, _ := metadata.FromIncomingContext(stream.Context())
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	a.count(method, first(md, "x-weir-license"), first(md, "x-rows"))
	header := metadata.MD{}
	for name, values := range md {
		if strings.HasPrefix(name, "x-weir-") {
			header["app-saw-"+name] = values
		}
	}
	if err := stream.SendHeader(header); err != nil {
		return err
	}
	return stream.SendMsg(&emptypb.Empty{})
}

func first(md metadata.MD, name string) string {
	if v := md.Get(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Run serves HTTP/1.1 and HTTP/2 on the one listener and gRPC on the other until the
// context ends. A nil gRPC listener serves HTTP only.
func (a *App) Run(ctx context.Context, web, rpc net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	var handler http.Handler = a
	if a.Web != nil {
		handler = a.Web
	}
	rpcHandler := a.serveGRPC
	if a.RPC != nil {
		rpcHandler = a.RPC
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, Protocols: protocols}
	failed := make(chan error, 2)
	go func() { failed <- srv.Serve(web) }()
	grpcServer := grpc.NewServer(grpc.UnknownServiceHandler(rpcHandler))
	if rpc != nil {
		go func() { failed <- grpcServer.Serve(rpc) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	grpcServer.Stop()
	if cerr := srv.Close(); err == nil {
		err = cerr
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve sample application: %w", err)
	}
	return nil
}
