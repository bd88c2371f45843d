package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// endTimeout is how long a process may take to end after it was asked to.
const endTimeout = 20 * time.Second

// Process is a program that the stage started.
type Process struct {
	name  string
	log   string // file of its output
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, once ended is closed
}

// Start runs a program with its output in dir/name.log. It is killed with this process.
func Start(name, dir, binary string, env []string, args ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{name: name, log: log.Name(), cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Await asks until ready says so; a process that ends before is an error with what it said.
func (p *Process) Await(ctx context.Context, ready func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !ready(ctx) {
		select {
		case <-p.ended:
			return fmt.Errorf("start %s: it ended at once: %w\n%s", p.name, errors.Join(p.err), p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("start %s: not ready in time: %w\n%s", p.name, ctx.Err(), p.Tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Stop sends SIGTERM and waits; an error when the exit code is not 0.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(endTimeout):
		p.Kill()
		return fmt.Errorf("stop %s: still there after %s\n%s", p.name, endTimeout, p.Tail())
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w\n%s", p.name, p.err, p.Tail())
	}
	return nil
}

// over tells whether the process has ended.
func (p *Process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Kill ends the process with SIGKILL and waits.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.ended
}

// Tail is the end of what the process wrote.
func (p *Process) Tail() string {
	said, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
