package listen_test

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/weirhq/weir/internal/listen/listentest"
)

func TestTLSBefore12IsRefused(t *testing.T) {
	ca := listentest.NewAuthority(t)
	cfg := ca.Load(t)
	for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		near, far := net.Pipe()
		served := make(chan error, 1)
		go func() {
			err := tls.Server(far, cfg).Handshake()
			served <- errors.Join(err, far.Close())
		}()
		err := tls.Client(near, &tls.Config{
			ServerName: "127.0.0.1", RootCAs: ca.Roots,
			MinVersion: version, MaxVersion: version, //nolint:gosec // the old one is what must fail
		}).Handshake()
		if err := near.Close(); err != nil {
			t.Error(err)
		}
		if got := err == nil && <-served == nil; got != want {
			t.Errorf("%s: accepted %v, want %v (%v)", tls.VersionName(version), got, want, err)
		}
	}
}
