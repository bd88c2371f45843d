// Package listentest gives tests listeners and certificates.
package listentest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/listen"
)

// Open opens an address for as long as the test runs.
func Open(t testing.TB, address string, access listen.Access) *listen.Listener {
	t.Helper()
	a, err := listen.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Open(t.Context(), a, access)
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

// Socket is an address for a Unix socket, with a path that is short enough.
func Socket(t testing.TB) string {
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
	return "unix://" + filepath.Join(dir, "s")
}

// Port is the port of a listener on TCP.
func Port(l *listen.Listener) string {
	_, port, err := net.SplitHostPort(l.String())
	if err != nil {
		return ""
	}
	return port
}

// Authority is a CA for tests, with a server's certificate for 127.0.0.1 and a client's.
type Authority struct {
	// Files are the server's, the authority as the clients' CA among them.
	Files listen.TLS
	// Roots holds the authority.
	Roots *x509.CertPool
	// Client proves a caller.
	Client tls.Certificate
}

// NewAuthority makes one for the hour.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	key, template := newKey(t), template(1)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	ca, err := x509.ParseCertificate(sign(t, template, template, key, key))
	if err != nil {
		t.Fatal(err)
	}
	a := &Authority{Roots: x509.NewCertPool()}
	a.Roots.AddCert(ca)

	serverKey, clientKey := newKey(t), newKey(t)
	server := certificate(2, x509.ExtKeyUsageServerAuth)
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	client := certificate(3, x509.ExtKeyUsageClientAuth)
	a.Client = tls.Certificate{Certificate: [][]byte{sign(t, client, ca, clientKey, key)}, PrivateKey: clientKey}

	der, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a.Files = listen.TLS{
		Cert:     write(t, dir, "cert.pem", "CERTIFICATE", sign(t, server, ca, serverKey, key)),
		Key:      write(t, dir, "key.pem", "PRIVATE KEY", der),
		ClientCA: write(t, dir, "ca.pem", "CERTIFICATE", ca.Raw),
	}
	return a
}

// Load reads the server's files.
func (a *Authority) Load(t testing.TB) *tls.Config {
	t.Helper()
	cfg, err := a.Files.Load()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func certificate(serial int64, use x509.ExtKeyUsage) *x509.Certificate {
	c := template(serial)
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{use}
	return c
}

func sign(t testing.TB, c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func write(t testing.TB, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
