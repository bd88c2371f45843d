package api

import (
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/listen"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 1 << 20

// methods are the handlers of one path. GET covers HEAD.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, ok := m[r.Method]
	if !ok && r.Method == http.MethodHead {
		h, ok = m[http.MethodGet]
	}
	if !ok {
		allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", allow)
		fail(w, http.StatusMethodNotAllowed, reasonMethod, "This endpoint takes "+allow+".")
		return
	}
	h(w, r)
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, reasonNotFound, "There is no such endpoint.")
}

// bounded refuses bodies over maxBody: at once when they say so, else when they are read.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			tooLarge(w)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func tooLarge(w http.ResponseWriter) {
	fail(w, http.StatusRequestEntityTooLarge, reasonTooLarge, "A body holds at most 1 MiB.")
}

// guarded lets in who may call on the listener.
func guarded(l *listen.Listener, next http.Handler) http.Handler {
	return admitting(l, bearer, next, "Bearer", "Authorization with the callers' token (Bearer TOKEN)")
}

// guardedProxy lets in the proxies that may ask on the listener. Authorization is their
// clients' there, so that the token has a header of its own.
func guardedProxy(l *listen.Listener, next http.Handler) http.Handler {
	return admitting(l, caller, next, "", "x-weir-caller, which the proxy has to set, with the callers' token")
}

// admitting lets in who shows the callers' token or has a certificate; scheme is that of HTTP authentication.
func admitting(l *listen.Listener, token func(*http.Request) string, next http.Handler, scheme, header string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.Admits(token(r), r.TLS) {
			if scheme != "" {
				w.Header().Set("WWW-Authenticate", scheme)
			}
			fail(w, http.StatusUnauthorized, reasonCallerUnknown,
				"Show who you are: the header "+header+", or a client certificate that listen.tls.clientCA has signed.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// caller is the token that a proxy shows, or empty.
func caller(r *http.Request) string {
	if shown := r.Header.Values("X-Weir-Caller"); len(shown) == 1 {
		return shown[0]
	}
	return ""
}

// bearer is the token that the caller shows, or empty.
func bearer(r *http.Request) string {
	shown := r.Header.Values("Authorization")
	if len(shown) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(shown[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// rescued answers for a handler that panics.
func rescued(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			switch p {
			case nil:
			case http.ErrAbortHandler:
				panic(p) // a handler's way to drop the connection
			default:
				log.Error("request panicked", "endpoint", r.Pattern, "panic", p, "stack", string(debug.Stack()))
				fail(w, http.StatusServiceUnavailable, reasonFault, "Internal error.")
			}
		}()
		next.ServeHTTP(w, r)
	})
}
