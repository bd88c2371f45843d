package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Signature Version 4 of AWS, as a service verifies it. It runs on real time, not on the emulator's clock.

const (
	signatureAlgorithm = "AWS4-HMAC-SHA256"
	signatureTime      = "20060102T150405Z"
	// signatureWindow is how far a signature may lie from the present (AWS: 5 minutes).
	signatureWindow = 5 * time.Minute
)

// signature is an Authorization header taken apart.
type signature struct {
	key     string // access key id
	date    string // YYYYMMDD
	region  string
	service string
	headers []string // names, lower case, as signed
	sum     string   // hexadecimal
}

// authenticate is nil for a call that AWS would let in.
func (e *Emulator) authenticate(r *http.Request, body []byte, s *service, protocol string) *apiError {
	header := r.Header.Get(headerAuthorization)
	if header == "" && s.anonymous {
		return nil
	}
	if header == "" {
		return s.unauthenticated(protocol, "MissingAuthenticationToken", "Missing Authentication Token")
	}
	sig, ok := parseSignature(header)
	if !ok {
		return s.unauthenticated(protocol, "IncompleteSignature", "Authorization header requires 'Credential' parameter, "+
			"'SignedHeaders' parameter and 'Signature' parameter")
	}
	signedAt, err := time.Parse(signatureTime, r.Header.Get("X-Amz-Date"))
	if err != nil || signedAt.Format("20060102") != sig.date {
		return s.unauthenticated(protocol, "IncompleteSignature", "Authorization header requires existence of a valid "+
			"'X-Amz-Date' that matches the date of the credential scope")
	}
	if e.key == "" {
		return nil
	}
	return e.verify(r, body, s, protocol, sig, signedAt)
}

// unauthenticated names a refusal as the protocol does: awsQuery without the suffix that JSON and CBOR carry.
func (s *service) unauthenticated(protocol, code, message string) *apiError {
	if protocol != protocolQuery {
		switch code {
		case "SignatureDoesNotMatch":
			code = "InvalidSignature"
		case "InvalidClientTokenId":
			code = "UnrecognizedClient"
		}
		code += "Exception"
	}
	return &apiError{code: code, message: message, status: s.unauthorized}
}

// verify recomputes the signature.
func (e *Emulator) verify(r *http.Request, body []byte, s *service, protocol string, sig signature, signedAt time.Time) *apiError {
	secret, known := e.secretOf(sig.key, r.Header.Get("X-Amz-Security-Token"))
	if !known {
		return s.unauthenticated(protocol, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	if age := time.Since(signedAt); age > signatureWindow || age < -signatureWindow {
		return s.unauthenticated(protocol, "SignatureDoesNotMatch", "Signature expired: "+signedAt.Format(signatureTime)+
			" is more than 5 minutes away from the present")
	}
	if sig.service != s.signing {
		return s.unauthenticated(protocol, "SignatureDoesNotMatch", "Credential should be scoped to correct service: '"+s.signing+"'.")
	}
	want := sig.compute(secret, r, body)
	if !hmac.Equal([]byte(want), []byte(sig.sum)) {
		return s.unauthenticated(protocol, "SignatureDoesNotMatch", "The request signature we calculated does not match the "+
			"signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return nil
}

// secretOf finds the secret of an access key: the configured one, or that of a role session.
func (e *Emulator) secretOf(key, token string) (string, bool) {
	if hmac.Equal([]byte(key), []byte(e.key)) {
		return e.secret, token == ""
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	role, ok := e.sessions[key]
	if !ok || !hmac.Equal([]byte(role.token), []byte(token)) || time.Now().After(role.expires) {
		return "", false
	}
	return role.secret, true
}

// parseSignature takes an Authorization header apart; false when it is not a well-formed signature.
func parseSignature(header string) (signature, bool) {
	algorithm, rest, found := strings.Cut(header, " ")
	if !found || algorithm != signatureAlgorithm {
		return signature{}, false
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	sum, err := hex.DecodeString(fields["Signature"])
	if len(scope) != 5 || slices.Contains(scope, "") || scope[4] != "aws4_request" || err != nil || len(sum) != sha256.Size {
		return signature{}, false
	}
	sig := signature{
		key: scope[0], date: scope[1], region: scope[2], service: scope[3],
		headers: strings.Split(fields["SignedHeaders"], ";"), sum: fields["Signature"],
	}
	return sig, slices.Contains(sig.headers, "host")
}

// compute is the signature that the holder of secret would have made.
func (s signature) compute(secret string, r *http.Request, body []byte) string {
	scope := strings.Join([]string{s.date, s.region, s.service, "aws4_request"}, "/")
	canonical := sha256.Sum256([]byte(s.canonicalRequest(r, body)))
	toSign := strings.Join([]string{
		signatureAlgorithm, r.Header.Get("X-Amz-Date"), scope, hex.EncodeToString(canonical[:]),
	}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func (s signature) canonicalRequest(r *http.Request, body []byte) string {
	payload := sha256.Sum256(body)
	lines := []string{r.Method, canonicalPath(r.URL), canonicalQuery(r.URL)}
	for _, name := range s.headers {
		lines = append(lines, name+":"+headerValue(r, name))
	}
	lines = append(lines, "", strings.Join(s.headers, ";"), hex.EncodeToString(payload[:]))
	return strings.Join(lines, "\n")
}

// headerValue is a signed header's values with runs of spaces made one. net/http moves two headers elsewhere.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return formatNumber(float64(r.ContentLength))
	}
	values := slices.Clone(r.Header.Values(name))
	for i, value := range values {
		values[i] = strings.Join(strings.Fields(value), " ")
	}
	return strings.Join(values, ",")
}

// canonicalPath is the path as it was sent, escaped once more, which is what every service but S3 signs.
func canonicalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = escapeRFC3986(segment)
	}
	return strings.Join(segments, "/")
}

func canonicalQuery(u *url.URL) string {
	var pairs []string
	for name, values := range u.Query() {
		for _, value := range values {
			pairs = append(pairs, escapeRFC3986(name)+"="+escapeRFC3986(value))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escapeRFC3986 escapes everything but unreserved characters, as signatures want it.
func escapeRFC3986(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~").Replace(url.QueryEscape(s))
}
