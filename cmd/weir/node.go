package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/marketplace"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy"
)

const (
	// settleTimeout bounds how long the start waits to learn AWS's time.
	settleTimeout = 5 * time.Second
	// endpointBackoff bounds every pause between attempts where aws.endpoint is set: what is
	// there is on this machine, and people wait for it.
	endpointBackoff = 2 * time.Second
	// awsBackoff bounds them at AWS.
	awsBackoff = 30 * time.Second
)

// node is a weir of role all: everything wired together.
type node struct {
	cfg      *config.Config
	log      *slog.Logger
	reg      *prometheus.Registry
	doors    doors
	aws      *marketplace.Connection
	ledger   *metering.Journal
	meter    *metering.Meter
	sender   *metering.Dispatcher
	told     *marketplace.Subscriptions
	cache    *cache.Cache
	gate     *cache.Gate
	queues   []*marketplace.Queue
	watch    *marketplace.AgreementWatch
	claims   *api.Claims
	servers  []runner // what takes requests
	admin    []runner // what serves to the end
	draining atomic.Bool
}

// newNode wires a node. It owns the state from here on; run ends it.
func newNode(ctx context.Context, cfg *config.Config, d doors, log *slog.Logger) (*node, error) {
	n := &node{cfg: cfg, log: log, doors: d, reg: prometheus.NewRegistry()}
	n.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	if err := n.wire(ctx); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *node) wire(ctx context.Context) error {
	p, err := policy.Compile(n.cfg.Policy)
	if err != nil {
		return fmt.Errorf("compile configuration: %w", err)
	}
	if n.aws, err = marketplace.Connect(ctx, n.cfg.AWS, n.log, n.reg); err != nil {
		return err
	}
	if n.ledger, err = openLedger(metering.OpenJournalOrSetAside, n.cfg, n.aws.Clock.Now, n.log, n.reg); err != nil {
		return err // before AWS is asked for its time: a state in use is said at once
	}
	n.settle(ctx)
	if err := n.openMeter(ctx, p.Features()); err != nil {
		return err
	}
	if err := n.openCache(p); err != nil {
		return err
	}
	n.meter.MakeZeros(metering.Zeros{Dimensions: n.cfg.Policy.Metering(), Active: n.active})
	n.sender = metering.NewDispatcher(n.backoff(), n.ledger, n.aws.Usage(n.cfg.Policy.Products), n.reread, n.aws.Clock.Now, n.log)
	for _, url := range n.cfg.Updates.Queues {
		n.queues = append(n.queues, n.aws.Queue(url, n.cfg.Policy.Products, filepath.Join(n.cfg.State, "poison"), n.cache.Hint))
	}
	n.watch = n.aws.AgreementWatch(n.cfg.Policy.Products, n.cache, n.cache.Snapshot().Confirmed)
	return n.openServers(p)
}

// openServers makes a server for each door.
func (n *node) openServers(p *policy.Policy) (err error) {
	if n.claims, err = api.OpenClaims(n.cfg.State, n.aws.Clock.Now); err != nil {
		return err
	}
	checks, err := n.openProxy(p)
	if err != nil {
		return err
	}
	if n.doors.http != nil {
		n.servers = append(n.servers, api.NewHTTP([]*listen.Listener{n.doors.http}, n.httpSources(checks), n.log).Run)
	}
	if n.doors.public != nil {
		public, err := api.NewPublic([]*listen.Listener{n.doors.public}, n.publicSources(), n.log)
		if err != nil {
			return fmt.Errorf("serve listen.public: %w", err)
		}
		n.servers = append(n.servers, public.Run)
	}
	if n.doors.admin != nil {
		n.admin = []runner{api.NewAdmin([]*listen.Listener{n.doors.admin}, n.sources(), n.cfg.Debug.PProf, n.log).Run}
	}
	return nil
}

// openProxy makes the server that Envoy asks, and tells how requests ended. The handler
// answers proxies that ask over HTTP.
func (n *node) openProxy(p *policy.Policy) (http.Handler, error) {
	var listeners []*listen.Listener
	if n.doors.grpc != nil {
		listeners = append(listeners, n.doors.grpc)
	}
	s, err := proxy.New(proxy.Options{
		Decisions:      proxy.DecisionLog(n.cfg.Log.Decisions),
		TrustRequestID: n.cfg.Metering.TrustRequestID,
		Ready:          func() bool { return len(n.ready()) == 0 },
		Now:            n.aws.Clock.Now,
		Tokens:         n.meter, Endings: n.meter,
		Measure: p.Measure, NotBilled: n.cfg.Metering.NotBilled,
	}, listeners, n.gate, n.log, n.reg)
	if err != nil {
		return nil, fmt.Errorf("serve listen.grpc: %w", err)
	}
	n.servers = append(n.servers, s.Run)
	return s.Forward(), nil
}

// settle learns AWS's time before it matters. Without an answer weir starts all the
// same, on the local clock. Probes are answered meanwhile; checks wait.
func (n *node) settle(ctx context.Context) {
	if n.doors.admin != nil {
		starting, end := context.WithCancel(ctx)
		var group errgroup.Group
		group.Go(func() error { return api.NewStarting(n.doors.admin, n.log).Run(starting) })
		defer func() {
			end()
			if err := group.Wait(); err != nil {
				n.log.Warn("probes not answered during the start", "error", err)
			}
		}()
	}
	ctx, cancel := context.WithTimeout(ctx, min(settleTimeout, n.backoff())) // requests wait for it
	defer cancel()
	if err := n.aws.Clock.Settle(ctx); err != nil {
		n.log.Warn("AWS's time not known, going by the local clock", "error", err)
	}
}

// backoff is the longest pause between attempts.
func (n *node) backoff() time.Duration {
	if n.cfg.AWS.Endpoint != "" {
		return endpointBackoff
	}
	return awsBackoff
}

func (n *node) openCache(p *policy.Policy) error {
	products := n.cfg.Policy.Products
	var err error
	if n.told, err = n.aws.OpenSubscriptions(n.cfg.State, products); err != nil {
		return err
	}
	sources := map[string]cache.Source{}
	for name, product := range products {
		switch {
		case product.ByEvents():
			sources[name] = n.told.Subscribers(name, product)
		case product.Model == policy.ModelSubscription:
			sources[name] = n.aws.Agreements(name, product)
		default:
			sources[name] = n.aws.Entitlements(name, product)
		}
	}
	o := cache.Options{Updates: n.cfg.Updates, Policy: n.cfg.Policy, BackOff: n.backoff(), Term: n.meter.Term}
	if n.cache, err = cache.New(o, p, sources, n.cfg.State, n.meter.Counter, n.aws.Clock.Now, n.log, n.reg); err != nil {
		return err
	}
	if err = n.told.Restore(products, n.cache.Snapshot().Licenses()); err != nil {
		return err
	}
	n.gate, err = cache.NewGate(n.cache, n.cfg.Policy.Routes, n.reg)
	return err
}

// openMeter makes the meter, with the key of the tokens in the state directory.
func (n *node) openMeter(ctx context.Context, features []string) error {
	key, err := metering.OpenTokenKey(n.cfg.State)
	if err != nil {
		return err
	}
	n.meter, err = metering.NewMeter(ctx, n.cfg.Metering, n.ledger, key, features, n.aws.Clock.Now, n.log, n.reg)
	return err
}

// opener is how a ledger is opened: what to do with one that is damaged.
type opener func(path string, cfg metering.Config, place metering.Place, now func() time.Time, log *slog.Logger,
	reg prometheus.Registerer) (*metering.Journal, error)

// openLedger opens the ledger in the state directory.
func openLedger(open opener, cfg *config.Config, now func() time.Time, log *slog.Logger, reg prometheus.Registerer) (*metering.Journal, error) {
	if err := makeState(cfg.State); err != nil {
		return nil, err
	}
	place := metering.Place{Region: cfg.AWS.Region, Agreements: map[string]string{}}
	for name, product := range cfg.Policy.Products {
		place.Agreements[name] = product.Agreements
	}
	path := filepath.Join(cfg.State, "ledger.db")
	ledger, err := open(path, cfg.Metering, place, now, log, reg)
	switch {
	case errors.Is(err, metering.ErrInUse):
		return nil, withHint(err, "end the other weir first: for one seller account exactly one sends")
	case errors.Is(err, metering.ErrCorrupt):
		return nil, withHint(err, "`weir usage salvage %s` shows what is whole; `weir serve` sets the file aside and counts into a new one", path)
	}
	return ledger, err
}

// reread reads a license again, of which AWS says that it is not subscribed.
func (n *node) reread(ctx context.Context, key policy.Key) (active bool, err error) {
	if _, err := n.cache.Hint(ctx, cache.Hint{License: key}); err != nil {
		return false, err
	}
	return n.active(key), nil
}

// active tells whether a license is active, in grace as well.
func (n *node) active(key policy.Key) bool {
	l, ok := n.cache.License(key)
	return ok && l.State >= policy.StateGrace
}

// run serves until the context ends: then unready, checks under way are answered, and
// everything counted is committed. Nothing is frozen early. What runs beside runs to the end.
func (n *node) run(ctx context.Context, beside runner) error {
	updates := []runner{n.sender.Run, n.watch.Run}
	for _, q := range n.queues {
		updates = append(updates, q.Run)
	}
	unready := func(ctx context.Context) error {
		<-ctx.Done()
		n.draining.Store(true)
		return nil
	}
	err := runLayers(ctx,
		[]runner{unready},
		n.servers,
		updates,
		[]runner{n.meter.Run},
		append([]runner{n.cache.Run, n.aws.Clock.Run, n.ledger.Run, beside}, n.admin...),
	)
	n.log.Info("ended")
	return errors.Join(err, n.close())
}

// close closes what was opened.
func (n *node) close() error {
	if n.cache != nil {
		n.cache.Close()
	}
	var errs []error
	if n.told != nil {
		errs = append(errs, n.told.Close())
	}
	if n.ledger != nil {
		errs = append(errs, n.ledger.Close())
	}
	return errors.Join(errs...)
}

// buildInfo is the metric that says which weir this is.
func buildInfo() prometheus.Collector {
	b := thisBuild()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "weir_build_info", Help: "Always 1; the labels say which weir this is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go": b.Go},
	})
	gauge.Set(1)
	return gauge
}
