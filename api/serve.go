package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/internal/listen"
)

// The limits of an HTTP server.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	// answerTimeout is longer than the profile of 30 s that pprof takes by default.
	answerTimeout = 60 * time.Second
	idleTimeout   = 120 * time.Second
	// maxHeader bounds the headers of a request, in bytes: 64 KiB, of which net/http
	// adds 4 KiB by itself.
	maxHeader = 60 << 10
	// drainTimeout bounds how long requests under way are waited for at the end.
	drainTimeout = 5 * time.Second
)

// serve runs one HTTP server for each listener until ctx is done, and then lets requests
// under way finish within a bound.
func serve(ctx context.Context, listeners []*listen.Listener, handler func(*listen.Listener) http.Handler, log *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		server := &http.Server{
			Handler:           handler(l),
			TLSConfig:         l.TLS(),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       bodyTimeout,
			WriteTimeout:      answerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		}
		group.Go(func() error {
			if err := listenAndServe(server, l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve HTTP on %s: %w", l, err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			return stop(context.WithoutCancel(ctx), server)
		})
	}
	return group.Wait()
}

func listenAndServe(server *http.Server, l *listen.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(l, "", "")
	}
	return server.Serve(l)
}

// stop ends a server: gracefully within drainTimeout, then at once.
func stop(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}
