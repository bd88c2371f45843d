package marketplace

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/cache"
)

const certificateURL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"

func marshal(t *testing.T, message map[string]string) []byte {
	t.Helper()
	body, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// keys are slow to make, so the tests share some.
var (
	authorityKey = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(2048) })
	signerKey    = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(2048) })
)

func mustKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

// signer signs as SNS does.
type signer struct {
	t         *testing.T
	key       *rsa.PrivateKey
	file      []byte // the certificate alone, as AWS serves it
	authority *x509.Certificate
}

// leafOf is a certificate of SNS, to be issued.
func leafOf(names ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// newSigner issues a certificate by an authority that p trusts.
func newSigner(t *testing.T, p *posted, leaf *x509.Certificate) *signer {
	t.Helper()
	s := newForger(t, leaf, signerKey())
	p.certificates.roots.AddCert(s.authority)
	return s
}

// newForger issues a certificate by an authority that nobody knows.
func newForger(t *testing.T, leaf *x509.Certificate, key *rsa.PrivateKey) *signer {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter.Add(24 * time.Hour),
	}
	s := &signer{t: t, key: key, authority: issue(t, authority, authority, &authorityKey().PublicKey, authorityKey())}
	s.file = encode(issue(t, leaf, s.authority, &key.PublicKey, authorityKey()))
	return s
}

func issue(t *testing.T, template, parent *x509.Certificate, public any, key *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// signature signs as AWS documents it, written anew here so that two must agree.
func (s *signer) signature(message map[string]string) string {
	s.t.Helper()
	names := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if message["Type"] != "Notification" {
		names = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var text strings.Builder
	for _, name := range names {
		if value, ok := message[name]; ok {
			text.WriteString(name + "\n" + value + "\n")
		}
	}
	hash, sum256 := crypto.SHA256, sha256.Sum256([]byte(text.String()))
	digest := sum256[:]
	if message["SignatureVersion"] == "1" {
		sum1 := sha1.Sum([]byte(text.String()))
		hash, digest = crypto.SHA1, sum1[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, hash, digest)
	if err != nil {
		s.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

// sign is the message as SNS posts it.
func (s *signer) sign(message map[string]string) []byte {
	s.t.Helper()
	return marshal(s.t, with(message, "Signature", s.signature(message)))
}

func TestCertificatesAreFetchedFromTheTopicsHostAlone(t *testing.T) {
	p, s := newSigned(t)
	file := strings.TrimPrefix(certificateURL, "https://sns.us-east-1.amazonaws.com")
	for _, url := range []string{
		"", "sns.us-east-1.amazonaws.com" + file, "//sns.us-east-1.amazonaws.com" + file,
		"http://sns.us-east-1.amazonaws.com" + file, "HTTPS://sns.us-east-1.amazonaws.com" + file, " " + certificateURL, certificateURL + " ",
		"https://SNS.us-east-1.amazonaws.com" + file, "https://sns.US-EAST-1.amazonaws.com" + file, "https://sns.us-east-1.amazonaws.com." + file,
		"https://sns.us-east-2.amazonaws.com" + file, "https://sns.us-east-1.amazonaws.com.cn" + file, "https://sns.amazonaws.com" + file,
		"https://sns.us-east-1.amazonaws.com.evil.example" + file, "https://sns.us-east-1.amazonaws.comevil.example" + file,
		"https://evilsns.us-east-1.amazonaws.com" + file, "https://evil.sns.us-east-1.amazonaws.com" + file,
		"https://sns.us-east-1.s3.amazonaws.com" + file, "https://s3.us-east-1.amazonaws.com/sns" + file,
		"https://sns.s3.us-east-1.amazonaws.com" + file, "https://sns-us-east-1.s3-website.amazonaws.com" + file,
		"https://sns.us-east-1.amazonaws.com:443" + file, "https://sns.us-east-1.amazonaws.com:8443" + file, "https://sns.us-east-1.amazonaws.com:" + file,
		"https://user@sns.us-east-1.amazonaws.com" + file, "https://sns.us-east-1.amazonaws.com@evil.example" + file,
		"https://sns.us-east-1.amazonaws.com%2eevil.example" + file, "https://sns%2eus-east-1.amazonaws.com" + file,
		"https://sns.us-east-1.amazonaws.com%00.evil.example" + file, "https://sns.us-east-1.amazonaws.com\t" + file,
		"https:\\\\sns.us-east-1.amazonaws.com" + file, "https:/sns.us-east-1.amazonaws.com" + file, "https:///sns.us-east-1.amazonaws.com" + file,
		"https://ѕns.us-east-1.amazonaws.com" + file, // a Cyrillic letter
		"https://sns.us-east-1.amazonaws.com/" + file, "https://sns.us-east-1.amazonaws.com/x" + file, "https://sns.us-east-1.amazonaws.com/.." + file,
		"https://sns.us-east-1.amazonaws.com/%53impleNotificationService-1.pem", "https://sns.us-east-1.amazonaws.com/simplenotificationservice-1.pem",
		"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-.pem", "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.PEM",
		"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1_2.pem", "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem.pem",
		"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-é.pem", "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem\n",
		"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-" + strings.Repeat("a", 129) + ".pem",
		certificateURL + "?", certificateURL + "?x=1", certificateURL + "#", certificateURL + "#x", certificateURL + "/", certificateURL + ";x",
		"https://127.0.0.1" + file, "https://[::1]" + file, "https://localhost" + file, "https://169.254.169.254" + file, "file:///etc/passwd", "data:,x",
	} {
		p.internet.files[url] = servedFile{Body: s.file}
		if got, want := p.post(nil, s.sign(with(p.ownMessage(), "SigningCertURL", url))), (answer{403, "certificate"}); got != want {
			t.Errorf("%q: got %+v, want %+v", url, got, want)
		}
	}
	if p.internet.requests() != 0 || len(p.hints) != 0 {
		t.Errorf("asked for %v, effects %v", p.internet.asked, p.hints)
	}
}

func TestEveryRegionHasItsHostAndItsSigner(t *testing.T) {
	for name, tt := range map[string]struct{ topic, host, signer string }{
		"old":      {"arn:aws:sns:eu-west-1:287250355862:t", "sns.eu-west-1.amazonaws.com", "sns.amazonaws.com"},
		"opt-in":   {"arn:aws:sns:af-south-1:287250355862:t", "sns.af-south-1.amazonaws.com", "sns-signing.af-south-1.amazonaws.com"},
		"China":    {"arn:aws-cn:sns:cn-north-1:287250355862:t", "sns.cn-north-1.amazonaws.com.cn", "sns-cn-north-1.amazonaws.com.cn"},
		"GovCloud": {"arn:aws-us-gov:sns:us-gov-east-1:287250355862:t", "sns.us-gov-east-1.amazonaws.com", "sns-us-gov-west-1.amazonaws.com"},
	} {
		p := newPosted(t, []string{tt.topic})
		s := newSigner(t, p, leafOf(tt.signer))
		url := "https://" + tt.host + "/SimpleNotificationService-1.pem"
		p.internet.files[url] = servedFile{Body: s.file}
		if got := p.post(nil, s.sign(with(p.ownMessage(), "TopicArn", tt.topic, "SigningCertURL", url))); got.status != 200 {
			t.Errorf("%s: got %+v\n%s", name, got, p.log)
		}
	}
}

func TestTopicWithoutARegionHasNoCertificates(t *testing.T) {
	const odd = "arn:aws:sns:evil.example/:287250355862:t"
	p, s := newSigned(t, odd)
	for _, host := range []string{"sns.evil.example/.amazonaws.com", "sns..", "sns.us-east-1.amazonaws.com"} {
		url := "https://" + host + "/SimpleNotificationService-1.pem"
		got := p.post(nil, s.sign(with(p.ownMessage(), "TopicArn", odd, "SigningCertURL", url)))
		if got != (answer{403, "certificate"}) || p.internet.requests() != 0 {
			t.Errorf("%s: got %+v, asked for %v", host, got, p.internet.asked)
		}
	}
}

func TestCertificatesThatProveNothing(t *testing.T) {
	short := leafOf("sns.amazonaws.com")
	for name, prepare := range map[string]func(p *posted) *signer{
		"authority that nobody knows": func(*posted) *signer { return newForger(t, leafOf("sns.amazonaws.com"), signerKey()) },
		"short key": func(p *posted) *signer {
			s := newForger(t, short, mustKey(1024))
			p.certificates.roots.AddCert(s.authority)
			return s
		},
		"name of another":  func(p *posted) *signer { return newSigner(t, p, leafOf("sns.us-east-1.amazonaws.com.evil.example")) },
		"name of all":      func(p *posted) *signer { return newSigner(t, p, leafOf("*.evil.example")) },
		"issuer elsewhere": func(p *posted) *signer { return withIssuer(t, p, "http://evil.example/r2m01.cer") },
		"issuer, almost": func(p *posted) *signer {
			return withIssuer(t, p, "http://crt.r2m01.amazontrust.com.evil.example/r2m01.cer")
		},
		"issuer, of a bucket": func(p *posted) *signer {
			return withIssuer(t, p, "http://crt.s3.amazonaws.com/amazontrust.com/r2m01.cer")
		},
		"chain too long": func(p *posted) *signer {
			s := newSigner(t, p, leafOf("sns.amazonaws.com"))
			s.file = []byte(strings.Repeat(string(s.file), maxChain+1))
			return s
		},
		"key in the file": func(p *posted) *signer {
			s := newSigner(t, p, leafOf("sns.amazonaws.com"))
			s.file = append(s.file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: s.authority.Raw})...)
			return s
		},
		"endless file": func(p *posted) *signer {
			s := newSigner(t, p, leafOf("sns.amazonaws.com"))
			s.file = append(s.file, make([]byte, maxCertificate)...)
			return s
		},
		"ECDSA key": func(p *posted) *signer {
			s := newSigner(t, p, leafOf("sns.amazonaws.com"))
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			s.file = encode(issue(t, leafOf("sns.amazonaws.com"), s.authority, &key.PublicKey, authorityKey()))
			return s
		},
	} {
		p := newPosted(t, []string{ownTopic})
		s := prepare(p)
		p.internet.files[certificateURL] = servedFile{Body: s.file}
		for range 2 {
			if got, want := p.post(nil, s.sign(p.ownMessage())), (answer{403, "certificate"}); got != want {
				t.Errorf("%s: got %+v, want %+v", name, got, want)
			}
		}
		if len(p.internet.asked) != 1 { // it is not fetched for each forged message
			t.Errorf("%s: asked for %v", name, p.internet.asked)
		}
	}
}

// withIssuer is a signer whose certificate was issued by an intermediate authority, which the certificate says to be found at
// the URL. The root is trusted.
func withIssuer(t *testing.T, p *posted, url string) *signer {
	t.Helper()
	s := newSigner(t, p, leafOf("sns.amazonaws.com"))
	key := signerKey()
	intermediate := *s.authority
	intermediate.SerialNumber, intermediate.Subject = big.NewInt(3), pkix.Name{CommonName: "Amazon RSA 2048 M01"}
	issuer := issue(t, &intermediate, s.authority, &key.PublicKey, authorityKey())
	leaf := leafOf("sns.amazonaws.com")
	leaf.IssuingCertificateURL = []string{url}
	s.file = encode(issue(t, leaf, issuer, &key.PublicKey, key))
	p.internet.files[url] = servedFile{Body: issuer.Raw}
	return s
}

func TestIssuerIsFetchedFromAmazonsAuthority(t *testing.T) {
	p := newPosted(t, []string{ownTopic})
	const issuer = "http://crt.r2m01.amazontrust.com/r2m01.cer"
	s := withIssuer(t, p, issuer)
	p.internet.files[certificateURL] = servedFile{Body: s.file}
	if got := p.post(nil, s.sign(p.ownMessage())); got.status != 200 {
		t.Errorf("got %+v\n%s", got, p.log)
	}
	delete(p.internet.files, issuer)
	p.certificates.good.entries = nil
	if got, want := p.post(nil, s.sign(p.ownMessage())), (answer{503, "certificate"}); got != want {
		t.Errorf("issuer away: got %+v, want %+v", got, want)
	}
}

func TestCertificateIsKeptUntilItIsNotValidAnyMore(t *testing.T) {
	p, s := newSigned(t)
	for i := range 3 {
		message := with(p.ownMessage(), "MessageId", fmt.Sprintf("00000000-0000-0000-0000-%012d", i))
		if got := p.post(nil, s.sign(message)); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	}
	p.clock.offset.Add(int64(60 * 24 * time.Hour)) // 2027, by AWS's clock
	if got, want := p.post(nil, s.sign(p.ownMessage())), (answer{403, "certificate"}); got != want {
		t.Errorf("after its end: got %+v, want %+v", got, want)
	}
	if len(p.internet.asked) != 1 {
		t.Errorf("asked for %v", p.internet.asked)
	}
}

func TestCertificateThatCanNotBeFetchedIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newSigned(t)
		for _, served := range []servedFile{{Status: 500}, {Status: 404}, {Status: 429}} {
			p.internet.files[certificateURL] = served
			before := len(p.internet.asked)
			for range 3 {
				if got, want := p.post(nil, s.sign(p.ownMessage())), (answer{503, "certificate"}); got != want {
					t.Errorf("%+v: got %+v, want %+v", served, got, want)
				}
			}
			if n := len(p.internet.asked) - before; n != 1 {
				t.Errorf("%+v: fetched %d times", served, n)
			}
			time.Sleep(keepMissing)
		}
		p.internet.files[certificateURL] = servedFile{Body: s.file}
		if got := p.post(nil, s.sign(p.ownMessage())); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestFloodOfCertificatesIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newSigned(t)
		signed := with(p.ownMessage(), "Signature", s.signature(p.ownMessage()))
		for i := range 1000 {
			url := fmt.Sprintf("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-%d.pem", i)
			if got := p.post(nil, marshal(t, with(signed, "SigningCertURL", url))); got != (answer{503, "certificate"}) {
				t.Fatalf("got %+v", got)
			}
		}
		if len(p.internet.asked) != fetchesAtOnce {
			t.Errorf("fetched %d", len(p.internet.asked))
		}
		if n := len(p.certificates.bad.entries); n > maxRefused {
			t.Errorf("%d are kept", n)
		}
		time.Sleep(time.Second)
		if got := p.post(nil, s.sign(p.ownMessage())); got.status != 200 {
			t.Errorf("afterwards: got %+v", got)
		}
	})
}

func TestFetchServesAllWhoWaitAndOutlivesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newSigned(t)
		p.handle = func(context.Context, cache.Hint) (bool, error) { return true, nil }
		slow := &slowInternet{internet: p.internet, release: make(chan struct{})}
		p.certificates.client.Transport = slow
		ctx, leave := context.WithCancel(context.Background())
		var posts sync.WaitGroup
		for i := range 20 {
			body := s.sign(with(p.ownMessage(), "MessageId", fmt.Sprintf("00000000-0000-0000-0000-%012d", i)))
			posts.Go(func() {
				r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/sns", strings.NewReader(string(body)))
				w := httptest.NewRecorder()
				p.ServeHTTP(w, r)
				if w.Code != 200 {
					t.Errorf("got %d: %s", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		leave()
		close(slow.release)
		posts.Wait()
		if len(p.internet.asked) != 1 {
			t.Errorf("fetched %d times", len(p.internet.asked))
		}
	})
}

// slowInternet answers when it is let.
type slowInternet struct {
	*internet
	release chan struct{}
}

func (s *slowInternet) RoundTrip(r *http.Request) (*http.Response, error) {
	<-s.release
	return s.internet.RoundTrip(r)
}

func TestHostOfTheCertificateHasToProveItself(t *testing.T) {
	p, s := newSigned(t)
	impostor := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(s.file) }))
	impostor.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	impostor.StartTLS()
	defer impostor.Close()
	transport, ok := newCertificates("", p.clock.Now).client.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, impostor.Listener.Addr().String())
	}
	transport.Proxy = nil
	p.certificates.client.Transport = transport
	if got, want := p.post(nil, s.sign(p.ownMessage())), (answer{503, "certificate"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !strings.Contains(p.log.String(), "certificate signed by unknown authority") && !strings.Contains(p.log.String(), "certificate is valid for") {
		t.Errorf("for another reason:\n%s", p.log)
	}
}

func TestEndpointTakesThePlaceOfAWS(t *testing.T) {
	var s *signer
	mux := http.NewServeMux()
	mux.HandleFunc("GET /SimpleNotificationService-0123.pem", func(w http.ResponseWriter, _ *http.Request) { w.Write(s.file) })
	mux.Handle("GET /SimpleNotificationService-99.pem", http.RedirectHandler("/SimpleNotificationService-0123.pem", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	w := connectTo(t, server.URL)
	leaf := leafOf("localhost")
	leaf.NotAfter = time.Now().Add(time.Hour)
	s = newForger(t, leaf, signerKey())
	var hints []cache.Hint
	p := &posted{t: t, log: w.log, Notifications: w.Notifications([]string{subscriptionTopic + oldCode}, testProducts(), func(_ context.Context, h cache.Hint) (bool, error) {
		hints = append(hints, h)
		return true, nil
	})}
	message := with(p.ownMessage(), "TopicArn", subscriptionTopic+oldCode, "Message", strings.Replace(updatedBody, "prodlegacy0000001", oldCode, 1))
	for url, want := range map[string]answer{
		server.URL + "/SimpleNotificationService-0123.pem":                                               {200, ""},
		server.URL + "/SimpleNotificationService-99.pem":                                                 {403, "certificate"},
		server.URL + "/SimpleNotificationService-404.pem":                                                {503, "certificate"},
		server.URL + "/x/SimpleNotificationService-0123.pem":                                             {403, "certificate"},
		strings.Replace(server.URL, "http:", "https:", 1) + "/SimpleNotificationService-0.pem":           {403, "certificate"},
		strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/SimpleNotificationService-0123.pem": {403, "certificate"},
		server.URL + "0/SimpleNotificationService-0123.pem":                                              {403, "certificate"},
		certificateURL: {403, "certificate"},
	} {
		if got := p.post(nil, s.sign(with(message, "SigningCertURL", url))); got != want {
			t.Errorf("%s: got %+v, want %+v\n%s", url, got, want, w.log)
		}
	}
	if len(hints) != 1 || hints[0].Product != "old" || hints[0].Customer != "CustIdLegacy1" {
		t.Errorf("effects %v", hints)
	}
}
