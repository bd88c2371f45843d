package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// Question asks how a request would be decided.
type Question struct {
	// Subject is who asks; without one the identity extractors look for it in the headers.
	Subject Subject `json:"subject"`
	// Method is GET where it is left out.
	Method string `json:"method"`
	// URL is absolute, or only the path. It is taken as it is, as a proxy would receive it.
	URL string `json:"url"`
	// Headers are the request's, each with a text or a list of texts.
	Headers map[string]Values `json:"headers"`
	// At is the instant of the request; zero: now.
	At time.Time `json:"at"`
}

// Subject names at most one subject, in one of four ways.
type Subject struct {
	Tenant   string `json:"tenant,omitempty"`
	Account  string `json:"account,omitempty"`
	License  string `json:"license,omitempty"`
	Customer string `json:"customer,omitempty"`
}

// Values are those of one header.
type Values []string

// UnmarshalJSON reads a text or a list of texts.
func (v *Values) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*v = Values{one}
		return nil
	}
	var many []string
	if json.Unmarshal(b, &many) != nil {
		return errors.New("a header is a text or a list of texts")
	}
	*v = many
	return nil
}

// ReadQuestion reads a question from JSON.
func ReadQuestion(r io.Reader) (Question, error) {
	var q Question
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return q, fmt.Errorf("read question: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return q, errors.New("read question: more than one JSON value")
	}
	return q, nil
}

// Request is the question as a request that collects its steps.
func (q *Question) Request() (*policy.Request, error) {
	subject, err := q.Subject.subject()
	if err != nil {
		return nil, err
	}
	host, path, err := splitURL(q.URL)
	if err != nil {
		return nil, err
	}
	headers := headers{}
	for name, values := range q.Headers {
		name = strings.ToLower(name)
		headers[name] = append(headers[name], values...)
	}
	if named, n := headers.Header("host"); n > 0 && host == "" {
		host = named
	}
	r := &policy.Request{
		Method: q.Method, Host: host, Path: path, Attributes: headers, Subject: subject, Steps: &policy.Steps{},
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	return r, nil
}

// splitURL takes the host and the path with its query from a URL, untouched.
func splitURL(url string) (host, path string, err error) {
	if strings.HasPrefix(url, "/") {
		return "", url, nil
	}
	_, rest, ok := strings.Cut(url, "://")
	if !ok {
		return "", "", fmt.Errorf(`read url: %q is neither absolute nor a path that begins with /`, url)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return rest, "/", nil
	}
	host, path = rest[:end], rest[end:]
	if path[0] != '/' {
		path = "/" + path
	}
	return host, path, nil
}

func (s Subject) subject() (policy.Subject, error) {
	var found policy.Subject
	for _, named := range [...]policy.Subject{
		{Kind: policy.SubjectTenant, ID: s.Tenant},
		{Kind: policy.SubjectAccount, ID: s.Account},
		{Kind: policy.SubjectLicense, ID: s.License},
		{Kind: policy.SubjectCustomer, ID: s.Customer},
	} {
		switch {
		case named.ID == "":
		case found.Kind != policy.SubjectNone:
			return found, fmt.Errorf("read subject: both %s and %s are given; one names who asks", found.Kind, named.Kind)
		default:
			found = named
		}
	}
	return found, nil
}

// headers are the attributes of a question: a proxy's other ones are not part of it.
type headers map[string][]string

var _ policy.Attributes = headers{}

func (h headers) Header(name string) (string, int) {
	return strings.Join(h[name], ","), len(h[name])
}

func (h headers) Headers() int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}

func (headers) Metadata(string, []string) (string, bool) { return "", false }

func (headers) Context(string) (string, bool) { return "", false }

func (headers) PeerURI() (string, bool) { return "", false }
