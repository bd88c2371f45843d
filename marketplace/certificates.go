package marketplace

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	// maxCertificate bounds what is read of a certificate's file, in bytes. AWS's have 2 KB.
	maxCertificate = 64 << 10
	// maxChain bounds the certificates in one file.
	maxChain = 8
	// fetchTimeout bounds the fetching of a certificate and its issuer: SNS waits 15 s for an answer.
	fetchTimeout = 5 * time.Second
	// keepCertificate is how long a certificate is used before it is fetched again.
	keepCertificate = 24 * time.Hour
	// keepRefused is how long one that was refused is not fetched again.
	keepRefused = time.Minute
	// keepMissing is the same for one that could not be fetched.
	keepMissing = time.Second
	// maxCertificates bounds those kept. A region of SNS has one or two.
	maxCertificates = 32
	// maxRefused bounds those known to be of no use.
	maxRefused = 256
	// Whoever knows a topic's ARN can name certificates that are none, so fetches are held to a rate.
	fetchesPerSecond = 5
	fetchesAtOnce    = 50
	// RSA keys shorter than this prove nothing; longer ones than that only cost time.
	shortestKey, longestKey = 2048, 8192
)

// topic is one that messages are taken from.
type topic struct {
	arn    string
	region string // empty: the ARN names none
	domain string // of AWS in the ARN's partition
}

var topicParts = regexp.MustCompile(`^arn:(aws[a-z-]*):sns:([a-z]{2}(?:-[a-z]+)+-[0-9]):[0-9]{12}:[A-Za-z0-9_.-]+$`)

func parseTopic(arn string) topic {
	parts := topicParts.FindStringSubmatch(arn)
	switch {
	case parts == nil:
		return topic{arn: arn}
	case parts[1] == "aws-cn":
		return topic{arn: arn, region: parts[2], domain: "amazonaws.com.cn"}
	default:
		return topic{arn: arn, region: parts[2], domain: "amazonaws.com"}
	}
}

// signers are the names that SNS's certificates of the topic's region have: one of them. The older regions share one name;
// those that have to be opted into, China and GovCloud have their own.
func (t topic) signers() []string {
	return []string{
		"sns." + t.domain, "sns." + t.region + "." + t.domain, "sns-signing." + t.region + "." + t.domain,
		"sns-" + t.region + "." + t.domain, "sns-us-gov-west-1.amazonaws.com",
	}
}

// certificates fetches the certificates that messages are signed with. It fetches from the hosts of AWS alone, or from
// the configured endpoint in their place, and follows nothing.
type certificates struct {
	endpoint string // scheme://host:port; empty: AWS
	client   *http.Client
	roots    *x509.CertPool // nil: the system's
	now      func() time.Time
	limit    *rate.Limiter
	flights  singleflight.Group
	mu       sync.Mutex
	good     shelf
	bad      shelf
}

func newCertificates(endpoint string, now func() time.Time) *certificates {
	return &certificates{
		endpoint: strings.ToLower(endpoint),
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:              http.ProxyFromEnvironment,
				DialContext:        (&net.Dialer{Timeout: fetchTimeout}).DialContext,
				DisableKeepAlives:  true, // there is one a day
				DisableCompression: true, // so that what is read is what was sent
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		now: now, limit: rate.NewLimiter(fetchesPerSecond, fetchesAtOnce),
		good: shelf{most: maxCertificates}, bad: shelf{most: maxRefused},
	}
}

var certificateName = regexp.MustCompile(`^SimpleNotificationService-[0-9a-zA-Z]{1,128}\.pem$`)

// allowed tells whether a certificate of the topic may be fetched there. It compares text: a URL that has to be understood
// before it can be judged could be understood in another way by what fetches it.
func (c *certificates) allowed(t topic, url string) bool {
	origin := c.endpoint
	if origin == "" {
		if t.region == "" {
			return false
		}
		origin = "https://sns." + t.region + "." + t.domain
	}
	name, ok := strings.CutPrefix(url, origin+"/")
	return ok && certificateName.MatchString(name)
}

// get is the certificate at an allowed URL, valid now. Its errors are refusals.
func (c *certificates) get(ctx context.Context, t topic, url string) (*x509.Certificate, error) {
	found, ok := c.recall(url)
	if !ok {
		shared, _, _ := c.flights.Do(url, func() (any, error) { // the fetch is for all who wait, so no one's leaving ends it
			if found, ok := c.recall(url); ok {
				return found, nil
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
			defer cancel()
			return c.load(ctx, t, url), nil
		})
		found, _ = shared.(shelved)
	}
	if found.refused != nil {
		return nil, found.refused
	}
	if now := c.now(); now.Before(found.certificate.NotBefore) || now.After(found.certificate.NotAfter) {
		return nil, refuseCertificate("it is not valid at this time")
	}
	return found.certificate, nil
}

// recall finds what was fetched before.
func (c *certificates) recall(url string) (shelved, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.good.get(url); ok {
		return found, true
	}
	return c.bad.get(url)
}

// load fetches and judges a certificate, and keeps the result.
func (c *certificates) load(ctx context.Context, t topic, url string) shelved {
	certificate, err := c.fetchCertificate(ctx, t, url)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		return c.good.put(url, shelved{certificate: certificate, until: time.Now().Add(keepCertificate)})
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		refused = &refusal{http.StatusServiceUnavailable, reasonCertificate, "The certificate can't be fetched now.", err}
	}
	keep := keepRefused
	if refused.status == http.StatusServiceUnavailable {
		keep = keepMissing
	}
	return c.bad.put(url, shelved{refused: refused, until: time.Now().Add(keep)})
}

// fetchCertificate fetches a certificate and checks all of it that does not change with time.
func (c *certificates) fetchCertificate(ctx context.Context, t topic, url string) (*x509.Certificate, error) {
	if !c.limit.Allow() {
		return nil, errors.New("too many certificates are asked for")
	}
	file, err := c.fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	chain, err := parseChain(file)
	if err != nil {
		return nil, err
	}
	key, ok := chain[0].PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < shortestKey || key.N.BitLen() > longestKey {
		return nil, refuseCertificate("its key is no RSA key of 2048 to 8192 bits")
	}
	if c.endpoint == "" {
		err = c.verify(ctx, t, chain)
	}
	return chain[0], err
}

// fetch reads a file.
func (c *certificates) fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch certificate: %w", err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch certificate: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, refuseCertificate("its URL leads to another")
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetch certificate: %s", resp.Status)
	}
	file, err := io.ReadAll(io.LimitReader(resp.Body, maxCertificate+1))
	if err != nil {
		return nil, fmt.Errorf("fetch certificate: %w", err)
	}
	if len(file) > maxCertificate {
		return nil, refuseCertificate("it is too long")
	}
	return file, nil
}

// parseChain reads a file: the certificate, and its issuers if they are there.
func parseChain(file []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" || len(chain) == maxChain {
			return nil, refuseCertificate("its file holds something else")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, refuseCertificate("it can't be read")
		}
		chain = append(chain, certificate)
	}
	if chain == nil {
		return nil, refuseCertificate("its file holds none")
	}
	return chain, nil
}

// verify checks that a public authority gave the certificate to SNS. AWS's files have been seen to hold the certificate alone,
// so its issuer is fetched where Amazon's authority publishes it.
func (c *certificates) verify(ctx context.Context, t topic, chain []*x509.Certificate) error {
	leaf := chain[0]
	named := false
	for _, name := range t.signers() {
		named = named || leaf.VerifyHostname(name) == nil
	}
	if !named {
		return refuseCertificate("it is not SNS's")
	}
	options := x509.VerifyOptions{
		Roots: c.roots, Intermediates: x509.NewCertPool(), CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, issuer := range chain[1:] {
		options.Intermediates.AddCert(issuer)
	}
	_, err := leaf.Verify(options)
	var unknown x509.UnknownAuthorityError
	if url := issuerURL(leaf); errors.As(err, &unknown) && url != "" {
		issuer, fetched := c.fetchIssuer(ctx, url)
		if fetched != nil {
			return fetched
		}
		options.Intermediates.AddCert(issuer)
		_, err = leaf.Verify(options)
	}
	if err != nil {
		return refuseCertificate("it has expired, or no known authority issued it")
	}
	return nil
}

// amazonIssuer is where Amazon's authority publishes the certificates of its issuers, as the certificates say; plainly
// http, since what is there has to prove itself by its signature.
var amazonIssuer = regexp.MustCompile(`^https?://crt\.[a-z0-9]{1,32}\.amazontrust\.com/[a-z0-9]{1,32}\.(cer|crt)$`)

// issuerURL is where the issuer of a certificate is found; empty: nowhere that may be asked.
func issuerURL(leaf *x509.Certificate) string {
	for _, url := range leaf.IssuingCertificateURL {
		if amazonIssuer.MatchString(url) {
			return url
		}
	}
	return ""
}

// fetchIssuer fetches the certificate of an issuer, which is published in binary form.
func (c *certificates) fetchIssuer(ctx context.Context, url string) (*x509.Certificate, error) {
	file, err := c.fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(file); block != nil {
		file = block.Bytes
	}
	issuer, err := x509.ParseCertificate(file)
	if err != nil {
		return nil, refuseCertificate("its issuer's can't be read")
	}
	return issuer, nil
}

// shelved is what is known of one URL.
type shelved struct {
	certificate *x509.Certificate
	refused     *refusal
	until       time.Time
}

// shelf keeps what was fetched, for a time, in a bounded number.
type shelf struct {
	most    int
	entries map[string]shelved
}

func (s *shelf) get(url string) (shelved, bool) {
	found, ok := s.entries[url]
	return found, ok && time.Now().Before(found.until)
}

// put keeps an entry; beyond the bound the one goes that would go first anyway.
func (s *shelf) put(url string, entry shelved) shelved {
	if s.entries == nil {
		s.entries = make(map[string]shelved)
	}
	s.entries[url] = entry
	if len(s.entries) > s.most {
		first := url
		for other, e := range s.entries {
			if e.until.Before(s.entries[first].until) {
				first = other
			}
		}
		delete(s.entries, first)
	}
	return entry
}
