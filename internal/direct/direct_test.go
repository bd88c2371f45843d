package direct_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/direct"
)

// pair is a direct connection and the ordinary one at its other end.
func pair(t *testing.T, network string) (server, client net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "socket")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := direct.Listen(l).Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	if client, err = new(net.Dialer).DialContext(t.Context(), network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() {
		_ = server.Close() // a test may have closed it
		_ = client.Close()
	})
	return server, client
}

// each runs a test on every kind of socket.
func each(t *testing.T, test func(t *testing.T, server, client net.Conn)) {
	t.Helper()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			server, client := pair(t, network)
			test(t, server, client)
		})
	}
}

// More than sockets hold goes through both ways at once, in pieces of all sizes.
func TestEverythingArrives(t *testing.T) {
	each(t, func(t *testing.T, server, client net.Conn) {
		for _, c := range []net.Conn{server, client} {
			if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		sent := make([]byte, 8<<20)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		ended := make(chan error, 2)
		go func() {
			_, err := client.Write(sent)
			ended <- err
		}()
		go func() { // what comes goes back
			for piece, left := make([]byte, 60_000), len(sent); left > 0; {
				n, err := server.Read(piece[:1+rand.IntN(len(piece))])
				if err == nil {
					_, err = server.Write(piece[:n])
				}
				if left -= n; err != nil || left == 0 {
					ended <- err
					return
				}
			}
		}()
		time.Sleep(20 * time.Millisecond) // so that both sockets are full
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Error("something else came back")
		}
	})
}

func TestTheEndIsEOF(t *testing.T) {
	each(t, func(t *testing.T, server, client net.Conn) {
		if _, err := client.Write([]byte("last")); err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(server); err != nil || string(got) != "last" {
			t.Errorf("got %q and %v", got, err)
		}
	})
}

func TestAFailureIsTheConnections(t *testing.T) {
	each(t, func(t *testing.T, server, client net.Conn) {
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		for range 100 { // the first are taken before the other end says no
			if _, err = server.Write([]byte("to nobody")); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		var failed *net.OpError
		if !errors.As(err, &failed) || failed.Op != "write" || failed.Net != server.LocalAddr().Network() || failed.Timeout() {
			t.Fatalf("got %#v", err)
		}
		if call := new(os.SyscallError); !errors.As(failed.Err, &call) || call.Syscall != "write" {
			t.Errorf("got %#v", failed.Err)
		}
	})
}

func TestDeadlinesHold(t *testing.T) {
	each(t, func(t *testing.T, server, client net.Conn) {
		if err := server.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, reading := server.Read(make([]byte, 1))
		_, writing := server.Write(make([]byte, 64<<20)) // more than sockets hold
		for _, err := range []error{reading, writing} {
			var failed net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &failed) || !failed.Timeout() {
				t.Errorf("got %v", err)
			}
		}
		if err := server.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := server.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Errorf("after the deadline: %d and %v", n, err)
		}
	})
}

func TestClosingEndsWhatWaits(t *testing.T) {
	each(t, func(t *testing.T, server, _ net.Conn) {
		ended := make(chan error, 2)
		go func() {
			_, err := server.Read(make([]byte, 1))
			ended <- err
		}()
		go func() {
			_, err := server.Write(make([]byte, 64<<20))
			ended <- err
		}()
		time.Sleep(10 * time.Millisecond) // so that both wait; too short, they fail in the same way
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestAMessageAllocatesNothing(t *testing.T) {
	each(t, func(t *testing.T, server, client net.Conn) {
		message := []byte("message")
		if n := testing.AllocsPerRun(100, func() {
			if _, err := client.Write(message); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(server, message); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Write(message); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(client, message); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// What is no socket stays what it is.
func TestAPipeStaysAPipe(t *testing.T) {
	near, far := net.Pipe()
	l := &one{conn: near}
	c, err := direct.Listen(l).Accept()
	if err != nil || c != near {
		t.Errorf("got %v and %v", c, err)
	}
	if err := errors.Join(near.Close(), far.Close()); err != nil {
		t.Error(err)
	}
}

type one struct {
	net.Listener
	conn net.Conn
}

func (l *one) Accept() (net.Conn, error) { return l.conn, nil }
