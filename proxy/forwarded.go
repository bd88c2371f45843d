package proxy

import (
	"cmp"
	"net"
	"net/http"
	"strings"

	"github.com/weirhq/weir/policy"
)

// The endpoints of forward-auth. Each reads the request that it is asked about from its
// own headers alone, so that none that a client sends is taken for the proxy's.
const (
	forwardedPath = "/check/forwarded" // Traefik, Caddy, HAProxy
	originalPath  = "/check/original"  // nginx
	pathPrefix    = "/check/path"      // Envoy's http_service, which puts it before the path
)

// readForwarded reads the request that a proxy asks about out of the proxy's own. A
// question that can't be understood is a problem of the proxy's.
func (c *check) readForwarded(r *http.Request, trustRequestID bool) (p *policy.Problem) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	asked, under := strings.CutPrefix(r.RequestURI, pathPrefix)
	switch {
	case path == forwardedPath:
		p = c.readXForwarded(r.Header)
	case path == originalPath:
		c.bodyless = true
		p = c.readXOriginal(r.Header)
	case under && (asked == "" || asked[0] == '/' || asked[0] == '?'):
		c.Method, c.Host, c.Path = r.Method, r.Host, rooted(asked)
	default:
		p = problem(http.StatusNotFound, "not_found",
			"There is no such endpoint: checks are asked for at "+forwardedPath+", "+originalPath+" and "+pathPrefix+"/**.")
	}
	if p != nil {
		return p
	}
	a := &forwarded{header: r.Header}
	c.Attributes, c.Unlogged = a, true
	contentType, _ := a.Header("content-type")
	c.grpc = speaksGRPC(contentType)
	if trustRequestID {
		c.trustID(a)
	}
	return nil
}

// readXForwarded reads what Traefik, Caddy and HAProxy say. The scheme decides nothing,
// but a proxy that does not name it is not set up as it should be.
func (c *check) readXForwarded(h http.Header) *policy.Problem {
	method, p1 := once(h, "X-Forwarded-Method")
	_, p2 := once(h, "X-Forwarded-Proto")
	host, p3 := once(h, "X-Forwarded-Host")
	uri, p4 := once(h, "X-Forwarded-Uri")
	c.Method, c.Host = method, host
	host, c.Path = target(uri)
	if host != "" && !strings.EqualFold(bare(host), bare(c.Host)) {
		c.Host += "," + host // two hosts, as when a client sends two Host headers
	}
	return cmp.Or(p1, p2, p3, p4)
}

// readXOriginal reads what nginx says. Without an absolute URL the host is not known.
func (c *check) readXOriginal(h http.Header) *policy.Problem {
	method, p1 := once(h, "X-Original-Method")
	url, p2 := once(h, "X-Original-URL")
	c.Method = method
	c.Host, c.Path = target(url)
	return cmp.Or(p1, p2)
}

// once is a header that has to be there once.
func once(h http.Header, name string) (string, *policy.Problem) {
	values := h.Values(name)
	switch {
	case len(values) > 1:
		return "", problem(http.StatusBadRequest, "invalid", "The header "+name+" is there more than once: the proxy has to set it, not to add to it.")
	case len(values) == 0 || values[0] == "":
		return "", problem(http.StatusBadRequest, "invalid", "The header "+name+" is missing: the proxy has to set it.")
	}
	return values[0], nil
}

func problem(status int, reason, detail string) *policy.Problem {
	return &policy.Problem{
		Type: "urn:weir:reason:" + reason, Title: http.StatusText(status), Status: status, Detail: detail, Reason: reason,
	}
}

// target splits an absolute http or https URL into its host and its path with the query.
// Everything else is a path as it stands; of one that is none policy will say so.
func target(url string) (host, path string) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", url
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 {
		return "", url
	}
	return rest[:end], rooted(rest[end:])
}

// rooted gives a URL that has no path the one of the root (RFC 9112, 3.2.1).
func rooted(path string) string {
	if path == "" || path[0] != '/' {
		return "/" + path
	}
	return path
}

// bare is a host without port, brackets and the dot at its end.
func bare(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// forwarded are the attributes of a request that a proxy asks about over HTTP: the
// headers that it passes on. All else it has no way to say.
type forwarded struct{ header http.Header }

var _ policy.Attributes = (*forwarded)(nil)

// Header is a request header.
func (f *forwarded) Header(name string) (string, int) {
	values := f.header.Values(name)
	return strings.Join(values, ","), len(values)
}

// Headers counts the client's headers: what a proxy adds on the way is left out once.
func (f *forwarded) Headers() (n int) {
	for name, values := range f.header {
		n += len(values)
		if name = strings.ToLower(name); len(values) > 0 && (addedOnTheWay(name) != 0 || addedByProxy(name)) {
			n--
		}
	}
	return n
}

// Metadata is never there.
func (f *forwarded) Metadata(string, []string) (string, bool) { return "", false }

// Context is never there: weir.route can't come from a client.
func (f *forwarded) Context(string) (string, bool) { return "", false }

// PeerURI is never there: the certificate is the proxy's.
func (f *forwarded) PeerURI() (string, bool) { return "", false }

// addedByProxy tells whether a header is one that a proxy which asks over HTTP adds.
func addedByProxy(name string) bool {
	switch name {
	case "x-forwarded-method", "x-forwarded-host", "x-forwarded-uri", "x-forwarded-port", "x-forwarded-server",
		"x-original-method", "x-original-url", "x-real-ip", "x-envoy-expected-rq-timeout-ms",
		"via", "connection", "content-length", "accept-encoding", callerHeader:
		return true
	default:
		return false
	}
}
