package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/stage"
)

// answerTimeout bounds one question to a server.
const answerTimeout = 10 * time.Second

// The processors: the server has one to itself where there are two.
const (
	serverCPU = 0
	loadCPU   = 1
)

// target is a server that is measured.
type target struct {
	name             string
	network, address string
	pid              int
	metrics          string // URL
	end              func() error
}

// onOne is the environment of a server that has one processor to itself.
func onOne() []string { return []string{"GOMAXPROCS=1"} }

// startNoop starts A on TCP, or on the socket where one is given.
func startNoop(ctx context.Context, socket string, env []string) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start A: %w", err)
	}
	t := &target{name: "A", network: "unix", address: socket}
	if socket == "" {
		t.network = "tcp"
		if t.address, err = freeAddress(ctx); err != nil {
			return nil, fmt.Errorf("start A: %w", err)
		}
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return nil, fmt.Errorf("start A: %w", err)
	}
	t.metrics = "http://" + metrics + "/metrics"
	cmd := exec.CommandContext(ctx, self, "noop", t.address, metrics)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start A: %w", err)
	}
	t.pid = cmd.Process.Pid
	t.end = func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return err
	}
	if err := t.await(ctx); err != nil {
		return nil, errors.Join(err, t.end())
	}
	return t, pin(t.pid, serverCPU)
}

// startWeir starts weir with its emulator.
func startWeir(ctx context.Context, weir string, s shape) (*target, error) {
	dir, err := os.MkdirTemp("", "weir-bench")
	if err != nil {
		return nil, fmt.Errorf("start weir: %w", err)
	}
	if s.Socket != "" {
		s.Socket = filepath.Join(dir, "weir.sock")
	}
	plan, err := s.plan(dir, weir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	plan.Env = onOne()
	set, err := stage.Set(ctx, plan)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	t := &target{
		name: "weir", network: "tcp", address: set.GRPC, pid: set.WeirPID(), metrics: "http://" + set.Admin + "/metrics",
		end: func() error {
			set.KillWeir() // nothing says how the requests ended: it would wait for that
			return errors.Join(set.Close(), os.RemoveAll(dir))
		},
	}
	if s.Socket != "" {
		t.network, t.address = "unix", s.Socket
	}
	return t, pin(t.pid, serverCPU)
}

// await waits until the server takes connections.
func (t *target) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, t.network, t.address)
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("start %s: %w", t.name, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// pin binds a process's threads, and so all that they will start, to processors.
func pin(pid int, cpus ...int) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return fmt.Errorf("pin process: %w", err)
	}
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin process: %w", err)
		}
	}
	return nil
}

// cpu is how long the server's threads have run.
func (t *target) cpu() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", t.pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("read cpu of %s: %w", t.name, errors.Join(err, os.ErrNotExist))
	}
	var sum time.Duration
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // a thread that has ended
		}
		if err != nil {
			return 0, fmt.Errorf("read cpu of %s: %w", t.name, err)
		}
		ran, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read cpu of %s: %w", t.name, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// heap is what a Go server has allocated since its start, and what it holds.
type heap struct {
	allocations, bytes float64
	resident           float64 // bytes
}

// heap reads the server's metrics.
func (t *target) heap(ctx context.Context) (h heap, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.metrics, http.NoBody)
	if err != nil {
		return h, fmt.Errorf("read heap of %s: %w", t.name, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, fmt.Errorf("read heap of %s: %w", t.name, err)
	}
	defer resp.Body.Close()
	into := map[string]*float64{
		"go_memstats_mallocs_total": &h.allocations, "go_memstats_alloc_bytes_total": &h.bytes, "process_resident_memory_bytes": &h.resident,
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if at := into[name]; at != nil {
			if *at, err = strconv.ParseFloat(value, 64); err != nil {
				return h, fmt.Errorf("read heap of %s: %w", t.name, err)
			}
		}
	}
	if h.allocations == 0 {
		return h, fmt.Errorf("read heap of %s: its metrics do not say", t.name)
	}
	return h, nil
}
