package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s\n", err)
		os.Exit(1)
	}
}

// run measures everything, or is server A where the arguments say so.
func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == "noop" {
		return serveNoop(ctx, args[1], args[2])
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	weir := fs.String("weir", "bin/weir", "the weir `BINARY`")
	envoy := fs.String("envoy", os.Getenv("WEIR_ENVOY"), "the Envoy `BINARY`; the one in .cache by default")
	out := fs.String("out", "docs", "the `DIRECTORY` of benchmarks.md")
	rounds := fs.Int("rounds", 5, "rounds of each scenario")
	profile := fs.String("profile", "", "only write a CPU profile of weir to this `FILE`")
	at := fs.String("at", saturated().name, "the `PACE` that is profiled: sat1, sat2, lat1, r1k1 or r5k1")
	only := fs.String("only", "", "only measure the base case at these `PACES`, as in sat1,lat1, or through envoy, and print it")
	window := fs.Duration("window", 1500*time.Millisecond, "how long a run is measured")
	if err := fs.Parse(args); err != nil {
		return err
	}
	found, err := stage.FindEnvoy(*envoy)
	if err != nil {
		return err
	}
	binary, err := filepath.Abs(*weir) // processes run in directories of their own
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(1) // the load is one loop
	if err := pin(os.Getpid(), loadCPU); err != nil {
		return err
	}
	b := &bench{weir: binary, envoy: found, effort: effort{rounds: *rounds, warm: *window / 3, window: *window}}
	if *profile != "" {
		return b.profile(ctx, *profile, *at)
	}
	if *only != "" {
		return b.some(ctx, *only)
	}
	began := time.Now()
	var r report
	for _, part := range []func(context.Context, *report) error{b.base, b.licenses, b.routes, b.outcomes, b.sockets, b.endToEnd} {
		if err := part(ctx, &r); err != nil {
			return err
		}
	}
	r.took = time.Since(began)
	return r.write(*out)
}

// bench measures.
type bench struct {
	weir, envoy string
	effort      effort
}

// pair is what A and weir came to in one round.
type pair struct{ a, weir figure }

// row is one scenario.
type row struct {
	name, what string
	x          float64 // where it stands in a plot
	rounds     []pair
}

// base measures the base case at every pace.
func (b *bench) base(ctx context.Context, r *report) error { return b.paced(ctx, r, paces()) }

// some prints the base case at the named paces, or through Envoy.
func (b *bench) some(ctx context.Context, names string) error {
	var r report
	if names == "envoy" {
		if err := b.endToEnd(ctx, &r); err != nil {
			return err
		}
		return r.table(os.Stdout)
	}
	chosen, err := pacesOf(names)
	if err != nil {
		return err
	}
	if err := b.paced(ctx, &r, chosen); err != nil {
		return err
	}
	return r.table(os.Stdout)
}

// paced measures the base case at some paces, with new processes in each round.
func (b *bench) paced(ctx context.Context, r *report, at []pace) error {
	for _, p := range at {
		r.paces = append(r.paces, row{name: p.name, what: p.what})
	}
	for round := range b.effort.rounds {
		err := b.with(ctx, base(), func(a, weir *target) error {
			for i, p := range at {
				pair, err := b.turn(ctx, round, a, weir, p, base())
				if err != nil {
					return err
				}
				r.paces[i].rounds = append(r.paces[i].rounds, pair)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// licenses changes how many licenses there are.
func (b *bench) licenses(ctx context.Context, r *report) error {
	for _, n := range []int{10, 1000, 100_000} {
		s := base()
		s.Licenses, s.Direct = n, true
		if err := b.row(ctx, &r.licenses, row{name: fmt.Sprintf("%d licenses", n), x: float64(n)}, s, saturated()); err != nil {
			return err
		}
	}
	return nil
}

// routes changes how many routes there are.
func (b *bench) routes(ctx context.Context, r *report) error {
	for _, n := range []int{10, 100, 1000} {
		s := base()
		s.Routes = n
		if err := b.row(ctx, &r.routes, row{name: fmt.Sprintf("%d routes", n), x: float64(n)}, s, saturated()); err != nil {
			return err
		}
	}
	return nil
}

// outcomes changes what is decided.
func (b *bench) outcomes(ctx context.Context, r *report) error {
	for _, s := range []shape{{Path: metered}, {Path: plain}, {Path: denied, Denied: true}} {
		name := map[string]string{metered: "allowed, metered", plain: "allowed, nothing metered", denied: "denied"}[s.Path]
		s.Licenses, s.Routes = base().Licenses, base().Routes
		if err := b.row(ctx, &r.outcomes, row{name: name}, s, saturated()); err != nil {
			return err
		}
	}
	return nil
}

// sockets puts a Unix socket in the place of TCP, for both.
func (b *bench) sockets(ctx context.Context, r *report) error {
	for _, p := range []pace{saturated(), lone()} {
		s := base()
		s.Socket = "yes"
		if err := b.row(ctx, &r.sockets, row{name: "Unix socket, " + p.name, what: p.what}, s, p); err != nil {
			return err
		}
	}
	return nil
}

// row measures one scenario in rounds between the same processes.
func (b *bench) row(ctx context.Context, to *[]row, one row, s shape, p pace) error {
	err := b.with(ctx, s, func(a, weir *target) error {
		for round := range b.effort.rounds {
			pair, err := b.turn(ctx, round, a, weir, p, s)
			if err != nil {
				return err
			}
			one.rounds = append(one.rounds, pair)
		}
		return nil
	})
	*to = append(*to, one)
	return err
}

// with starts A and weir, and ends them.
func (b *bench) with(ctx context.Context, s shape, do func(a, weir *target) error) error {
	socket := ""
	if s.Socket != "" {
		socket = fmt.Sprintf("%s/weir-bench-a-%d.sock", os.TempDir(), os.Getpid())
	}
	a, err := startNoop(ctx, socket, onOne())
	if err != nil {
		return err
	}
	weir, err := startWeir(ctx, b.weir, s)
	if err != nil {
		return errors.Join(err, a.end())
	}
	return errors.Join(do(a, weir), weir.end(), a.end())
}

// turn measures both, who is first changing from round to round.
func (b *bench) turn(ctx context.Context, round int, a, weir *target, p pace, s shape) (both pair, err error) {
	ask := []func() error{
		func() (err error) {
			both.a, err = measure(ctx, a, p, shape{Licenses: s.Licenses, Path: s.Path}.ask(), b.effort)
			return err
		},
		func() (err error) {
			both.weir, err = measure(ctx, weir, p, s.ask(), b.effort)
			return err
		},
	}
	first := round % 2
	if err := ask[first](); err != nil {
		return both, err
	}
	if err := ask[1-first](); err != nil {
		return both, err
	}
	fmt.Fprintf(os.Stderr, "%-5s %6d licenses %4d routes: A %v, weir %v a check, %.2f\n", p.name, s.Licenses, s.Routes, both.a.cpu, both.weir.cpu, both.cpu())
	return both, nil
}
