package marketplace

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	paygCode = "3payasyougoexamplelisting"
	paygID   = "prod-payasyougo001"
)

// shop is weir's memory fed by the emulator, of a contract listing and one with pay as you go. It
// sweeps once a day, so that in a test only notifications and looks at agreements tell of a change,
// and looks nobody up.
type shop struct {
	*world
	cache *cache.Cache
	gate  *cache.Gate
}

// shopPolicy sells both listings to whoever holds anything of them.
func shopPolicy() policy.Config {
	c := policy.DefaultConfig()
	c.Plans = map[string]policy.Plan{"basic": {}}
	acme, paid := testProducts()["acme"], payg()
	acme.Quantities, paid.Quantities = policy.QuantitiesInteger, policy.QuantitiesInteger
	acme.Dimensions = map[string]policy.Dimension{"basic": {Plan: "basic"}}
	paid.Code, paid.ID = paygCode, paygID
	c.Products = map[string]policy.Product{"acme": acme, "paid": paid}
	c.Identity = []policy.Extractor{{From: "header", Name: "x-account", As: "account"}}
	for product := range c.Products {
		c.Routes = append(c.Routes, policy.Route{
			Name: product, Product: product, Match: policy.Match{Path: "/" + product}, Mode: "enforce",
			Failure: policy.RouteFailure{Unknown: "deny"},
		})
	}
	return c
}

// open starts weir's memory; events come by the queue, and changes by the watch where it is to run.
func (w *world) open(watch bool) *shop {
	w.t.Helper()
	c := shopPolicy()
	p, err := policy.Compile(c)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &shop{world: w}
	sources := map[string]cache.Source{
		"acme": w.Entitlements("acme", c.Products["acme"]), "paid": w.Agreements("paid", c.Products["paid"]),
	}
	o := cache.Options{Updates: cache.Updates{Sweep: 24 * time.Hour}, Policy: c, BackOff: time.Second}
	s.cache, err = cache.New(o, p, sources, w.t.TempDir(), func(*policy.License) policy.Counter { return nil }, w.Clock.Now, slog.New(slog.DiscardHandler), w.reg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.cache.Close)
	if s.gate, err = cache.NewGate(s.cache, c.Routes, w.reg); err != nil {
		w.t.Fatal(err)
	}
	runs := []func(context.Context) error{s.cache.Run, w.Queue(w.feed("full"), c.Products, w.t.TempDir(), s.cache.Hint).Run}
	if watch {
		runs = append(runs, w.AgreementWatch(c.Products, s.cache, never).Run)
	}
	for _, r := range runs {
		w.t.Cleanup(run(w.t, r))
	}
	eventually(w.t, "swept both listings", func() bool { return len(s.cache.Ready()) == 0 })
	return s
}

// sell puts the listing with pay as you go into the emulator.
func (w *world) sell() {
	w.t.Helper()
	w.control("PUT", "products/"+paygCode, `{"id": "`+paygID+`", "model": "subscription", "dimensions": [{"key": "calls", "types": ["ExternallyMetered"]}]}`, nil)
}

// pass moves AWS's time, and what is known of it.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	before := w.Clock.Offset()
	w.control("PUT", "clock", fmt.Sprintf(`{"advance": %q}`, d), nil)
	w.Clock.offset.Store(int64(before + d))
}

// passUntil lets minutes pass until something is so: a watch that has only begun counts its minute from then.
func (w *world) passUntil(what string, so func() bool) {
	w.t.Helper()
	var next time.Time
	eventually(w.t, what, func() bool {
		if now := time.Now(); now.After(next) {
			w.pass(time.Minute)
			next = now.Add(2 * time.Second)
		}
		return so()
	})
}

// decide is the reason that the account's request gets.
func (s *shop) decide(account, product string) policy.Reason {
	return s.gate.Decide(context.Background(), &policy.Request{
		Method: "GET", Path: "/" + product, Subject: accountOf(account), Attributes: nothing{},
	}).Reason
}

// gets waits until the account's request gets that reason.
func (s *shop) gets(account, product string, want policy.Reason) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s at %s: %s, but %s", account, product, want, s.decide(account, product)), func() bool {
		return s.decide(account, product) == want
	})
}

// nothing is a request without attributes.
type nothing struct{}

func (nothing) Header(string) (string, int)              { return "", 0 }
func (nothing) Headers() int                             { return 0 }
func (nothing) Metadata(string, []string) (string, bool) { return "", false }
func (nothing) Context(string) (string, bool)            { return "", false }
func (nothing) PeerURI() (string, bool)                  { return "", false }

func TestSubscriptionIsSweptToldOfAndEnded(t *testing.T) {
	w := newWorld(t)
	w.sell()
	w.buy(paygCode, buyer, "")
	s := w.open(false)
	if got := s.decide(buyer, "paid"); got != policy.Allowed {
		t.Errorf("after the sweep: got %s", got)
	}
	const next = "444455556666"
	if got := s.decide(next, "paid"); got != policy.LicenseMissing {
		t.Errorf("before the purchase: got %s", got)
	}
	b := w.buy(paygCode, next, "")
	s.gets(next, "paid", policy.Allowed)
	w.control("POST", "licenses/"+b.ID+"/cancel", "", nil)
	s.gets(next, "paid", policy.LicenseEnded)
	if got := s.decide(buyer, "paid"); got != policy.Allowed {
		t.Errorf("another buyer: got %s", got)
	}
	if n := w.calls("GetEntitlements"); n != 1 {
		t.Errorf("GetEntitlements was called %d times, want once, for the contract listing", n)
	}
}

// lapsing makes a license whose date is in an hour.
func (w *world) lapsing(account, behavior string) (b bought) {
	w.t.Helper()
	now := w.Clock.Now()
	w.control("POST", "licenses", fmt.Sprintf(`{"product": %q, "account": %q, "starts": %q, "ends": %q, "endBehavior": %q, "entitlements": [{"dimension": "basic", "value": 1}]}`,
		acmeCode, account, now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), behavior), &b)
	return b
}

// readAgain waits until the license was read after an instant.
func (s *shop) readAgain(key string, after time.Time) {
	s.t.Helper()
	eventually(s.t, "read again "+key, func() bool {
		l, ok := s.cache.License(policy.Key(key))
		return ok && l.License.Read.After(after)
	})
}

func TestContractThatWillRenewIsNotCutAtItsDate(t *testing.T) {
	w := newWorld(t)
	w.sell()
	const replaced = "444455556666"
	renews, replaces := w.lapsing(buyer, "RENEW"), w.lapsing(replaced, "REPLACE")
	s := w.open(true)
	w.pass(time.Hour + 10*time.Minute)
	after := w.Clock.Now().Add(-time.Minute)
	for _, b := range []bought{renews, replaces} {
		s.readAgain(b.LicenseArn, after)
	}
	for _, account := range []string{buyer, replaced} {
		if got := s.decide(account, "acme"); got != policy.Allowed {
			t.Errorf("%s, ten minutes after its date: got %s", account, got)
		}
	}
	w.control("POST", "licenses/"+renews.ID+"/renew", fmt.Sprintf(`{"expires": %q}`, w.Clock.Now().AddDate(1, 0, 0).Format(time.RFC3339)), nil)
	w.pass(25 * time.Hour)
	s.gets(replaced, "acme", policy.LicenseExpired) // the grace ran out
	s.gets(buyer, "acme", policy.Allowed)
}

func TestContractIsCutAtItsDateWhereAgreementsMayNotBeRead(t *testing.T) {
	w := newWorld(t)
	w.sell()
	b := w.lapsing(buyer, "RENEW")
	s := w.open(false)
	w.control("POST", "faults", `{"operation": "SearchAgreements", "kind": "error", "code": "AccessDeniedException", "count": -1}`, nil)
	w.pass(time.Hour + 10*time.Minute)
	s.readAgain(b.LicenseArn, w.Clock.Now().Add(-time.Minute))
	s.gets(buyer, "acme", policy.LicenseExpired)
}

func TestLostEventsAreMadeUpForWithinAMinute(t *testing.T) {
	w := newWorld(t)
	w.sell()
	s := w.open(true)
	w.control("PUT", "feeds", `{"eventbridge": {"queue": "weir"}, "drop": 1}`, nil)
	contract := w.buy(acmeCode, buyer, `{"dimension": "basic", "value": 1}`)
	paid := w.buy(paygCode, buyer, "")
	w.passUntil("looked", func() bool {
		return s.decide(buyer, "acme") == policy.Allowed && s.decide(buyer, "paid") == policy.Allowed
	})
	for _, b := range []bought{contract, paid} {
		w.control("POST", "licenses/"+b.ID+"/cancel", "", nil)
	}
	w.passUntil("looked", func() bool {
		return s.decide(buyer, "acme") == policy.LicenseEnded && s.decide(buyer, "paid") == policy.LicenseEnded
	})
}
