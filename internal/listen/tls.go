package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS is the server side of TLS for listen.grpc, listen.http and listen.admin.
type TLS struct {
	// Cert is the path of the certificate chain, PEM; empty: no TLS.
	Cert string `yaml:"cert"`
	// Key is the path of its private key, PEM.
	Key string `yaml:"key"`
	// ClientCA is the path of the CA certificates, PEM, by which callers prove themselves; empty: by token only.
	ClientCA string `yaml:"clientCA"`
}

// Load reads the files; nil without any. Client certificates are verified where they
// are given; whether one is needed is for each endpoint to say.
func (t TLS) Load() (*tls.Config, error) {
	switch {
	case t == TLS{}:
		return nil, nil
	case t.Cert == "" || t.Key == "":
		return nil, errors.New("load TLS: listen.tls needs both cert and key")
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if t.ClientCA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("load client CA: %w", err)
	}
	cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load client CA: %s holds no certificate in PEM", t.ClientCA)
	}
	return cfg, nil
}
