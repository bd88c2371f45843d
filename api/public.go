package api

import (
	"context"
	"errors"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/policy"
)

const (
	// tokenField is the form field in which AWS Marketplace sends the buyer's token (AWS:
	// SaaS product customer setup).
	tokenField = "x-amzn-marketplace-token"
	// maxToken bounds a token, in bytes. AWS gives no length; those seen have a few hundred.
	maxToken = 8 << 10
	// maxPublicConnections bounds the connections of one listener that may face the internet.
	maxPublicConnections = 1000
	// maxResolves bounds how many registrations ask AWS at once.
	maxResolves = 16
	// registerTimeout bounds one registration: two calls to AWS.
	registerTimeout = 20 * time.Second
)

// Why a token can't be resolved. Any other error is AWS's silence.
var (
	// ErrTokenExpired tells that AWS takes the token no longer.
	ErrTokenExpired = errors.New("the token has expired")
	// ErrTokenInvalid tells that AWS does not know the token, or it is for no product of ours.
	ErrTokenInvalid = errors.New("the token is not valid")
)

// Registered is the buyer whom a token stands for.
type Registered struct {
	// Product is the configuration's key of the product.
	Product string
	// Account and Customer name the buyer; at least one is given.
	Account, Customer string
	// License is what the buyer registered with.
	License policy.Key
}

// Resolver finds out at AWS who a buyer is (AWS: ResolveCustomer).
type Resolver interface {
	Resolve(ctx context.Context, token string) (Registered, error)
}

// Hinter reads again what may have changed.
type Hinter interface {
	Hint(ctx context.Context, h cache.Hint) (changed bool, err error)
}

var _ Hinter = (*cache.Cache)(nil)

// PublicSources are what a Public needs.
type PublicSources struct {
	// Resolver finds out who a buyer is.
	Resolver Resolver
	// Licenses gets to know the license of a buyer who registers.
	Licenses Hinter
	// Claims signs what the buyer takes along.
	Claims *Claims
	// Redirect is the page that buyers are sent on to.
	Redirect string
	// SNS takes POST /sns; nil: there is no such endpoint.
	SNS http.Handler
}

// Public is the server of listen.public: what may face the internet.
type Public struct {
	listeners []*listen.Listener
	sources   PublicSources
	redirect  *url.URL
	resolving chan struct{}
	log       *slog.Logger
	mux       *http.ServeMux
}

// NewPublic makes a server on open listeners, which Run closes.
func NewPublic(listeners []*listen.Listener, s PublicSources, log *slog.Logger) (*Public, error) {
	redirect, err := url.Parse(s.Redirect)
	if err != nil {
		return nil, err
	}
	p := &Public{
		sources: s, redirect: redirect, resolving: make(chan struct{}, maxResolves), log: log, mux: http.NewServeMux(),
	}
	for _, l := range listeners {
		few := *l
		few.Listener = &limited{Listener: l.Listener, places: make(chan struct{}, maxPublicConnections), closed: make(chan struct{})}
		p.listeners = append(p.listeners, &few)
	}
	p.mux.HandleFunc("/", notFound)
	p.mux.HandleFunc("/register", p.register)
	if s.SNS != nil {
		p.mux.Handle("/sns", methods{http.MethodPost: s.SNS.ServeHTTP})
	}
	return p, nil
}

// Run serves until ctx is done.
func (p *Public) Run(ctx context.Context) error {
	return serve(ctx, p.listeners, func(*listen.Listener) http.Handler { return rescued(p.log, bounded(p.mux)) }, p.log)
}

// register takes a buyer who comes from AWS Marketplace, and sends him on to the seller's
// page with a claim. It stores nothing but what AWS says of the license: the same
// token again gives the same buyer and a claim of its own.
func (p *Public) register(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			showPage(w, pageNoToken(http.StatusMethodNotAllowed))
			return
		}
		fail(w, http.StatusMethodNotAllowed, reasonMethod, "This endpoint takes POST.")
		return
	}
	token, problem := readToken(r)
	if problem != nil {
		showPage(w, problem)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), registerTimeout)
	defer cancel()
	buyer, err := p.resolve(ctx, token)
	if err != nil {
		p.refuse(w, err)
		return
	}
	hint := cache.Hint{Product: buyer.Product, License: buyer.License, Account: buyer.Account, Customer: buyer.Customer}
	if _, err := p.sources.Licenses.Hint(ctx, hint); err != nil {
		p.refuse(w, err)
		return
	}
	to := *p.redirect
	query := to.Query()
	query.Set("claim", p.sources.Claims.Issue(buyer))
	to.RawQuery = query.Encode()
	harden(w)
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusSeeOther)
}

// resolve asks AWS who a buyer is, when there is a place to ask from.
func (p *Public) resolve(ctx context.Context, token string) (Registered, error) {
	select {
	case p.resolving <- struct{}{}:
	case <-ctx.Done():
		return Registered{}, ctx.Err()
	}
	defer func() { <-p.resolving }()
	return p.sources.Resolver.Resolve(ctx, token)
}

func (p *Public) refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrTokenExpired):
		showPage(w, pageExpired())
	case errors.Is(err, ErrTokenInvalid):
		showPage(w, pageInvalid())
	default:
		p.log.Warn("buyer not registered", "error", err)
		w.Header().Set("Retry-After", "10")
		showPage(w, pageUnavailable())
	}
}

// readToken reads the token from the form; the page says what is wrong with it.
func readToken(r *http.Request) (string, *page) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return "", pageNoToken(http.StatusUnsupportedMediaType)
	}
	err = r.ParseForm()
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return "", pageNoToken(http.StatusRequestEntityTooLarge)
	}
	given := r.PostForm[tokenField]
	switch {
	case err != nil, len(given) != 1, given[0] == "":
		return "", pageNoToken(http.StatusBadRequest)
	case len(given[0]) > maxToken:
		return "", pageInvalid()
	default:
		return given[0], nil
	}
}

// limited is a listener with so many places for connections; who finds none waits
// in the system's queue.
type limited struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

// Accept waits for a place and then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close ends the waiting too.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// placed is a connection that gives its place back.
type placed struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *placed) Close() error {
	c.leave()
	return c.Conn.Close()
}
