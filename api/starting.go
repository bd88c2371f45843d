package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/weirhq/weir/internal/listen"
)

// Starting answers on listen.admin while weir starts and the rest of it is not there yet: it lives, and is not ready.
type Starting struct {
	listener *listen.Listener
	log      *slog.Logger
}

// NewStarting makes it; the listener stays open when it ends, for the server that follows.
func NewStarting(l *listen.Listener, log *slog.Logger) *Starting { return &Starting{l, log} }

// reasonStarting is why nothing but /livez is answered.
const reasonStarting = "starting"

// Run answers until the context ends.
func (s *Starting) Run(ctx context.Context) error {
	raw, ok := s.listener.Listener.(interface{ SetDeadline(at time.Time) error })
	if !ok { // callers wait until weir has started
		<-ctx.Done()
		return nil
	}
	borrowed := *s.listener
	borrowed.Listener = &lent{s.listener.Listener, raw.SetDeadline}
	err := serve(ctx, []*listen.Listener{&borrowed}, func(*listen.Listener) http.Handler { return rescued(s.log, bounded(s.handler())) }, s.log)
	return errors.Join(err, raw.SetDeadline(time.Time{}))
}

func (s *Starting) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, reasonStarting, "weir is starting: try again.")
	})
	mux.Handle("/livez", methods{http.MethodGet: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }})
	return mux
}

// lent is a listener that somebody else goes on with: to close it only ends the waiting for connections.
type lent struct {
	net.Listener
	setDeadline func(time.Time) error
}

// Close ends the present Accept and all that follow.
func (l *lent) Close() error { return l.setDeadline(time.Now()) }
