package emulator

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // signature version 1 is SHA1withRSA
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// certificatePrefix begins the path of the certificate.
const certificatePrefix = "/SimpleNotificationService-"

// keyBits is the size of SNS's keys.
const keyBits = 2048

// signer is the key with which SNS signs, and the certificate that it publishes.
type signer struct {
	key         *rsa.PrivateKey
	certificate []byte // PEM
	path        string
}

// newSigner makes a key and a certificate that is good whatever the emulator's clock shows.
func newSigner() (*signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	const name = "sns.amazonaws.com"
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make signing certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return &signer{
		key:         key,
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		path:        certificatePrefix + hex.EncodeToString(sum[:16]) + ".pem",
	}, nil
}

// sign is the signature of a text: version 1 is SHA1withRSA, version 2 SHA256withRSA.
func (s *signer) sign(text string, version int) (string, error) {
	hash, sum := crypto.SHA256, []byte(nil)
	if version == 1 {
		digest := sha1.Sum([]byte(text)) //nolint:gosec // as above
		hash, sum = crypto.SHA1, digest[:]
	} else {
		digest := sha256.Sum256([]byte(text))
		sum = digest[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, hash, sum)
	if err != nil {
		return "", fmt.Errorf("sign message: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// isCertificate is true of a request for a certificate, which is no AWS operation.
func isCertificate(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.HasPrefix(r.URL.Path, certificatePrefix)
}

func (e *Emulator) serveCertificate(w http.ResponseWriter, r *http.Request) {
	signer, err := e.signer()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case r.URL.Path != signer.path:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "binary/octet-stream")
		_, _ = w.Write(signer.certificate) // the client went away: nothing to tell it
	}
}
