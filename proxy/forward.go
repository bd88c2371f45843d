package proxy

import (
	"net/http"

	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

// forward answers proxies that ask over HTTP (forward-auth): 200 lets a request pass, and
// everything else is the answer for the client. Its decisions and headers are those
// of a check over gRPC.
type forward struct{ checks *authorization }

// Forward is the handler of /check/*. Who may call is for its HTTP server to say.
func (s *Server) Forward() http.Handler { return &forward{s.checks} }

// ServeHTTP answers one check. No access log tells how the request ended, so what it
// uses counts here, for a caller who goes away as well: he may have let it pass.
func (f *forward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c check
	if p := c.readForwarded(r, f.checks.trustRequestID); p != nil {
		w.Header().Set("Content-Type", policy.ProblemType)
		w.WriteHeader(p.Status)
		_, _ = w.Write(p.JSON()) // a caller who is gone needs no answer
		return
	}
	d := f.checks.decide(r.Context(), &c.Request)
	f.checks.record.decided(c.Method, &d)
	if r.Context().Err() != nil {
		d = policy.Decision{} // nobody hears it, and nobody must take it for a permission
	}
	write(w, &c, c.answer(&d, f.checks.now()))
}

// write writes an answer.
func write(w http.ResponseWriter, c *check, a *wire.Answer) {
	for _, fields := range [][]wire.Field{a.Headers, a.ResponseHeaders} {
		for _, h := range fields {
			w.Header().Set(h.Name, h.Value)
		}
	}
	if a.Allowed {
		w.WriteHeader(http.StatusOK)
		return
	}
	if c.grpc {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(max(int(a.Status), http.StatusBadRequest)) // a denial is never taken for permission
	_, _ = w.Write([]byte(a.Body))                           // a caller who is gone needs no answer
}
