package cache

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/weirhq/weir/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// aws is a Source that holds its licenses in memory and notes how it was asked.
type aws struct {
	mu       sync.Mutex
	licenses map[policy.Key]policy.License
	calls    []asked
	err      error         // of every read
	brokenAt int           // a sweep ends in an error after this many licenses; 0: never
	delay    time.Duration // of every answer
	// hold, where set, is asked when a read has its answer and before it gives it.
	hold func(call string)
}

type asked struct {
	what string
	at   time.Time
}

func (a *aws) ask(ctx context.Context, what string) (delay time.Duration, hold func(string), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, asked{what, time.Now()})
	return a.delay, a.hold, a.err
}

// answer waits as long as the source is slow.
func answer(ctx context.Context, what string, delay time.Duration, hold func(string)) error {
	if hold != nil {
		hold(what)
	}
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *aws) License(ctx context.Context, key policy.Key) (policy.License, error) {
	what := "license " + string(key)
	delay, hold, err := a.ask(ctx, what)
	a.mu.Lock()
	l, ok := a.licenses[key]
	a.mu.Unlock()
	if late := answer(ctx, what, delay, hold); late != nil {
		return policy.License{}, late
	}
	switch {
	case err != nil:
		return policy.License{}, err
	case !ok:
		return policy.License{}, fmt.Errorf("license %s: %w", key, ErrNotFound)
	default:
		return l, nil
	}
}

func (a *aws) Licenses(ctx context.Context, who policy.Subject) iter.Seq2[policy.License, error] {
	return func(yield func(policy.License, error) bool) {
		what := who.Kind.String() + " " + who.ID
		delay, hold, err := a.ask(ctx, what)
		found := a.held(who)
		if late := answer(ctx, what, delay, hold); late != nil {
			err = late
		}
		for i, l := range found {
			if a.brokenAt > 0 && who.Kind == policy.SubjectNone && i == a.brokenAt {
				err = fmt.Errorf("page %d is lost", i)
				break
			}
			if err != nil || !yield(l, nil) {
				break
			}
		}
		if err != nil {
			yield(policy.License{}, err)
		}
	}
}

func (a *aws) held(who policy.Subject) (found []policy.License) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.licenses {
		switch {
		case who.Kind == policy.SubjectNone,
			who.Kind == policy.SubjectAccount && l.Account == who.ID,
			who.Kind == policy.SubjectCustomer && l.Customer == who.ID:
			found = append(found, l)
		}
	}
	return found
}

func (a *aws) put(l policy.License) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.licenses == nil {
		a.licenses = map[policy.Key]policy.License{}
	}
	a.licenses[l.Key] = l
}

func (a *aws) drop(key policy.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.licenses, key)
}

func (a *aws) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// asked counts the calls that were of this kind; all of them for "".
func (a *aws) asked(what string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, call := range a.calls {
		if what == "" || call.what == what {
			n++
		}
	}
	return n
}

func (a *aws) forgetCalls() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = nil
}

const (
	initech = "111122223333" // an account
	sweep   = "none "        // what a sweep asks
	arn1    = policy.Key("arn:aws:license-manager::294406891311:license:l-1")
	arn2    = policy.Key("arn:aws:license-manager::294406891311:license:l-2")
)

// held is a license that holds one plan's dimension, for a year of the test's time.
func held(key policy.Key, account, dimension string) policy.License {
	return policy.License{Key: key, Account: account, Entitlements: []policy.Entitlement{{
		Dimension: dimension, Value: policy.Value{Kind: policy.ValueBoolean, Boolean: true}, Expires: time.Now().AddDate(1, 0, 0),
	}}}
}

// config sells acme in two plans; sso is a feature of the greater.
func config() policy.Config {
	yes, no := true, false
	c := policy.DefaultConfig()
	c.Features = map[string]policy.Feature{"sso": {Type: "boolean"}}
	c.Plans = map[string]policy.Plan{
		"basic":      {Rank: 1, Grants: map[string]policy.Grant{"sso": {Boolean: &no}}},
		"enterprise": {Rank: 2, Grants: map[string]policy.Grant{"sso": {Boolean: &yes}}},
	}
	c.Products = map[string]policy.Product{"acme": {
		Code: "code", ID: "prod-1", Model: policy.ModelContract, Agreements: policy.AgreementsConcurrent, Quantities: policy.QuantitiesInteger,
		Dimensions: map[string]policy.Dimension{"basic": {Plan: "basic"}, "enterprise": {Plan: "enterprise"}},
	}}
	c.Tenants = map[string]policy.Tenant{
		"initech": {Account: initech}, "legacy": {Customer: "cust-1"}, "bigcorp": {Plan: "enterprise"},
		"elsewhere": {Plan: "basic", Product: "other"}, "narrow": {Account: initech, Product: "other"},
	}
	c.Products["other"] = policy.Product{
		Code: "other", ID: "prod-2", Model: policy.ModelContract, Agreements: policy.AgreementsConcurrent, Quantities: policy.QuantitiesInteger,
		Dimensions: map[string]policy.Dimension{"basic": {Plan: "basic"}},
	}
	c.Identity = []policy.Extractor{{From: "header", Name: "x-tenant", As: "tenant"}}
	c.Routes = []policy.Route{
		{Name: "any", Match: policy.Match{Path: "/any"}, Product: "acme", Mode: "enforce"},
		{Name: "sso", Match: policy.Match{Path: "/sso"}, Product: "acme", Mode: "enforce", Requires: map[string]policy.Requirement{"sso": {Boolean: &yes}}},
		{Name: "other", Match: policy.Match{Path: "/other"}, Product: "other", Mode: "enforce"},
	}
	return c
}

// weir is a cache and its gate at work, with a clock of AWS's that can be moved.
type weir struct {
	*Cache
	gate   *Gate
	source *aws
	dir    string
	reg    *prometheus.Registry
	stop   func() error

	mu     sync.Mutex
	offset time.Duration // AWS time less local time
}

func (w *weir) awsNow() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *weir) moveAWS(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// open makes a cache in dir without running it.
func open(t *testing.T, source *aws, dir string, change ...func(*Options)) *weir {
	t.Helper()
	o := Options{Updates: DefaultUpdates(), Policy: config()}
	for _, f := range change {
		f(&o)
	}
	p, err := policy.Compile(o.Policy)
	if err != nil {
		t.Fatal(err)
	}
	w := &weir{source: source, dir: dir, reg: prometheus.NewRegistry()}
	sources := map[string]Source{"acme": source, "other": &aws{}}
	w.Cache, err = New(o, p, sources, dir, func(*policy.License) policy.Counter { return nil }, w.awsNow,
		slog.New(slog.NewTextHandler(io.Discard, nil)), w.reg)
	if err != nil {
		t.Fatal(err)
	}
	if w.gate, err = NewGate(w.Cache, o.Policy.Routes, w.reg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// run makes a cache and runs it until the test ends, or stop is called.
func run(t *testing.T, source *aws, dir string, change ...func(*Options)) *weir {
	t.Helper()
	w := open(t, source, dir, change...)
	w.launch(t)
	return w
}

// halt ends a cache and releases its files.
func (w *weir) halt(t *testing.T) {
	t.Helper()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.Close()
}

// restart ends a cache and runs another one on the same state.
func (w *weir) restart(t *testing.T) {
	t.Helper()
	w.halt(t)
	next := open(t, w.source, w.dir)
	next.sources["other"] = w.sources["other"]
	w.Cache, w.gate, w.reg = next.Cache, next.gate, next.reg
	w.launch(t)
}

func (w *weir) launch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	cache := w.Cache
	go func() { ended <- cache.Run(ctx) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	stop := w.stop
	t.Cleanup(func() { _ = stop() })
	synctest.Wait()
}

// bare is a request without attributes.
type bare struct{}

func (bare) Header(string) (string, int)              { return "", 0 }
func (bare) Headers() int                             { return 0 }
func (bare) Metadata(string, []string) (string, bool) { return "", false }
func (bare) Context(string) (string, bool)            { return "", false }
func (bare) PeerURI() (string, bool)                  { return "", false }

func request(kind policy.SubjectKind, id, path string) *policy.Request {
	return &policy.Request{Method: "GET", Path: path, Attributes: bare{}, Subject: policy.Subject{Kind: kind, ID: id}}
}

// decide is the reason that a tenant's request gets.
func (w *weir) decide(tenant, path string) policy.Reason {
	d := w.gate.Decide(context.Background(), request(policy.SubjectTenant, tenant, path))
	return d.Reason
}

func (w *weir) wants(t *testing.T, tenant, path string, want policy.Reason) {
	t.Helper()
	if got := w.decide(tenant, path); got != want {
		t.Errorf("%s at %s: got %s, want %s", tenant, path, got, want)
	}
}

func (w *weir) hint(t *testing.T, h Hint) (changed bool) {
	t.Helper()
	changed, err := w.Hint(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// settle lets so much time pass, and all that falls due in it happen.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
