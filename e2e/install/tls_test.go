package install

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
)

// authority signs certificates for the test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a key and its certificate, of its own where the authority has none yet.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "weir"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	must(a.t, err)
	signed, err := x509.ParseCertificate(der)
	must(a.t, err)
	return signed, key
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func pemOfKey(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestCallersMayProveThemselvesByCertificateInThePlaceOfAToken(t *testing.T) {
	k := started(t)
	withMarketplace(t)
	withNode(t, k)
	a := newAuthority(t)
	server, serverKey := a.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	client, clientKey := a.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	k.prepare("shop")
	k.kubectl("--namespace", "shop", "delete", "secret", "weir-token") // nobody needs it
	k.kubectl("--namespace", "shop", "create", "secret", "generic", "weir-tls", "--type=kubernetes.io/tls",
		"--from-literal=tls.crt="+pemOf(server), "--from-literal=tls.key="+pemOfKey(t, serverKey), "--from-literal=ca.crt="+pemOf(a.cert))
	_, err := k.helm("install", "weir", chart, "--namespace", "shop", "--values", shop(t), "--set", "tls.secretName=weir-tls,tls.clientCA=true",
		"--wait", "--timeout", "90s")
	must(t, err)

	trust := x509.NewCertPool()
	trust.AddCert(a.cert)
	shown := tls.Certificate{Certificate: [][]byte{client.Raw}, PrivateKey: clientKey}
	if got, err := checkOver(t, credentials.NewTLS(&tls.Config{RootCAs: trust, Certificates: []tls.Certificate{shown}}), "", "initech", "/v1/reports/7"); err != nil || got != 200 {
		t.Errorf("with a certificate: %d, %v, want 200", got, err)
	}
	if got, err := checkOver(t, credentials.NewTLS(&tls.Config{RootCAs: trust}), "", "initech", "/v1/reports/7"); err == nil {
		t.Errorf("without a certificate a check is answered %d", got)
	}
	if got, err := check(t, "", "initech", "/v1/reports/7"); err == nil {
		t.Errorf("without TLS a check is answered %d", got)
	}
}
