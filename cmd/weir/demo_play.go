package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/internal/stage"
)

// The licenses and tenants of examples/marketplace.yaml and examples/weir.yaml.
const (
	arn     = "arn:aws:license-manager::294406891311:license:l-0000000000000000000000000000000"
	initech = arn + "1"
	globex  = arn + "2"
	hooli   = arn + "3"
)

// includedADay is how many calls every plan of examples/weir.yaml includes in a day.
const includedADay = 100

// play is one run of the demo.
type play struct {
	out    io.Writer
	stage  *stage.Stage
	report report
}

// report is what happened, for programs.
type report struct {
	Requests []answered `json:"requests"`
	Upgrade  struct {
		DelayMilliseconds int64 `json:"delayMilliseconds"`
		Requests          int64 `json:"requests"`
	} `json:"upgrade"`
	Quota struct {
		Allowed int64  `json:"allowed"`
		Then    string `json:"then"`
	} `json:"quota"`
	Bill  []billLine `json:"bill"`
	Agree bool       `json:"agree"`
}

// answered is a request and what came back.
type answered struct {
	Tenant string   `json:"tenant"`
	Method string   `json:"method"`
	Path   string   `json:"path"`
	Status int      `json:"status"`
	Reason string   `json:"reason"`
	Plan   string   `json:"plan,omitempty"`
	Plans  []string `json:"plans,omitempty"`
	Detail string   `json:"detail,omitempty"`
}

func (d *play) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// run plays the whole story.
func (d *play) run(ctx context.Context) error {
	for _, act := range []func(context.Context) error{d.decisions, d.upgrade, d.quota, d.usage, d.bill} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// decisions shows who is allowed, who is denied, and why.
func (d *play) decisions(ctx context.Context) error {
	d.say("1. Who is allowed, who is denied, and why")
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  TENANT\tREQUEST\tANSWER\tREASON\tWHAT THE BUYER IS TOLD")
	for _, r := range []struct{ tenant, path string }{
		{"globex", "/v1/reports/7"},
		{"globex", "/v1/sso/login"},
		{"initech", "/v1/reports/7"},
		{"initech", "/v1/sso/login"},
		{"umbrella", "/v1/reports/7"},
		{"", "/v1/reports/7"},
		{"initech", "/v1/sso;v=1/login"},
		{"", "/healthz"},
	} {
		a, err := d.get(ctx, r.tenant, r.path)
		if err != nil {
			return err
		}
		d.report.Requests = append(d.report.Requests, a)
		told := a.Detail
		if len(a.Plans) > 0 {
			told += " Plans that do: " + strings.Join(a.Plans, ", ") + "."
		}
		fmt.Fprintf(w, "  %s\tGET %s\t%d\t%s\t%s\n", orDash(a.Tenant), a.Path, a.Status, a.Reason, told)
	}
	return w.Flush()
}

// upgrade changes a plan at AWS while requests flow, and measures until when they are decided by it.
func (d *play) upgrade(ctx context.Context) error {
	d.say("\n2. initech upgrades from basic to enterprise while its requests flow")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var sent atomic.Int64
	allowed := make(chan time.Time, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			a, err := d.get(ctx, "initech", "/v1/sso/login")
			if err != nil {
				return err
			}
			sent.Add(1)
			if a.Status == http.StatusOK {
				allowed <- time.Now()
				return nil
			}
		}
	})
	time.Sleep(300 * time.Millisecond)
	if err := d.stage.Entitle(ctx, initech, "enterprise", 1); err != nil {
		return err
	}
	changed := time.Now()
	if err := g.Wait(); err != nil {
		return fmt.Errorf("wait for the upgrade: %w", err)
	}
	delay := (<-allowed).Sub(changed)
	d.report.Upgrade.DelayMilliseconds, d.report.Upgrade.Requests = delay.Milliseconds(), sent.Load()
	d.say("  %d requests answered 403 feature_missing; the first 200 came %d ms after AWS had the change", sent.Load()-1, delay.Milliseconds())
	return nil
}

// quota uses up what a plan includes.
func (d *play) quota(ctx context.Context) error {
	d.say("\n3. hooli's plan includes %d calls a day, and nothing beyond", includedADay)
	for range includedADay + 1 {
		a, err := d.get(ctx, "hooli", "/v1/reports/7")
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK {
			d.report.Quota.Then = a.Reason
			d.say("  %d calls answered 200, then %d %s: %s", d.report.Quota.Allowed, a.Status, a.Reason, a.Detail)
			return nil
		}
		d.report.Quota.Allowed++
	}
	return fmt.Errorf("use up the quota: %d calls were allowed", includedADay+1)
}

// usage has globex use more than its plan includes.
func (d *play) usage(ctx context.Context) error {
	const calls = 249 // one was made before
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for range calls {
		g.Go(func() error {
			a, err := d.get(ctx, "globex", "/v1/reports/7")
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("use more than is included: answered %d %s", a.Status, a.Reason)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	d.say("\n4. globex's plan includes %d calls a day and bills what is beyond: it makes %d", includedADay, calls+1)
	return nil
}

// get sends one request through Envoy, as a trusted hop that names the tenant would.
func (d *play) get(ctx context.Context, tenant, path string) (answered, error) {
	a := answered{Tenant: tenant, Method: http.MethodGet, Path: path}
	req, err := http.NewRequestWithContext(ctx, a.Method, "http://"+d.stage.Ingress+path, http.NoBody)
	if err != nil {
		return a, fmt.Errorf("send request: %w", err)
	}
	if tenant != "" {
		req.Header.Set("x-tenant-id", tenant)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, fmt.Errorf("send request: %w", err)
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return a, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		var said struct {
			Weir map[string]string `json:"weir"`
		}
		if err := json.Unmarshal(body, &said); err != nil {
			return a, fmt.Errorf("read answer of the application: %w", err)
		}
		a.Reason, a.Plan = said.Weir["x-weir-decision"], said.Weir["x-weir-plan"]
		return a, nil
	}
	if err := json.Unmarshal(body, &a); err != nil { // a path that Envoy itself refuses has no problem body
		a.Reason, a.Detail = "refused by Envoy", strings.TrimSpace(string(body))
	}
	return a, nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
