// Package listen opens the addresses that weir's servers listen on, and says for
// each of them who may call.
//
// Start at [Parse], which reads an address of weir.yaml, and [Open], which opens one.
//
// # What it guarantees
//
// A listener that others than this machine can reach is open to everybody only where
// that is said: [Open] refuses one that has neither a token nor a CA for client
// certificates, and judges by the address that was really bound. A Unix socket has mode
// 0660. The socket that a dead process left is replaced; that of a living one never.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxSocketPath is the longest path of a Unix socket, in bytes (Envoy and Linux:
// sun_path holds 108 with its final NUL).
const maxSocketPath = 107

// socketScheme begins the address of a Unix socket.
const socketScheme = "unix://"

// ErrOpenToAll is the error for an address that others can reach, with nothing that
// would tell callers apart.
var ErrOpenToAll = errors.New("callers can't be told apart: set WEIR_TOKEN or listen.tls.clientCA, or listen on loopback or a Unix socket")

// Address is where a server listens: a TCP host and port, or the path of a Unix
// socket. The zero Address is no place.
type Address struct {
	network string // tcp or unix
	text    string // host:port or path
	local   bool
}

// Parse reads an address: "host:port", ":port" or "unix:///path".
func Parse(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, socketScheme); ok {
		return parseSocket(path)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("read address %q: neither host:port nor %s/path", s, socketScheme)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("read address %q: the port is not a number from 0 to 65535", s)
	}
	ip, err := netip.ParseAddr(host)
	local := host == "localhost" || err == nil && ip.IsLoopback()
	return Address{network: "tcp", text: s, local: local}, nil
}

func parseSocket(path string) (Address, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return Address{}, fmt.Errorf("read address %q: the path of a socket begins with /", socketScheme+path)
	case len(path) > maxSocketPath:
		return Address{}, fmt.Errorf("read address %q: the path has %d bytes, a socket takes at most %d", socketScheme+path, len(path), maxSocketPath)
	case strings.ContainsRune(path, 0):
		return Address{}, fmt.Errorf("read address %q: the path holds a NUL", socketScheme+path)
	}
	return Address{network: "unix", text: path, local: true}, nil
}

// Local tells whether only this machine can reach the address: loopback or a Unix socket.
func (a Address) Local() bool { return a.local }

// String is the address as weir.yaml spells it.
func (a Address) String() string {
	if a.network == "unix" {
		return socketScheme + a.text
	}
	return a.text
}

// Access says who may use a listener that others than this machine can reach.
type Access struct {
	// Token is what callers show; empty: none does.
	Token string
	// TLS is the server's side of TLS on TCP, nil: none. With ClientCAs in it, a
	// verified client certificate is as good as the token. A Unix socket
	// uses no TLS: its file mode protects it.
	TLS *tls.Config
	// Everybody opens the listener to whoever can reach it, without a token: it serves
	// only what proves itself.
	Everybody bool
}

// Listener is an open address together with who may call on it.
type Listener struct {
	net.Listener
	text  string
	tls   *tls.Config
	guard guard
}

// Open opens an address. Port 0 takes a free one, which String then shows.
func Open(ctx context.Context, a Address, access Access) (*Listener, error) {
	var (
		raw net.Listener
		err error
	)
	if a.network == "unix" {
		raw, err = openSocket(ctx, a.text)
	} else {
		raw, err = new(net.ListenConfig).Listen(ctx, "tcp", a.text)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	l := &Listener{Listener: raw, text: a.String()}
	tcp, ok := raw.Addr().(*net.TCPAddr)
	if !ok {
		return l, nil
	}
	l.text, l.tls = tcp.String(), access.TLS
	if tcp.IP.IsLoopback() || access.Everybody {
		return l, nil
	}
	if l.guard = newGuard(access); !l.guard.tells() {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", a, ErrOpenToAll), raw.Close())
	}
	return l, nil
}

// String is the address that was bound, as weir.yaml spells addresses.
func (l *Listener) String() string { return l.text }

// TLS is the configuration for the listener's connections, nil for none.
func (l *Listener) TLS() *tls.Config { return l.tls }

// AdmitsAll tells whether everybody may call who reaches the address: nothing tells callers apart.
func (l *Listener) AdmitsAll() bool { return !l.guard.tells() }

// Admits tells whether a caller who showed this token, over a connection in this
// TLS state (nil: none), may call. On loopback and Unix sockets everybody may.
func (l *Listener) Admits(token string, state *tls.ConnectionState) bool {
	return l.guard.admits(token, state)
}
