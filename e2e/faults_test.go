package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/stage"
)

// disk is a state directory that gets into trouble and out of it.
type disk struct {
	prepare func(t *testing.T, state string) // before weir starts; nil: nothing
	fail    func(t *testing.T, s *stage.Stage, state string)
	heal    func(t *testing.T, s *stage.Stage, state string)
}

// disks are the ways in which a disk fails here.
func disks() map[string]disk {
	return map[string]disk{
		"full":            {mountTmpfs, fillUp, emptyAgain},
		"file size limit": {nil, limitFileSize, unlimitFileSize},
		"writes fail":     {mountFaultfs, faultfs("ENOSPC"), faultfs("")},
		"read-only":       {mountFaultfs, faultfs("EROFS"), faultfs("")},
		"fsync fails":     {mountFaultfs, faultfs("EIO"), faultfs("")},
		"fsync fails in the kernel's answer": {nil, func(t *testing.T, s *stage.Stage, state string) {
			injectEIO(t, s.WeirPID(), filepath.Join(state, "strace.pid"))
		}, stopInjecting},
	}
}

// need skips a test for which this machine lacks something, or fails it where it has to run.
func need(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("WEIR_REQUIRE_FAULTS") == "1" {
		t.Fatalf("%v: `make faults` sets up what it takes, as root", err)
	}
	t.Skipf("%v: `make faults` sets up what it takes, and WEIR_REQUIRE_FAULTS=1 makes this a failure", err)
}

// tmpfsSize is ample for the state of a crowd: what is left of it is filled.
const tmpfsSize = "24m"

func mountTmpfs(t *testing.T, state string) {
	need(t, unix.Mount("tmpfs", state, "tmpfs", 0, "mode=0700,size="+tmpfsSize))
	t.Cleanup(func() { must(t, unix.Unmount(state, unix.MNT_DETACH)) })
}

// fillUp leaves not a byte.
func fillUp(t *testing.T, _ *stage.Stage, state string) {
	f, err := os.OpenFile(filepath.Join(state, "filler"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for err = nil; err == nil; _, err = f.Write(make([]byte, size)) {
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func emptyAgain(t *testing.T, _ *stage.Stage, state string) {
	must(t, os.Remove(filepath.Join(state, "filler")))
}

// limitFileSize lets weir's files grow no more.
func limitFileSize(t *testing.T, s *stage.Stage, state string) {
	info, err := os.Stat(filepath.Join(state, "ledger.db"))
	must(t, err)
	setFileSize(t, s, uint64(info.Size()))
}

func unlimitFileSize(t *testing.T, s *stage.Stage, _ string) { setFileSize(t, s, unix.RLIM_INFINITY) }

func setFileSize(t *testing.T, s *stage.Stage, size uint64) {
	must(t, unix.Prlimit(s.WeirPID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil))
}

// mountFaultfs mounts tools/faultfs at the state directory: a process of its own.
func mountFaultfs(t *testing.T, state string) {
	binary := os.Getenv("WEIR_FAULTFS")
	if binary == "" {
		need(t, errors.New("WEIR_FAULTFS names no file system that fails on demand"))
	}
	must(t, os.Mkdir(behind(state), 0o700))
	cmd := exec.Command(binary, behind(state), state)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()                           // it may be busy still: it is let go of
		_ = unix.Unmount(state, unix.MNT_DETACH) // and was unmounted by itself
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		_ = cmd.Wait()
		need(t, fmt.Errorf("mount %s: %s: %w", binary, said.String(), errors.Join(err, errors.New("it did not mount"))))
	}
}

// behind is the directory that faultfs passes on to.
func behind(state string) string { return state + "-behind" }

// faultfs sets how the file system fails.
func faultfs(how string) func(*testing.T, *stage.Stage, string) {
	return func(t *testing.T, _ *stage.Stage, state string) {
		must(t, os.WriteFile(behind(state)+".fault", []byte(how), 0o600))
	}
}

// injectEIO lets every fsync of a process fail, without the file system hearing of it.
func injectEIO(t *testing.T, pid int, note string) {
	strace, err := exec.LookPath("strace")
	need(t, err)
	cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-p", strconv.Itoa(pid),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	must(t, os.WriteFile(note, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600))
	t.Cleanup(func() { _ = cmd.Wait() })
}

// stopInjecting lets go of the process.
func stopInjecting(t *testing.T, _ *stage.Stage, state string) {
	note := filepath.Join(state, "strace.pid")
	said, err := os.ReadFile(note)
	must(t, err)
	pid, err := strconv.Atoi(string(said))
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGTERM))
	if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
