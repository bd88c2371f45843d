package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// sources are where the admin API's answers come from.
func (n *node) sources() api.Sources {
	return api.Sources{
		Metrics: n.reg, Ready: n.ready, Warnings: n.warnings, Status: n.status,
		Usage: n.ledger, Keeper: hands{n.ledger, n.cfg.Policy.Products, n.aws.Clock.Now}, Licenses: held{n.cache}, Explainer: n.gate,
		Tenants: n.cache, Claims: n.claims,
	}
}

// ready lists why requests should go elsewhere.
func (n *node) ready() []api.Reason {
	var reasons []api.Reason
	for _, r := range n.cache.Ready() {
		reasons = append(reasons, api.Reason{Reason: r.Reason, Detail: r.Detail})
	}
	if err := n.meter.Writable(); err != nil {
		reasons = append(reasons, api.Reason{Reason: "ledger", Detail: err.Error()})
	}
	if err := n.meter.Place(); err != nil {
		reasons = append(reasons, api.Reason{Reason: "place", Detail: err.Error()})
	}
	if n.draining.Load() {
		reasons = append(reasons, api.Reason{Reason: "draining", Detail: "weir is ending"})
	}
	return reasons
}

// warnings lists what an operator has to see to.
func (n *node) warnings() []api.Reason {
	var warnings []api.Reason
	for _, name := range n.ledger.Aside() {
		warnings = append(warnings, api.Reason{Reason: "ledger_set_aside", Detail: fmt.Sprintf(
			"A damaged ledger was set aside: `weir usage salvage %s` shows what AWS was not asked to bill. Move the file away once that is dealt with.", name)})
	}
	for _, name := range n.ledger.Damaged() {
		warnings = append(warnings, api.Reason{Reason: "journal_set_aside", Detail: fmt.Sprintf(
			"A damaged file of the ledger's journal was set aside: what is whole in it is counted, the rest is lost. Move %s away once that is dealt with.", name)})
	}
	writers, _ := n.ledger.OtherWriters(context.Background()) // where it can't be read, `ledger` says so
	for _, w := range writers {
		warnings = append(warnings, api.Reason{Reason: "conflict", Detail: fmt.Sprintf(
			"AWS held another quantity than %d records of product %s since %s: another weir or program seems to send for this seller account. "+
				"No hour is reported as 0 until `weir usage ack %s`.", w.Conflicts, w.Product, w.Since.Format(time.RFC3339), w.Product)})
	}
	return warnings
}

// disk tells how the ledger's file stands; err is of reading it.
func (n *node) disk(err error) api.DiskStatus {
	d := api.DiskStatus{SetAside: append(n.ledger.Aside(), n.ledger.Damaged()...)}
	if err = errors.Join(n.meter.Writable(), err); err != nil {
		d.Error = err.Error()
	}
	d.Writable = err == nil
	return d
}

// status tells how the node stands.
func (n *node) status(ctx context.Context) (api.Status, error) {
	states, err := n.ledger.States(ctx)
	writers, writersErr := n.ledger.OtherWriters(ctx)
	err = errors.Join(err, writersErr)
	b := thisBuild()
	s := api.Status{
		Sources:   map[string]api.SourceStatus{},
		Ledger:    states,
		Disk:      n.disk(err),
		Conflicts: writers,
		Clock:     api.ClockStatus{Offset: n.aws.Clock.Offset().Seconds()},
		Feeds:     feeds(n.reg),
		Listen:    map[string]string{},
		Build:     api.Build{Version: b.Version, Commit: b.Commit, Go: b.Go},
	}
	for _, one := range n.doors.each() {
		s.Listen[one.name] = one.listener.String()
	}
	for _, pin := range n.cache.Pins() {
		s.Pins = append(s.Pins, newPin(pin))
	}
	for name, source := range n.cache.Status() {
		shown := api.SourceStatus{Licenses: source.Licenses, State: string(source.State)}
		if age := source.Age.Seconds(); source.State != cache.SourceNever {
			shown.Age = &age
		}
		s.Sources[name] = shown
	}
	return s, nil
}

func newPin(p cache.UnsettledPin) api.Pin {
	shown := api.Pin{Tenant: p.Tenant, License: string(p.License)}
	for _, key := range p.Candidates {
		shown.Candidates = append(shown.Candidates, string(key))
	}
	return shown
}

// feeds are the counts of weir_updates_total, by feed and kind.
func feeds(metrics prometheus.Gatherer) map[string]map[string]int64 {
	counts := map[string]map[string]int64{}
	families, err := metrics.Gather()
	if err != nil {
		return counts // /metrics says what is wrong
	}
	for _, family := range families {
		if family.GetName() != "weir_updates_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range metric.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if counts[labels["feed"]] == nil {
				counts[labels["feed"]] = map[string]int64{}
			}
			counts[labels["feed"]][labels["kind"]] = int64(metric.GetCounter().GetValue())
		}
	}
	return counts
}

// held shows the licenses in memory to operators.
type held struct{ *cache.Cache }

var _ api.LicenseSource = held{}

// Licenses is a page of them, in the order of their keys.
func (h held) Licenses(after policy.Key, limit int) (page []api.License, next policy.Key) {
	found, more := h.Cache.Licenses(after, limit)
	for _, l := range found {
		page = append(page, shown(l))
	}
	if more {
		next = page[len(page)-1].Key
	}
	return page, next
}

// License is one of them.
func (h held) License(key policy.Key) (api.License, bool) {
	l, ok := h.Cache.License(key)
	if !ok {
		return api.License{}, false
	}
	return shown(l), true
}

func shown(l cache.LicenseStatus) api.License {
	return api.License{
		Key: l.License.Key, Product: l.License.Product, Account: l.License.Account,
		Plan: l.Plan, State: l.State.String(), Expires: l.Expires, Confirmed: l.Confirmed,
	}
}
