package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
	"github.com/weirhq/weir/marketplace"
	"github.com/weirhq/weir/marketplace/emulator"
	"github.com/weirhq/weir/policy"
)

// bought is what the test knows of a license: the truth, kept in the simplest way.
type bought struct {
	id      string
	key     policy.Key
	account string
	plan    string // basic or enterprise
	seats   int    // of the dimension extra_seats
	ends    time.Time
	ended   bool
}

// truth is AWS Marketplace (the emulator), weir's memory fed by it, and what the
// test knows of both, all in this process.
type truth struct {
	t        *rapid.T
	control  stage.Control
	endpoint string
	dir      string
	cfg      *config.Config
	policy   *policy.Policy
	offset   *atomic.Int64 // AWS time minus local time

	cache *cache.Cache
	gate  *cache.Gate
	end   func() // of weir
	close func() // of everything

	licenses []*bought
	lossy    bool // events are lost
	lost     bool // events were lost since memory was last seen to be right
}

// buyers are the tenants of examples/weir.yaml that buy at AWS, with their accounts.
func buyers() map[string]string {
	return map[string]string{"initech": "111122223333", "globex": "222233334444", "hooli": "333344445555", "umbrella": "444455556666"}
}

func TestMemoryIsTheTruthAtAWSWhateverHappensThere(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	rapid.Check(t, func(rt *rapid.T) {
		w := newTruth(rt)
		defer w.close()
		rt.Repeat(map[string]func(*rapid.T){
			"buy":     w.buy,
			"change":  w.change,
			"renew":   w.renew,
			"replace": w.replace,
			"cancel":  w.cancel,
			"time":    w.time,
			"losses":  w.losses,
			"restart": w.restart,
			"":        w.check,
		})
	})
}

func newTruth(t *rapid.T) *truth {
	e := emulator.New(emulator.Config{})
	server := httptest.NewServer(e)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	dir, err := os.MkdirTemp("", "weir-truth-")
	if err != nil {
		t.Fatal(err)
	}
	w := &truth{t: t, control: stage.Control{URL: server.URL}, endpoint: server.URL, dir: dir, offset: new(atomic.Int64)}
	if w.cfg, err = config.Load("weir.yaml", []byte(examples.Weir)); err != nil {
		t.Fatal(err)
	}
	if w.policy, err = policy.Compile(w.cfg.Policy); err != nil {
		t.Fatal(err)
	}
	w.call(http.MethodPut, "products/8h6sexykx0r2ei8dxc94vajj8", map[string]any{"id": "prod-wa4ddxl7e7ktw", "dimensions": []map[string]any{
		{"key": "basic", "types": []string{"Entitled"}},
		{"key": "enterprise", "types": []string{"Entitled"}},
		{"key": "extra_seats", "types": []string{"Entitled"}},
		{"key": "calls", "types": []string{"ExternallyMetered"}},
	}}, nil)
	w.call(http.MethodPut, "feeds", map[string]any{"eventbridge": map[string]any{"queue": "weir"}}, nil)
	w.start()
	w.close = func() {
		w.end()
		cancel()
		<-ran
		server.CloseClientConnections()
		server.Close()
		os.RemoveAll(dir)
	}
	return w
}

func (w *truth) call(method, path string, body, out any) {
	if err := w.control.Call(context.Background(), method, path, body, out); err != nil {
		w.t.Fatal(err)
	}
}

// now is AWS time.
func (w *truth) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())).UTC() }

// start starts weir's memory and its feeds on what the disk has.
func (w *truth) start() {
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	aws := w.cfg.AWS
	aws.Endpoint = w.endpoint
	conn, err := marketplace.Connect(context.Background(), aws, log, reg)
	if err != nil {
		w.t.Fatal(err)
	}
	sources := map[string]cache.Source{"acme": conn.Entitlements("acme", w.cfg.Policy.Products["acme"])}
	o := cache.Options{Updates: cache.Updates{Sweep: 1000 * time.Hour}, Policy: w.cfg.Policy, BackOff: time.Second}
	if w.cache, err = cache.New(o, w.policy, sources, w.dir, nil, w.now, log, reg); err != nil {
		w.t.Fatal(err)
	}
	if w.gate, err = cache.NewGate(w.cache, w.cfg.Policy.Routes, reg); err != nil {
		w.t.Fatal(err)
	}
	queue := conn.Queue(w.endpoint+"/294406891311/weir", w.cfg.Policy.Products, w.dir, w.cache.Hint)
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return w.cache.Run(ctx) })
	group.Go(func() error { return queue.Run(ctx) })
	w.end = func() {
		cancel()
		if err := group.Wait(); err != nil {
			w.t.Error(err)
		}
		w.cache.Close()
	}
}

// The things that happen.

func (w *truth) buy(t *rapid.T) {
	if len(w.licenses) >= 8 {
		t.Skip("enough licenses")
	}
	b := &bought{
		account: rapid.SampledFrom(slices.Sorted(maps.Values(buyers()))).Draw(t, "account"),
		plan:    rapid.SampledFrom([]string{"basic", "enterprise"}).Draw(t, "plan"),
		seats:   rapid.IntRange(0, 6).Draw(t, "seats"),
		ends:    w.now().AddDate(0, 0, rapid.IntRange(1, 90).Draw(t, "days")).Truncate(time.Second),
	}
	var made stage.License
	w.call(http.MethodPost, "licenses", map[string]any{
		"product": "8h6sexykx0r2ei8dxc94vajj8", "account": b.account, "ends": b.ends.Format(time.RFC3339), "entitlements": b.entitlements(),
	}, &made)
	b.id, b.key = made.ID, policy.Key(made.ARN)
	w.licenses = append(w.licenses, b)
	w.happened()
}

func (b *bought) entitlements() []map[string]any {
	list := []map[string]any{{"dimension": b.plan, "value": 1}}
	if b.seats > 0 {
		list = append(list, map[string]any{"dimension": "extra_seats", "value": b.seats})
	}
	return list
}

// one is a license that has not ended.
func (w *truth) one(t *rapid.T) *bought {
	var live []*bought
	for _, b := range w.licenses {
		if !b.over(w.now()) {
			live = append(live, b)
		}
	}
	if len(live) == 0 {
		t.Skip("no license")
	}
	return rapid.SampledFrom(live).Draw(t, "license")
}

func (b *bought) over(now time.Time) bool { return b.ended || !now.Before(b.ends) }

func (w *truth) change(t *rapid.T) {
	b := w.one(t)
	b.plan = rapid.SampledFrom([]string{"basic", "enterprise"}).Draw(t, "plan")
	b.seats = rapid.IntRange(0, 6).Draw(t, "seats")
	w.call(http.MethodPut, "licenses/"+url.PathEscape(b.id)+"/entitlements", b.entitlements(), nil)
	w.happened()
}

func (w *truth) renew(t *rapid.T) {
	b := w.one(t)
	b.ends = b.ends.AddDate(0, 0, rapid.IntRange(1, 90).Draw(t, "days"))
	w.call(http.MethodPost, "licenses/"+url.PathEscape(b.id)+"/renew", map[string]any{"expires": b.ends.Format(time.RFC3339)}, nil)
	w.happened()
}

func (w *truth) replace(t *rapid.T) {
	b := w.one(t)
	next := &bought{account: b.account, plan: rapid.SampledFrom([]string{"basic", "enterprise"}).Draw(t, "plan"), ends: b.ends}
	var made stage.License
	w.call(http.MethodPost, "licenses/"+url.PathEscape(b.id)+"/replace", map[string]any{"entitlements": next.entitlements()}, &made)
	next.id, next.key, b.ended = made.ID, policy.Key(made.ARN), true
	w.licenses = append(w.licenses, next)
	w.happened()
}

func (w *truth) cancel(t *rapid.T) {
	b := w.one(t)
	b.ended = true
	w.call(http.MethodPost, "licenses/"+url.PathEscape(b.id)+"/cancel", nil, nil)
	w.happened()
}

// time moves AWS's clock forward.
func (w *truth) time(t *rapid.T) {
	w.advance(time.Duration(rapid.IntRange(1, 40*24*60).Draw(t, "minutes")) * time.Minute)
	w.happened()
}

func (w *truth) advance(d time.Duration) {
	w.offset.Add(int64(d))
	w.call(http.MethodPut, "clock", map[string]any{"advance": d.String()}, nil)
}

// losses makes AWS lose every event from now on, or none.
func (w *truth) losses(*rapid.T) {
	w.lossy = !w.lossy
	drop := 0.0
	if w.lossy {
		drop = 1
	}
	w.call(http.MethodPut, "feeds", map[string]any{"eventbridge": map[string]any{"queue": "weir"}, "drop": drop}, nil)
}

func (w *truth) happened() { w.lost = w.lost || w.lossy }

func (w *truth) restart(*rapid.T) {
	before := w.cutOff()
	w.end()
	// What AWS gives to a poll whose caller is gone is hidden for a minute: wait until it
	// has noticed. A poll may not have been under way.
	for end := time.Now().Add(200 * time.Millisecond); w.cutOff() == before && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
	}
	w.start()
}

// cutOff is how many polls of the queue ended because the caller went away.
func (w *truth) cutOff() (n int) {
	var calls []struct {
		Operation string `json:"operation"`
		Status    int    `json:"status"`
	}
	w.call(http.MethodGet, "calls", nil, &calls)
	for _, c := range calls {
		if c.Operation == "ReceiveMessage" && c.Status == 0 {
			n++
		}
	}
	return n
}

// check waits until weir's answers are the truth: without losses a second; after
// losses a sweep, and the second read of what that did not show, 30 s later.
func (w *truth) check(t *rapid.T) {
	if w.lost {
		w.sweep(t)
		w.lost = false
		if w.right(time.Second) != "" { // the sweep has what it missed read by itself, beside it
			w.advance(31 * time.Second)
		}
	}
	if wrong := w.right(2 * time.Second); wrong != "" {
		t.Fatal(wrong)
	}
}

// right waits until nothing is wrong, at most so long, and says what is wrong then.
func (w *truth) right(limit time.Duration) (wrong string) {
	for end := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		if wrong = w.wrong(); wrong == "" || time.Now().After(end) {
			return wrong
		}
	}
}

// sweep has everything read, and waits for it.
func (w *truth) sweep(t *rapid.T) {
	before := w.cache.Snapshot().Confirmed("acme")
	if _, err := w.cache.Hint(context.Background(), cache.Hint{Product: "acme"}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !w.cache.Snapshot().Confirmed("acme").After(before); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no sweep within 10 s")
		}
	}
}

// wrong compares every tenant's answers with the truth; empty: all are right.
func (w *truth) wrong() string {
	now := w.now()
	for tenant, account := range buyers() {
		plan, seats := w.holds(account, now)
		for path, want := range map[string]bool{
			"/v1/held": plan != "", "/v1/sso/x": plan == "enterprise", "/v1/team/x": plan != "" && seats >= 10,
		} {
			r := &policy.Request{
				Method: http.MethodPost, Host: "api.test", Path: path, Attributes: noAttributes{},
				Subject: policy.Subject{Kind: policy.SubjectTenant, ID: tenant},
			}
			d := w.gate.Explain(context.Background(), r, now)
			if d.Allowed() != want {
				return fmt.Sprintf("%s at %s: %s (plan %q), but AWS says plan %q, %d seats\n%v", tenant, path, d.Reason, d.Plan, plan, seats, r.Steps.Lines)
			}
		}
		if wrong := w.wrongFeatures(tenant, plan, seats); wrong != "" {
			return wrong
		}
	}
	for _, b := range w.licenses {
		if l, ok := w.cache.License(b.key); ok && b.over(now) && l.State >= policy.StateSuspended {
			return fmt.Sprintf("license %s is %s, but AWS says that it is over", b.key, l.State)
		}
	}
	return ""
}

// wrongFeatures compares what the application is told of every feature with the truth.
func (w *truth) wrongFeatures(tenant, plan string, seats int) string {
	found, _ := w.gate.Entitlements(context.Background(), tenant, "acme")
	if found.Plan != plan {
		return fmt.Sprintf("%s has plan %q, but AWS says %q", tenant, found.Plan, plan)
	}
	for _, f := range found.Features {
		wrong := f.Name == "reports" && !f.Boolean || f.Name == "sso" && f.Boolean != (plan == "enterprise") || f.Name == "seats" && f.Number != int64(seats)
		if wrong {
			return fmt.Sprintf("%s has %+v, but AWS says plan %q, %d seats", tenant, f, plan, seats)
		}
	}
	if want := map[string]int{"": 0, "basic": 3, "enterprise": 4}[plan]; len(found.Features) != want {
		return fmt.Sprintf("%s has %d features with plan %q, want %d", tenant, len(found.Features), plan, want)
	}
	return ""
}

// holds is the best plan of an account's licenses, and its seats.
func (w *truth) holds(account string, now time.Time) (plan string, seats int) {
	for _, b := range w.licenses {
		if b.account != account || b.over(now) {
			continue
		}
		seats += b.seats
		if plan != "enterprise" {
			plan = b.plan
		}
	}
	switch plan {
	case "basic":
		return plan, seats + 5
	case "enterprise":
		return plan, seats + 100
	default:
		return "", 0
	}
}

// noAttributes are those of a request without any.
type noAttributes struct{}

func (noAttributes) Header(string) (string, int)              { return "", 0 }
func (noAttributes) Headers() int                             { return 0 }
func (noAttributes) Metadata(string, []string) (string, bool) { return "", false }
func (noAttributes) Context(string) (string, bool)            { return "", false }
func (noAttributes) PeerURI() (string, bool)                  { return "", false }
