// Package envoy runs a real Envoy for the demo and the end-to-end tests.
package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNotFound is what Find returns where there is no Envoy.
var ErrNotFound = errors.New("no Envoy binary")

// startTimeout is how long Envoy may take until it is ready; it takes about one second.
const startTimeout = 30 * time.Second

// Find looks for the binary: the given path (WEIR_ENVOY), the PATH, .cache/envoy
// here or in a directory above.
func Find(given string) (string, error) {
	if given != "" {
		if _, err := os.Stat(given); err != nil {
			return "", fmt.Errorf("%w: WEIR_ENVOY: %w", ErrNotFound, err)
		}
		return given, nil
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find envoy: %w", err)
	}
	for {
		path := filepath.Join(dir, ".cache", "envoy")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", ErrNotFound
		}
		dir = above
	}
}

// Process is a running Envoy.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, once ended is closed
}

// Start runs Envoy with a configuration and returns once it serves. The admin
// address is that of the configuration; files and the log go into dir.
func Start(ctx context.Context, binary, config, admin, dir string) (*Process, error) {
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("write envoy configuration: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "envoy.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open envoy log: %w", err)
	}
	defer log.Close()
	// The base id keeps several Envoys on one machine apart, the concurrency
	// keeps them small.
	cmd := exec.Command(binary, "-c", file, "--concurrency", "2", "--use-dynamic-base-id", "-l", "warning")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := p.waitReady(ctx, admin); err != nil {
		p.Kill()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("start envoy: %w\n%s", err, tail(string(said)))
	}
	return p, nil
}

// waitReady asks the admin interface until Envoy is ready.
func (p *Process) waitReady(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/ready", http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended at once: %w", p.err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop asks Envoy to end and waits for it.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

// Kill ends Envoy hard and waits for it.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// end sends a signal, and after five seconds the one that can't be ignored.
func (p *Process) end(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// tail is the end of a log, for an error message.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
