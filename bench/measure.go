package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/bench/load"
)

// figure is what one run of one server came to.
type figure struct {
	checks      int
	cpu         time.Duration // of the server, for one check
	rate        float64       // checks a second
	p50, p99    time.Duration
	allocations float64 // for one check
	bytes       float64
	resident    float64 // bytes, after the run
	latencies   []time.Duration
}

// question is what is asked of a server.
type question struct {
	requests func() ([]load.Request, error) // those of a connection
	permits  bool
}

// ask makes the question of a shape.
func (s shape) ask() question {
	return question{permits: !s.Denied, requests: func() ([]load.Request, error) {
		every := max(s.Licenses/distinct, 1) // spread over all of them
		return checks(
			func(i int) string { return s.Tenant(i * every % s.Licenses) },
			func(i int) string { return fmt.Sprint(s.Path, i) })
	}}
}

// measure runs a load against a target.
func measure(ctx context.Context, t *target, p pace, q question, e effort) (figure, error) {
	conns, plans, err := dial(ctx, t, p, q)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return figure{}, err
	}
	if _, err := drive(conns, plans, e.warm); err != nil {
		return figure{}, fmt.Errorf("warm %s: %w", t.name, err)
	}
	idle, err := t.heap(ctx)
	if err != nil {
		return figure{}, err
	}
	before, err1 := t.heap(ctx) // a scrape allocates as well: what it took is taken off
	began, err2 := t.cpu()
	results, err3 := drive(conns, plans, e.window)
	ended, err4 := t.cpu()
	after, err5 := t.heap(ctx)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return figure{}, fmt.Errorf("measure %s at %s: %w", t.name, p.name, err)
	}
	f := summary(results)
	n := float64(f.checks)
	f.cpu = (ended - began) / time.Duration(f.checks)
	f.allocations = (after.allocations - before.allocations - (before.allocations - idle.allocations)) / n
	f.bytes = (after.bytes - before.bytes - (before.bytes - idle.bytes)) / n
	f.resident = after.resident
	return f, nil
}

// dial opens the connections of a pace, each with its own requests.
func dial(ctx context.Context, t *target, p pace, q question) (conns []*load.Conn, plans []*load.Plan, err error) {
	for i := range p.connections {
		requests, err := q.requests()
		if err != nil {
			return conns, nil, err
		}
		c, err := load.Dial(ctx, t.network, t.address)
		if err != nil {
			return conns, nil, err
		}
		conns = append(conns, c)
		plans = append(plans, &load.Plan{
			Requests: requests, Prepare: numbering(uint64(time.Now().UnixMicro()) + uint64(i)), Check: answered(q.permits),
			InFlight: p.inFlight, Rate: p.rate, Seed: uint64(i),
		})
	}
	return conns, plans, nil
}

// drive runs all connections at once.
func drive(conns []*load.Conn, plans []*load.Plan, d time.Duration) ([]load.Result, error) {
	results := make([]load.Result, len(conns))
	var group errgroup.Group
	for i, c := range conns {
		plan := *plans[i]
		plan.For = d
		group.Go(func() (err error) {
			results[i], err = c.Run(&plan)
			return err
		})
	}
	return results, group.Wait()
}

// summary is what several connections came to together.
func summary(results []load.Result) figure {
	var f figure
	all := load.Merge(results)
	f.checks = len(all.Latencies)
	f.rate = float64(f.checks) / all.Took.Seconds()
	f.p50, f.p99 = all.Quantile(0.5), all.Quantile(0.99)
	f.latencies = all.Latencies
	return f
}
