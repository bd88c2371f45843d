package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof" //nolint:gosec // nothing serves the default mux; these handlers are mounted where debug.pprof says so
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weirhq/weir/internal/listen"
)

const (
	// scrapeTimeout bounds one answer of /metrics, and maxScrapes how many are made at once.
	scrapeTimeout = 10 * time.Second
	maxScrapes    = 4
)

// Sources are where the answers of an Admin come from.
type Sources struct {
	// Metrics are those of the process.
	Metrics prometheus.Gatherer
	// Ready lists why the process is not ready; nothing: it is.
	Ready func() []Reason
	// Warnings lists what an operator has to see to while the process is ready.
	Warnings func() []Reason
	// Status tells how the process stands.
	Status func(context.Context) (Status, error)
	// Usage lists the ledger.
	Usage UsageSource
	// Keeper changes the ledger by hand.
	Keeper UsageKeeper
	// Licenses lists what memory holds.
	Licenses LicenseSource
	// Explainer decides without counting.
	Explainer Explainer
	// Tenants knows and changes what tenants are tied to.
	Tenants TenantSource
	// Claims believes claims.
	Claims ClaimReader
}

// Admin is the HTTP server of listen.admin.
type Admin struct {
	listeners []*listen.Listener
	sources   Sources
	log       *slog.Logger
	open      *http.ServeMux // for everybody
	inner     *http.ServeMux // for callers
}

// NewAdmin makes a server on open listeners, which Run closes. With profiles set it
// serves /debug/pprof/ (debug.pprof).
func NewAdmin(listeners []*listen.Listener, s Sources, profiles bool, log *slog.Logger) *Admin {
	a := &Admin{listeners: listeners, sources: s, log: log, open: http.NewServeMux(), inner: http.NewServeMux()}
	a.open.Handle("/livez", methods{http.MethodGet: a.livez})
	a.open.Handle("/readyz", methods{http.MethodGet: a.readyz})

	metrics := promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	})
	a.inner.HandleFunc("/", notFound)
	a.inner.Handle("/metrics", methods{http.MethodGet: metrics.ServeHTTP})
	a.inner.Handle("/v1/status", methods{http.MethodGet: a.status})
	a.inner.Handle("/v1/usage", methods{http.MethodGet: a.usage})
	a.inner.Handle("/v1/usage/{id}/rebook", methods{http.MethodPost: a.rebook})
	a.inner.Handle("/v1/products/{product}/ack", methods{http.MethodPost: a.acknowledge})
	a.inner.Handle("/v1/licenses", methods{http.MethodGet: a.licenses})
	a.inner.Handle("/v1/licenses/{key...}", methods{http.MethodGet: a.license})
	a.inner.Handle("/v1/explain", methods{http.MethodPost: a.explain})
	tied := &tenants{s.Tenants, s.Claims, log}
	tied.mount(a.inner)
	a.inner.Handle("/v1/tenants", methods{http.MethodGet: tied.list})
	if profiles {
		a.inner.HandleFunc("/debug/pprof/", pprof.Index)
		a.inner.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		a.inner.HandleFunc("/debug/pprof/profile", pprof.Profile)
		a.inner.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		a.inner.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return a
}

// Run serves until ctx is done.
func (a *Admin) Run(ctx context.Context) error {
	return serve(ctx, a.listeners, a.handler, a.log)
}

// handler is what callers of a listener reach: probes have no token, so health is
// looked for first.
func (a *Admin) handler(l *listen.Listener) http.Handler {
	all := http.NewServeMux()
	all.Handle("/livez", a.open)
	all.Handle("/readyz", a.open)
	all.Handle("/", guarded(l, a.inner))
	return rescued(a.log, bounded(all))
}
