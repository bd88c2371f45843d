package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/weirhq/weir/bench/load"
	"github.com/weirhq/weir/internal/stage"
)

// envoyConfig is the configuration of Envoy in all stacks.
//
//go:embed envoy.yaml.tmpl
var envoyConfig string

// stack is an Envoy with what stands behind it.
type stack struct {
	name             string
	check, accessLog bool
	noop             bool // A decides, not weir

	set    *stage.Stage
	server *target // who is asked; nil: nobody
	dir    string
	rounds []journey
}

// journey is what requests through Envoy came to in one round.
type journey struct {
	rate      float64       // requests a second, saturated
	p50, lone time.Duration // saturated; one in flight
	p99       time.Duration
	cpu       time.Duration // of the server, for one request, saturated
}

func stacks() []*stack {
	return []*stack{
		{name: "no check"},
		{name: "A", check: true, noop: true},
		{name: "weir", check: true},
		{name: "weir and access log", check: true, accessLog: true},
	}
}

// endToEnd sends requests through the real Envoy. Nothing is pinned: Envoy, the server and
// the load share the processors, and the servers use as many as they do by default.
func (b *bench) endToEnd(ctx context.Context, r *report) (err error) {
	if err := pin(os.Getpid(), serverCPU, loadCPU); err != nil {
		return err
	}
	a, err := startNoop(ctx, "", nil)
	if err != nil {
		return err
	}
	all := stacks()
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.end())
		}
		err = errors.Join(err, a.end())
	}()
	if err := pin(a.pid, serverCPU, loadCPU); err != nil {
		return err
	}
	for i, s := range all {
		if err := s.start(ctx, b, a, i); err != nil {
			return err
		}
	}
	for range b.effort.rounds {
		for _, s := range all {
			j, err := s.travel(ctx, b.effort)
			if err != nil {
				return fmt.Errorf("through Envoy, %s: %w", s.name, err)
			}
			s.rounds = append(s.rounds, j)
			fmt.Fprintf(os.Stderr, "through Envoy, %s: %.0f/s, p50 %v, alone %v\n", s.name, j.rate, j.p50, j.lone)
		}
	}
	r.stacks = all
	return nil
}

func (s *stack) start(ctx context.Context, b *bench, a *target, number int) (err error) {
	if s.dir, err = os.MkdirTemp("", "weir-bench"); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	plan, err := base().plan(s.dir, b.weir)
	if err != nil {
		return err
	}
	port := "9001" // weir's, which the stage moves
	if s.noop {
		if _, port, err = net.SplitHostPort(a.address); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
	}
	t, err := template.New("envoy.yaml").Parse(envoyConfig)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var text strings.Builder
	err = t.Execute(&text, map[string]any{"AccessLog": s.accessLog, "Check": s.check, "Port": port, "App": filepath.Join(s.dir, "app.sock")})
	if err != nil {
		return fmt.Errorf("make configuration: %w", err)
	}
	plan.Envoy, plan.EnvoyConfig, plan.Number = b.envoy, text.String(), number
	if s.set, err = stage.Set(ctx, plan); err != nil {
		return err
	}
	switch {
	case s.noop:
		s.server = a
	case s.check:
		s.server = &target{name: "weir", pid: s.set.WeirPID()}
	}
	return nil
}

// cpu is how long the threads of who is asked have run.
func (s *stack) cpu() (time.Duration, error) {
	if s.server == nil {
		return 0, nil
	}
	return s.server.cpu()
}

func (s *stack) end() error {
	if s.dir == "" {
		return nil
	}
	var err error
	if s.set != nil {
		s.set.KillWeir()
		err = s.set.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// travel sends requests through the stack, many at once and one at a time.
func (s *stack) travel(ctx context.Context, e effort) (j journey, err error) {
	began, err1 := s.cpu()
	many, warm, err2 := s.drive(ctx, 2, 32, e)
	ended, err3 := s.cpu()
	if err := errors.Join(err1, err2, err3); err != nil {
		return j, err
	}
	one, _, err := s.drive(ctx, 1, 1, e)
	if err != nil {
		return j, err
	}
	f := summary(many)
	cpu := (ended - began) / time.Duration(f.checks+summary(warm).checks)
	return journey{rate: f.rate, p50: f.p50, p99: f.p99, lone: summary(one).p50, cpu: cpu}, nil
}

// drive sends so many requests at once, at first to warm up.
func (s *stack) drive(ctx context.Context, connections, inFlight int, e effort) (results, warm []load.Result, err error) {
	var conns []*load.Conn
	var plans []*load.Plan
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range connections {
		c, err := load.Dial(ctx, "tcp", s.set.Ingress)
		if err != nil {
			return nil, nil, err
		}
		conns = append(conns, c)
		plans = append(plans, &load.Plan{Requests: journeys(), InFlight: inFlight, Check: isOK})
	}
	if warm, err = drive(conns, plans, e.warm); err != nil {
		return nil, nil, err
	}
	results, err = drive(conns, plans, e.window)
	return results, warm, err
}

// journeys are the requests of clients to Envoy.
func journeys() []load.Request {
	all := make([]load.Request, distinct)
	for i := range all {
		all[i].Header = []hpack.HeaderField{
			{Name: ":method", Value: "GET"},
			{Name: ":scheme", Value: "http"},
			{Name: ":path", Value: fmt.Sprint(metered, i)},
			{Name: ":authority", Value: "api.acme.example"},
			{Name: "x-tenant-id", Value: base().Tenant(i)},
			{Name: "authorization", Value: "Bearer " + strings.Repeat("eyJhbGciOiJSUzI1NiJ9", 30)},
			{Name: "user-agent", Value: "bench"},
		}
	}
	return all
}

func isOK(a *load.Answer) error {
	for _, f := range a.Header {
		if f.Name == ":status" && f.Value == "200" {
			return nil
		}
	}
	return fmt.Errorf("answered %v %q", a.Header, a.Body)
}
