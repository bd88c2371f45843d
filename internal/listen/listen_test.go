package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// socketPath is a path for a socket that is short enough.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "s")
}

func open(t *testing.T, address string, access Access) *Listener {
	t.Helper()
	a, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), a, access)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return l
}

func TestParseTellsLocalAddressesFromOthers(t *testing.T) {
	for address, local := range map[string]bool{
		"127.0.0.1:9001": true, "127.8.8.8:0": true, "[::1]:9001": true, "[::ffff:127.0.0.1]:1": true, "localhost:1": true,
		"unix:///run/weir/weir.sock": true,
		":9001":                      false, "0.0.0.0:9001": false, "[::]:9001": false, "10.0.0.1:1": false, "example.com:1": false,
	} {
		a, err := Parse(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if a.Local() != local || a.String() != address {
			t.Errorf("%s is read as %s, local %v", address, a, a.Local())
		}
	}
}

func TestParseRefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{
		"", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "unix://", "unix://weir.sock",
		"unix:///" + strings.Repeat("a", 107), "unix:///a\x00b",
	} {
		if a, err := Parse(address); err == nil {
			t.Errorf("%q is read as %s", address, a)
		}
	}
	if _, err := Parse("unix:///" + strings.Repeat("a", 106)); err != nil {
		t.Errorf("a path of 107 bytes: %v", err)
	}
}

func TestSocketHasItsMode(t *testing.T) {
	path := socketPath(t)
	l := open(t, "unix://"+path, Access{})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSocket|0o660; got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
	if got, want := l.String(), "unix://"+path; got != want {
		t.Errorf("address %s, want %s", got, want)
	}
}

func TestStaleSocketIsReplacedAndALiveOneIsNot(t *testing.T) {
	path := socketPath(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, "unix://"+path, Access{})

	a, err := Parse("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), a, Access{}); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("second listener on a live socket: %v", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the live socket was disturbed: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Parse("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), a, Access{}); err == nil {
		t.Error("a file was taken for a socket")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Errorf("the file holds %q, %v", got, err)
	}
}

func TestPortZeroShowsTheRealPort(t *testing.T) {
	l := open(t, "127.0.0.1:0", Access{})
	if strings.HasSuffix(l.String(), ":0") {
		t.Errorf("address %s", l)
	}
	a, err := Parse(l.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), a, Access{}); err == nil {
		t.Error("a port that is taken was opened")
	}
}

func TestListenerThatOthersReachNeedsATokenOrAClientCA(t *testing.T) {
	a, err := Parse("0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, access := range []Access{{}, {TLS: &tls.Config{}}} {
		if _, err := Open(t.Context(), a, access); !errors.Is(err, ErrOpenToAll) {
			t.Errorf("open to all: %v", err)
		}
	}
	open(t, "0.0.0.0:0", Access{Token: "secret"})
	open(t, "0.0.0.0:0", Access{TLS: &tls.Config{ClientCAs: x509.NewCertPool()}})
}

func TestListenerThatIsMeantForEverybodyAdmitsEverybody(t *testing.T) {
	l := open(t, "0.0.0.0:0", Access{Everybody: true})
	if !l.Admits("", nil) {
		t.Error("a stranger is not admitted")
	}
}

func TestCallersAreAdmittedByTokenOrCertificate(t *testing.T) {
	proven := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
	ca := &tls.Config{ClientCAs: x509.NewCertPool()}
	tests := map[string]struct {
		address string
		access  Access
		token   string
		state   *tls.ConnectionState
		want    bool
	}{
		"loopback needs nothing":       {"127.0.0.1:0", Access{Token: "secret"}, "", nil, true},
		"right token":                  {"0.0.0.0:0", Access{Token: "secret"}, "secret", nil, true},
		"wrong token":                  {"0.0.0.0:0", Access{Token: "secret"}, "secre", nil, false},
		"no token":                     {"0.0.0.0:0", Access{Token: "secret"}, "", nil, false},
		"certificate":                  {"0.0.0.0:0", Access{TLS: ca}, "", proven, true},
		"no certificate":               {"0.0.0.0:0", Access{TLS: ca}, "", &tls.ConnectionState{}, false},
		"empty token without a token":  {"0.0.0.0:0", Access{TLS: ca}, "", nil, false},
		"certificate beside a token":   {"0.0.0.0:0", Access{Token: "secret", TLS: ca}, "", proven, true},
		"certificate of no CA of ours": {"0.0.0.0:0", Access{Token: "secret"}, "", proven, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := open(t, tt.address, tt.access).Admits(tt.token, tt.state); got != tt.want {
				t.Errorf("admitted %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTLSIsForTCPOnly(t *testing.T) {
	access := Access{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}
	if open(t, "127.0.0.1:0", access).TLS() == nil {
		t.Error("no TLS on TCP")
	}
	if open(t, "unix://"+socketPath(t), access).TLS() != nil {
		t.Error("TLS on a Unix socket")
	}
}

func TestTLSFilesAreLoadedOrTheMistakeIsNamed(t *testing.T) {
	if cfg, err := (TLS{}).Load(); cfg != nil || err != nil {
		t.Errorf("no files: %v, %v", cfg, err)
	}
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range []TLS{
		{Cert: empty}, {Key: empty}, {ClientCA: empty}, {Cert: empty, Key: empty}, {Cert: filepath.Join(dir, "none"), Key: empty},
	} {
		if _, err := files.Load(); err == nil {
			t.Errorf("%+v is loaded", files)
		}
	}
}
