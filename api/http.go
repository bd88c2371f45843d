package api

import (
	"context"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/weirhq/weir/internal/listen"
)

// checkPrefix begins the paths at which proxies ask (forward-auth).
const checkPrefix = "/check/"

// HTTPSources are where the answers of an HTTP come from.
type HTTPSources struct {
	// Entitlements says what a tenant may use.
	Entitlements EntitlementSource
	// Explainer decides without counting.
	Explainer Explainer
	// Tenants knows and changes what tenants are tied to.
	Tenants TenantSource
	// Claims believes claims.
	Claims ClaimReader
	// Charges finds who reported usage counts for, Usage counts it.
	Charges ChargeSource
	Usage   UsageTaker
	// Checks answers the proxies that ask whether a request may pass: all of checkPrefix.
	Checks http.Handler
}

// HTTP is the server of listen.http: what the application and proxies ask.
type HTTP struct {
	listeners []*listen.Listener
	sources   HTTPSources
	log       *slog.Logger
	inner     *http.ServeMux
	batches   chan struct{} // has room for the batches of usage events that are read at once
}

// NewHTTP makes a server on open listeners, which Run closes.
func NewHTTP(listeners []*listen.Listener, s HTTPSources, log *slog.Logger) *HTTP {
	h := &HTTP{listeners: listeners, sources: s, log: log, inner: http.NewServeMux(), batches: make(chan struct{}, maxBatches)}
	h.inner.HandleFunc("/", notFound)
	h.inner.Handle("/v1/tenants/{tenant}/entitlements", methods{http.MethodGet: h.entitlements})
	h.inner.Handle("/v1/check", methods{http.MethodPost: h.check})
	h.inner.Handle("/v1/usage", methods{http.MethodPost: h.report})
	(&tenants{s.Tenants, s.Claims, log}).mount(h.inner)
	return h
}

// Run serves until ctx is done.
func (h *HTTP) Run(ctx context.Context) error {
	return serve(ctx, h.listeners, h.handler, h.log)
}

func (h *HTTP) handler(l *listen.Listener) http.Handler {
	checks, others := guardedProxy(l, h.sources.Checks), guarded(l, h.inner)
	return rescued(h.log, bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not by the mux, which redirects paths that it would spell otherwise.
		if strings.HasPrefix(r.RequestURI, checkPrefix) {
			checks.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})))
}

// check decides a request as a proxy's would be decided, and counts nothing.
func (h *HTTP) check(w http.ResponseWriter, r *http.Request) {
	var q Question
	if !readJSON(w, r, &q) {
		return
	}
	request, err := q.Request()
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, reasonInvalid, err.Error())
		return
	case q.Subject == Subject{}:
		fail(w, http.StatusBadRequest, reasonInvalid, "Name the subject: one of tenant, account, license and customer.")
		return
	case !q.At.IsZero():
		fail(w, http.StatusBadRequest, reasonInvalid, "A check is made for now: only POST /v1/explain on listen.admin takes at.")
		return
	}
	d := h.sources.Explainer.Explain(r.Context(), request, q.At)
	answer(w, http.StatusOK, NewAnswer(&d, request.Steps))
}

// isJSON tells whether a request's body may be read as JSON: it says so, or says
// nothing, or says what curl -d says of every body.
func isJSON(r *http.Request) bool {
	given := r.Header.Values("Content-Type")
	if len(given) == 0 {
		return true
	}
	kind, _, err := mime.ParseMediaType(given[0])
	return err == nil && len(given) == 1 &&
		(kind == "application/json" || strings.HasSuffix(kind, "+json") || kind == "application/x-www-form-urlencoded")
}
