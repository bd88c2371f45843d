package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/policy"
)

const (
	// entryTimeout is how long doctor waits for a first access log entry: Envoy sends them within a second (Envoy:
	// buffer_flush_interval, default 1s).
	entryTimeout = 3 * time.Second
	// entryPause is the time between two looks for it.
	entryPause = 300 * time.Millisecond
	// quietFeed is how long a weir may run without one message before that is worth a word.
	quietFeed = 24 * time.Hour
	// probeHeader is the header that a client may not send (INTERFACES: x-weir-*).
	probeHeader = "x-weir-doctor"
)

// runningWeir is one that answers at its admin address.
type runningWeir struct {
	admin *admin
	api.Status
	Ready             bool
	Reasons, Warnings []api.Reason
}

// findRunning asks the weir that runs; nil: none does, and what its state on disk says was told.
func (d *diagnosis) findRunning(ctx context.Context, a *admin, named bool) *runningWeir {
	w := &runningWeir{admin: a}
	err := a.call(ctx, http.MethodGet, "/v1/status", nil, nil, &w.Status)
	var ready []byte
	if err == nil {
		_, ready, err = a.fetch(ctx, http.MethodGet, "/readyz", nil, nil)
	}
	if err == nil {
		err = json.Unmarshal(ready, w)
	}
	switch {
	case err == nil:
		return w
	case errors.Is(err, errNotRunning) && !named:
		d.skip(checkWeir, "none runs at %s", a.base)
		d.stored(ctx)
	default:
		hint := "name the admin address of the weir that runs with -admin URL"
		var h *hinted
		if errors.As(err, &h) {
			hint = h.hint
		}
		d.fail(checkWeir, hint, "%v", err)
	}
	d.skip(checkAccessLog, "only a running weir knows whether entries arrive")
	d.skip(checkHeaders, "only a running weir sees which headers Envoy lets pass")
	return nil
}

// running tells how the weir that runs fares.
func (d *diagnosis) running(ctx context.Context, w *runningWeir, envoy string) {
	for _, r := range w.Reasons {
		switch r.Reason {
		case "place":
			d.place(r.Detail)
		case "ledger":
			d.fail(checkState, "free the disk or mend the volume; what is counted meanwhile is kept in memory", "the ledger can't be written: %s", r.Detail)
		default:
			d.fail(checkWeir, "", "is not ready: %s: %s", r.Reason, r.Detail)
		}
	}
	for _, r := range w.Warnings {
		if r.Reason != "conflict" { // told in full by the writers
			d.warn(checkState, "", "%s", r.Detail)
		}
	}
	if w.Ready {
		d.ok(checkWeir, "version %s is ready at %s", w.Build.Version, w.admin.base)
	}
	d.writers(w.Conflicts)
	before, err := w.metrics(ctx)
	if err != nil {
		d.fail(checkWeir, "", "%v", err)
		return
	}
	d.feeds(before)
	after := before
	if envoy != "" {
		after = d.probe(ctx, w, envoy, before)
	}
	d.headers(before, after, envoy != "")
	d.accessLog(ctx, w, after)
}

// metrics are the weir's, by name.
type metrics map[string]*dto.MetricFamily

func (w *runningWeir) metrics(ctx context.Context) (metrics, error) {
	status, text, err := w.admin.fetch(ctx, http.MethodGet, "/metrics", nil, nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, adminError(status, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	found, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return found, nil
}

// sum adds up a counter or gauge over its labels; over those series only whose label has one of the values, if any are given.
func (m metrics) sum(name, label string, values ...string) (total float64) {
	for _, series := range m[name].GetMetric() {
		wanted := len(values) == 0 || slices.ContainsFunc(series.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == label && slices.Contains(values, l.GetValue())
		})
		if wanted {
			total += series.GetCounter().GetValue() + series.GetGauge().GetValue()
		}
	}
	return total
}

// feeds tells whether messages from AWS arrive.
func (d *diagnosis) feeds(m metrics) {
	const hint = "look whether the EventBridge rule is in us-east-1, enabled, and has the queue as its target; its dead-letter queue says why not"
	if len(d.cfg.Updates.Queues)+len(d.cfg.Updates.SNS.Topics) == 0 || m.sum("weir_updates_total", "") > 0 {
		return
	}
	started := int64(m.sum("process_start_time_seconds", "")) // 0: the system does not tell
	uptime := time.Since(time.Unix(started, 0))
	repairs := m.sum("weir_sweep_repairs_total", "")
	switch {
	case repairs > 0:
		d.fail(checkQueues, hint, "not fed: %.0f changes at AWS were found by sweeps, and no message told of any", repairs)
	case started > 0 && uptime > quietFeed:
		d.warn(checkQueues, hint, "not one message has come in %s", uptime.Round(time.Hour))
	}
}

// probe sends one request with a forged header through Envoy, and gives the metrics after it.
func (d *diagnosis) probe(ctx context.Context, w *runningWeir, envoy string, before metrics) metrics {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, envoy, http.NoBody)
	if err != nil {
		d.fail(checkHeaders, "correct -url", "%v", err)
		return before
	}
	req.Header.Set(probeHeader, "forged")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		d.fail(checkHeaders, "correct -url, or start Envoy", "%v", err)
		return before
	}
	resp.Body.Close()
	after, err := w.metrics(ctx)
	if err != nil {
		d.fail(checkWeir, "", "%v", err)
		return before
	}
	if after.sum("weir_decisions_total", "") == before.sum("weir_decisions_total", "") {
		d.fail(checkHeaders, "add the ext_authz filter, as examples/envoy.yaml has it, or name a URL whose route asks weir",
			"no check reached weir for %s, which answered %s", envoy, resp.Status)
	}
	return after
}

// headers tells whether Envoy removes what only weir may say, by the counts since weir started, before and after a probe.
func (d *diagnosis) headers(before, after metrics, probed bool) {
	const hint = "put the header_mutation filter before all others, as examples/envoy.yaml has it: where Envoy does not ask weir, the application would believe them"
	earlier, spoofed := before.sum("weir_spoofed_checks_total", ""), after.sum("weir_spoofed_checks_total", "")
	decided := after.sum("weir_decisions_total", "")
	switch {
	case spoofed > 0 && (!probed || spoofed > earlier):
		d.fail(checkHeaders, hint, "x-weir-* is not stripped: since weir started %.0f checks carried such headers of the client's", spoofed)
	case spoofed > 0:
		d.warn(checkHeaders, "look whether another listener lets them pass", "x-weir-* was stripped just now; since weir started %.0f checks carried such headers", spoofed)
	case d.has(checkHeaders): // the probe could not be made
	case decided == 0:
		d.skip(checkHeaders, "no request was decided yet; -url URL sends one through Envoy")
	default:
		d.ok(checkHeaders, "none of %.0f checks carried x-weir-* headers of a client; -url URL tries it", decided)
	}
}

// accessLog tells whether Envoy says what became of the requests that were let through (BILLING B04).
func (d *diagnosis) accessLog(ctx context.Context, w *runningWeir, m metrics) {
	if !d.countsServed() {
		d.ok(checkAccessLog, "no route counts by it")
		return
	}
	m = w.awaitEntry(ctx, m)
	const hint = "add the HttpGrpcAccessLogConfig of examples/envoy.yaml to the connection manager, with the lines below, and the cluster of weir's listen.grpc"
	entries, unconfirmed := m.entries(), m.sum("weir_checks_resolved_total", "how", "unconfirmed")
	strangers := m.sum("weir_access_log_refused_total", "why", "caller")
	switch {
	case entries == 0 && strangers > 0:
		d.fail(checkAccessLog, "give the access logger's grpc_service the initial_metadata x-weir-caller, as ext_authz has it",
			"access log entries come without the callers' token: %.0f were refused", strangers)
	case entries == 0 && m.waiting() > 0:
		d.fail(checkAccessLog, hint, "not arriving: %.0f requests were let through, and not one entry has come", m.waiting())
	case m.sum("weir_access_log_silent", "") > 0:
		d.fail(checkAccessLog, hint, "not arriving any more: %.0f requests were confirmed by it, and none of late", entries)
	case entries == 0:
		d.skip(checkAccessLog, "no request that is counted by it was let through yet")
	case unconfirmed > entries/10:
		d.warn(checkAccessLog, "look whether every listener that asks weir logs to it", "of %.0f requests no entry came, of %.0f one did", unconfirmed, entries)
	default:
		d.ok(checkAccessLog, "%.0f requests were confirmed by it", entries)
	}
}

// countsServed tells whether some route waits for the access log.
func (d *diagnosis) countsServed() bool {
	return d.cfg.Listen.GRPC != "" && slices.ContainsFunc(d.cfg.Policy.Routes, func(r policy.Route) bool {
		return r.Meter != nil && r.Meter.When == policy.WhenServed
	})
}

// awaitEntry gives the metrics again until an entry has come, or one should have.
func (w *runningWeir) awaitEntry(ctx context.Context, m metrics) metrics {
	ctx, cancel := context.WithTimeout(ctx, entryTimeout)
	defer cancel()
	for m.waiting() > 0 && m.entries() == 0 {
		select {
		case <-ctx.Done():
			return m
		case <-time.After(entryPause):
		}
		if again, err := w.metrics(ctx); err == nil {
			m = again
		}
	}
	return m
}

// entries are how many checks ended by an access log entry.
func (m metrics) entries() float64 {
	return m.sum("weir_checks_resolved_total", "how", "counted", "not_served", "unmeasured")
}

// waiting are the checks that wait for their entry, and those that waited in vain.
func (m metrics) waiting() float64 {
	return m.sum("weir_checks_pending", "") + m.sum("weir_checks_resolved_total", "how", "unconfirmed")
}
