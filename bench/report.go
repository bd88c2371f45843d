package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report is everything that was measured.
type report struct {
	paces, licenses, routes, outcomes, sockets []row
	stacks                                     []*stack
	took                                       time.Duration
}

// write writes benchmarks.md and its plots. What people wrote about the numbers is in
// benchmarks-notes.md, and is kept.
func (r *report) write(dir string) error {
	var b strings.Builder
	r.introduce(&b)
	r.compare(&b)
	r.allocated(&b)
	r.targets(&b)
	r.factors(&b)
	r.journeys(&b)
	notes, err := os.ReadFile(filepath.Join(dir, "benchmarks-notes.md"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write report: %w", err)
	}
	if len(notes) > 0 {
		b.WriteString("\n")
		b.Write(notes)
	}
	errs := []error{os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(b.String()), 0o644)}
	for name, p := range r.plots() {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), []byte(p.svg()), 0o644))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// table writes what was measured of the base case and through Envoy.
func (r *report) table(to io.Writer) error {
	var b strings.Builder
	if len(r.paces) > 0 {
		r.compare(&b)
	}
	r.journeys(&b)
	_, err := io.WriteString(to, b.String())
	return err
}

func (r *report) introduce(b *strings.Builder) {
	fmt.Fprintf(b, `# What a check costs

Written by %s; do not edit (what is said about the numbers stands in benchmarks-notes.md). It took %s.

**A** is a server that permits everything, on the generated types and grpc-go's defaults: what every ext_authz server on them pays at
least. **weir** is the binary that %s makes, with the whole decision: route, tenant, license, plan, metering, commits to the ledger on
disk, dynamic metadata with the token for the access log. Ratios are of the same round, in which both took turns; the middle of %d rounds, and in
brackets the least and the most. CPU is what the kernel says that the server's threads ran.

`, "`make bench`", r.took.Round(time.Second), "`make build`", len(r.paces[0].rounds))
	machine(b)
}

func (r *report) compare(b *strings.Builder) {
	b.WriteString("\n## The base case\n\n1,000 licenses, 10 routes, every request allowed and metered, TCP, GOMAXPROCS=1, the server alone on one processor.\n\n" +
		"| load | CPU a check: A | weir | ratio | p50: A | weir | ratio | p99: A | weir | ratio | checks/s: A | weir |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i := range r.paces {
		row := &r.paces[i]
		fmt.Fprintf(b, "| %s | %s | %s | **%s** | %s | %s | %s | %s | %s | %s | %s | %s |\n", row.what,
			micros(row, func(p pair) float64 { return micro(p.a.cpu) }), micros(row, func(p pair) float64 { return micro(p.weir.cpu) }), times(row.of(pair.cpu)),
			micros(row, func(p pair) float64 { return micro(p.a.p50) }), micros(row, func(p pair) float64 { return micro(p.weir.p50) }), times(row.of(pair.p50)),
			micros(row, func(p pair) float64 { return micro(p.a.p99) }), micros(row, func(p pair) float64 { return micro(p.weir.p99) }), times(row.of(pair.p99)),
			thousands(row.of(func(p pair) float64 { return p.a.rate }).median), thousands(row.of(func(p pair) float64 { return p.weir.rate }).median))
	}
}

// allocated is what a check takes of the heap.
func (r *report) allocated(b *strings.Builder) {
	sat := &r.paces[0]
	fmt.Fprintf(b, "\nSaturated, a check of A's makes %.0f allocations of %s bytes in all, one of weir's **%.0f of %s**.\n",
		sat.of(func(p pair) float64 { return p.a.allocations }).median, thousands(sat.of(func(p pair) float64 { return p.a.bytes }).median),
		sat.of(func(p pair) float64 { return p.weir.allocations }).median, thousands(sat.of(func(p pair) float64 { return p.weir.bytes }).median))
	b.WriteString("\n![Latency with one request in flight](benchmarks-latency.svg)\n")
}

// targets holds what was measured against what was aimed at.
func (r *report) targets(b *strings.Builder) {
	b.WriteString("\n## Targets\n\n| figure | target | measured | |\n|---|---|---|---|\n")
	say := func(what string, target, got float64, atLeast bool) {
		met, sign := got <= target, "<="
		if atLeast {
			met, sign = got >= target, ">="
		}
		verdict := "met"
		if !met {
			verdict = fmt.Sprintf("**missed by %.0f %%**", 100*max(got/target-1, 1-got/target))
		}
		fmt.Fprintf(b, "| %s | %s %s | %s | %s |\n", what, sign, short(target), short(got), verdict)
	}
	sat, lone, k1, k5 := &r.paces[0], &r.paces[2], &r.paces[3], &r.paces[4]
	say("CPU a check, saturated, one connection", 0.40, sat.of(pair.cpu).median, false)
	say("CPU a check, one in flight", 0.65, lone.of(pair.cpu).median, false)
	say("CPU a check, 1,000 a second", 0.75, k1.of(pair.cpu).median, false)
	say("CPU a check, 5,000 a second", 0.75, k5.of(pair.cpu).median, false)
	say("allocations a check", 64, sat.of(func(p pair) float64 { return p.weir.allocations }).median, false)
	say("bytes a check", 5800, sat.of(func(p pair) float64 { return p.weir.bytes }).median, false)
	say("p50, one in flight", 0.80, lone.of(pair.p50).median, false)
	say("p99 at 1,000 a second, the calmest round", 1.2, k1.calmest().p99(), false)
	if len(r.stacks) > 2 {
		say("through Envoy, requests a second", 1.1, against(r.stacks[2], r.stacks[1], func(j journey) float64 { return j.rate }).median, true)
		say("through Envoy, p50", 1.0, against(r.stacks[2], r.stacks[1], func(j journey) float64 { return float64(j.p50) }).median, false)
	}
}

// factors is what one change at a time does.
func (r *report) factors(b *strings.Builder) {
	b.WriteString("\n## One thing changed at a time\n\nSaturated, unless it says otherwise. For this table all licenses of the rows on licenses are direct customers'.\n\n" +
		"| | CPU a check: A | weir | ratio | p50 ratio | allocations | bytes | memory of weir |\n|---|---|---|---|---|---|---|---|\n")
	for _, rows := range [][]row{r.licenses, r.routes, r.outcomes, r.sockets} {
		for i := range rows {
			row := &rows[i]
			fmt.Fprintf(b, "| %s | %s | %s | **%s** | %s | %.0f | %s | %.0f MB |\n", row.name,
				micros(row, func(p pair) float64 { return micro(p.a.cpu) }), micros(row, func(p pair) float64 { return micro(p.weir.cpu) }), times(row.of(pair.cpu)), times(row.of(pair.p50)),
				row.of(func(p pair) float64 { return p.weir.allocations }).median, thousands(row.of(func(p pair) float64 { return p.weir.bytes }).median),
				row.of(func(p pair) float64 { return p.weir.resident }).median/1e6)
		}
	}
	b.WriteString("\n![Cost over licenses](benchmarks-licenses.svg)\n\n![Cost over routes](benchmarks-routes.svg)\n")
}

// journeys is what clients of Envoy see.
func (r *report) journeys(b *strings.Builder) {
	if len(r.stacks) < 2 {
		return
	}
	b.WriteString("\n## Through Envoy\n\nEnvoy, the server and the load share the machine's processors; the application is an answer of Envoy's own.\n\n" +
		"| | requests/s, 64 in flight | against A | p50 | against A | p99 | p50, one in flight | against A | CPU of the server a request | against A |\n|---|---|---|---|---|---|---|---|---|---|\n")
	a := r.stacks[1]
	for _, s := range r.stacks {
		rate := func(j journey) float64 { return j.rate }
		p50 := func(j journey) float64 { return micro(j.p50) }
		lone := func(j journey) float64 { return micro(j.lone) }
		cpu := func(j journey) float64 { return micro(j.cpu) }
		costs := "– | –"
		if s.server != nil {
			costs = fmt.Sprintf("%s µs | **%s**", short(spreadOf(s.rounds, cpu).median), times(against(s, a, cpu)))
		}
		fmt.Fprintf(b, "| %s | %s | **%s** | %s µs | %s | %s µs | %s µs | %s | %s |\n", s.name,
			thousands(spreadOf(s.rounds, rate).median), times(against(s, a, rate)), short(spreadOf(s.rounds, p50).median), times(against(s, a, p50)),
			short(spreadOf(s.rounds, func(j journey) float64 { return micro(j.p99) }).median), short(spreadOf(s.rounds, lone).median), times(against(s, a, lone)), costs)
	}
}

// against is a number's ratio to that of another stack in the same round.
func against(s, a *stack, number func(journey) float64) spread {
	ratios := make([]float64, len(s.rounds))
	for i := range s.rounds {
		ratios[i] = number(s.rounds[i]) / number(a.rounds[i])
	}
	return spreadOf(ratios, func(n float64) float64 { return n })
}

func (r *report) plots() map[string]*plot {
	parts := []float64{0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99}
	lone := &r.paces[2]
	return map[string]*plot{
		"benchmarks-latency.svg": {
			title: "Latency of a check, one in flight", x: "percent of the checks", y: "µs",
			lines: []line{
				{"A", lone.quantiles(func(p pair) *figure { return &p.a }, parts)},
				{"weir", lone.quantiles(func(p pair) *figure { return &p.weir }, parts)},
			},
		},
		"benchmarks-licenses.svg": costs("CPU of a check over licenses, saturated", "licenses", r.licenses),
		"benchmarks-routes.svg":   costs("CPU of a check over routes, saturated", "routes", r.routes),
	}
}

func costs(title, x string, rows []row) *plot {
	a, weir := line{name: "A"}, line{name: "weir"}
	for i := range rows {
		a.points = append(a.points, point{rows[i].x, rows[i].of(func(p pair) float64 { return micro(p.a.cpu) }).median})
		weir.points = append(weir.points, point{rows[i].x, rows[i].of(func(p pair) float64 { return micro(p.weir.cpu) }).median})
	}
	return &plot{title: title, x: x, y: "µs", logX: true, lines: []line{a, weir}}
}

func micros(r *row, of func(pair) float64) string { return short(r.of(of).median) + " µs" }

func times(s spread) string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.least, s.most) }
