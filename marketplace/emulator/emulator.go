// Package emulator is AWS Marketplace on localhost: one HTTP handler that speaks the wire protocols of the
// real services, so that any stock AWS SDK pointed at it (endpoint override) works as against AWS.
//
//	e := emulator.New(emulator.Config{})
//	go e.Run(ctx)                        // what falls due by itself
//	http.ListenAndServe("127.0.0.1:4588", e)
//
// # Map
//
// A request of an SDK goes through protocol.go (told apart as AWS does it: path, X-Amz-Target, Action), auth.go
// (Signature Version 4), faults.go, and ends in an operation: metering.go, resolve.go, entitlement.go,
// agreement_*.go, catalog.go, sqs*.go, sns_operations.go, sts.go. What those look at is license.go, agreement.go and product.go,
// on the time of clock.go. Tests and operators change it through the control API below /_control/ (control*.go) or a
// scenario (scenario.go). Each change (agreements.go) emits the events of events.go and the notices of notices.go,
// to where feeds.go says: events into a queue; notices through SNS topics (sns*.go) into a queue, or to a URL, where
// courier.go carries them.
//
// To add a service: write its operations, and add them to the table in operations.go.
//
// # Guarantees
//
//   - AWS's rules hold to the letter: what a constraint of the public service models refuses is refused here, with
//     the error AWS names. Nothing is accepted for a client's convenience.
//   - A control call is synchronous: when it returns, the next AWS call sees it.
//   - The Date of every answer is the emulator's clock. That clock is business time only; signatures, visibility
//     timeouts, long polls, the delays of feeds and the courier's retries run on real time.
//   - State is in memory, bounded, and behind one mutex.
package emulator

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sellerAccount is the AWS account that the emulator plays: the owner of the queues, the caller of every
// operation, and the account in the events.
const sellerAccount = "294406891311"

// region is where AWS sends Marketplace events and serves entitlements; the emulator is there.
const region = "us-east-1"

// Config is what an Emulator is made of. The zero value is usable.
type Config struct {
	// Credentials is "KEY:SECRET". When it is set, signatures are verified as AWS does; when it is empty any
	// well-formed signature is taken.
	Credentials string
	// Log takes one line for each refused AWS call and each emitted event. Nil discards.
	Log *slog.Logger
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Credentials == "" {
		return nil
	}
	key, secret, found := strings.Cut(c.Credentials, ":")
	if !found || key == "" || secret == "" {
		return errors.New("read credentials: want KEY:SECRET")
	}
	return nil
}

// Emulator is AWS Marketplace. It is an http.Handler, safe for concurrent use.
type Emulator struct {
	log        *slog.Logger
	key        string // the access key that signs; empty: any
	secret     string
	operations map[route]*operation
	control    http.Handler
	signer     func() (*signer, error) // of SNS, made when it is first needed

	wake    chan struct{} // tells Run that something new can fall due
	stopped chan struct{} // closed when Run ends: long polls return
	stop    sync.Once

	mu       sync.Mutex
	endpoint string // of queue URLs; empty: as the request was addressed
	state
}

// state is everything a reset forgets. Emulator.mu guards it.
type state struct {
	clock      clock
	due        dueList
	products   map[string]*product
	licenses   licenses
	agreements agreements
	tokens     map[string]token
	feeds      feeds
	faults     faults
	ledger     ledger
	calls      callList
	queues     map[string]*queue
	topics     topics
	sessions   map[string]session
}

func newState() state {
	return state{
		products:   map[string]*product{},
		licenses:   newLicenses(),
		agreements: newAgreements(),
		tokens:     map[string]token{},
		feeds:      newFeeds(),
		ledger:     newLedger(),
		queues:     map[string]*queue{},
		topics:     newTopics(),
		sessions:   map[string]session{},
	}
}

// New makes an Emulator with nothing in it, on real time. A configuration that Validate refuses gives one that
// refuses every signature.
func New(cfg Config) *Emulator {
	e := &Emulator{
		log:     cfg.Log,
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		state:   newState(),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.key, e.secret, _ = strings.Cut(cfg.Credentials, ":")
	e.signer = sync.OnceValues(newSigner)
	e.operations = e.operationTable()
	e.control = e.controlRoutes()
	return e
}

// SetEndpoint fixes the URL that queue URLs begin with, such as "http://emulator:4588". Without it they begin
// with the host that the request named.
func (e *Emulator) SetEndpoint(url string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endpoint = strings.TrimSuffix(url, "/")
}

// Run emits what falls due while the clock runs, and posts what SNS has for URLs, until ctx ends; then every long
// poll returns, so that a server can shut down. It returns nil.
func (e *Emulator) Run(ctx context.Context) error {
	courier := newCourier(e)
	defer courier.stop()
	defer e.stop.Do(func() { close(e.stopped) })
	for {
		timer := time.NewTimer(min(e.settleAll(), courier.round(ctx)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-e.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// ServeHTTP answers AWS operations, the control API below /_control/, and GET /, which shows the clock.
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, controlPrefix):
		e.control.ServeHTTP(&datedWriter{ResponseWriter: w, now: e.now}, r)
	case isCertificate(r):
		e.serveCertificate(&datedWriter{ResponseWriter: w, now: e.now}, r)
	case isProbe(r):
		(&datedWriter{ResponseWriter: w, now: e.now}).WriteHeader(http.StatusOK)
	default:
		e.serveAWS(&datedWriter{ResponseWriter: w, now: e.now}, r)
	}
}

// isProbe is true of the request by which a client without an operation to call reads the clock.
func isProbe(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && r.URL.RawQuery == "" &&
		r.Header.Get(headerTarget) == "" && r.Header.Get(headerAuthorization) == ""
}

// datedWriter gives an answer the emulator's Date at the moment it is written, not when the request came: a
// control call may move the clock in between.
type datedWriter struct {
	http.ResponseWriter
	now   func() time.Time
	wrote bool
}

func (w *datedWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = true
		w.Header().Set("Date", w.now().UTC().Format(http.TimeFormat))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *datedWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

func (w *datedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
