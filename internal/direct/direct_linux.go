package direct

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Listen makes a listener's connections direct; of a kind that has no descriptor they stay as they are.
func Listen(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // a listener's errors are the listener's
	}
	return newConn(c), nil
}

type conn struct {
	net.Conn
	in, out half
}

func newConn(c net.Conn) net.Conn {
	has, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := has.SyscallConn()
	if err != nil {
		return c
	}
	d := &conn{Conn: c}
	d.in = half{call: syscall.SYS_READ, await: raw.Read}
	d.in.try = d.in.step
	d.out = half{call: syscall.SYS_WRITE, await: raw.Write}
	d.out.try = d.out.all
	return d
}

// Read is one read of at least a byte, or the end.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.in.do(p)
	switch {
	case err != nil:
		return n, c.wrap("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes all of p, unless it fails.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.do(p)
	if err != nil {
		return n, c.wrap("write", err)
	}
	return n, nil
}

// wrap tells of a failed system call as package net does; what the wait for the socket says, it has told already.
func (c *conn) wrap(op string, err error) error {
	errno, ok := err.(syscall.Errno) //nolint:errorlint // half.do answers it bare
	if !ok {
		return err
	}
	local := c.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}

// half is one direction of a connection: its calls come one after the other.
type half struct {
	call  uintptr
	await func(try func(fd uintptr) bool) error // calls try when the socket is ready, until it answers true
	try   func(fd uintptr) bool                 // made once, so that a call allocates nothing

	mu    sync.Mutex
	p     []byte
	n     int // bytes of p that are done
	errno syscall.Errno
}

func (h *half) do(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.p, h.n, h.errno = p, 0, 0
	err := h.await(h.try)
	h.p = nil
	if err == nil && h.errno != 0 {
		err = h.errno
	}
	return h.n, err
}

// all makes calls until everything is done, or one fails.
func (h *half) all(fd uintptr) bool {
	for h.n < len(h.p) && h.errno == 0 {
		if !h.step(fd) {
			return false
		}
	}
	return true
}

// step makes a call for the rest of p; false: the socket is not ready.
func (h *half) step(fd uintptr) bool {
	for {
		rest := h.p[h.n:]
		n, _, errno := syscall.RawSyscall(h.call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)))
		switch errno {
		case 0:
			h.n += int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			h.errno = errno
			return true
		}
	}
}
