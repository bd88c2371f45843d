package proxy

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// pulseInterval is how long checks may be let through without one entry of the access log
// before that is an alarm: Envoy holds entries back for a second at most, and the requests that
// take longer than this are few.
const pulseInterval = time.Minute

// pulse notices when no entry of the access log comes although requests that are billed by
// it are let through: then Envoy has no access log, or it goes elsewhere (BILLING B04).
type pulse struct {
	checks, entries atomic.Int64 // in this interval
	silent          atomic.Bool
	log             *slog.Logger
}

func newPulse(log *slog.Logger, reg prometheus.Registerer) *pulse {
	p := &pulse{log: log}
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_access_log_silent", Help: "1 while requests are let through and no access log entry says how they ended.",
	}, func() float64 {
		if p.silent.Load() {
			return 1
		}
		return 0
	})
	return p
}

func (p *pulse) checked() { p.checks.Add(1) }
func (p *pulse) entry()   { p.entries.Add(1) }

// run looks at each interval until ctx is done.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(pulseInterval)
	defer tick.Stop()
	var before int64 // checks of the interval before, whose entries should be there
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		checks, entries := p.checks.Swap(0), p.entries.Swap(0)
		if entries > 0 {
			p.silent.Store(false)
		} else if before > 0 {
			p.silent.Store(true)
			p.log.Error("no access log entry comes, so nothing says which requests were served",
				"checks", before, "hint", "Envoy needs an HttpGrpcAccessLogConfig to weir: see examples/envoy.yaml")
		}
		before = checks
	}
}
