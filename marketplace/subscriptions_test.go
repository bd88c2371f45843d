package marketplace

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// at is something that happened so many minutes after noon.
func at(minute int, what, offer string) happening {
	return happening{At: noon.Add(time.Duration(minute) * time.Minute), What: what, Offer: offer}
}

func TestASubscriptionStandsAsTheLatestEventByItsOwnTimeSays(t *testing.T) {
	for name, tt := range map[string]struct {
		happened []happening
		want     standing
	}{
		"nothing":                         {nil, standing{}},
		"subscribed":                      {[]happening{at(1, subscribed, "a")}, standing{true, at(1, "", "").At}},
		"subscribed twice":                {[]happening{at(1, subscribed, "a"), at(5, subscribed, "b")}, standing{true, at(1, "", "").At}},
		"leaving":                         {[]happening{at(1, subscribed, "a"), at(2, leaving, "")}, standing{false, at(2, "", "").At}},
		"left":                            {[]happening{at(1, subscribed, "a"), at(2, leaving, ""), at(62, left, "")}, standing{false, at(2, "", "").At}},
		"left, with one message lost":     {[]happening{at(1, subscribed, "a"), at(62, left, "")}, standing{false, at(62, "", "").At}},
		"back again":                      {[]happening{at(1, subscribed, "a"), at(2, leaving, ""), at(9, subscribed, "b")}, standing{true, at(9, "", "").At}},
		"refused":                         {[]happening{at(1, registered, ""), at(2, refused, "a")}, standing{false, at(2, "", "").At}},
		"refused from the start":          {[]happening{at(2, refused, "a")}, standing{false, at(2, "", "").At}},
		"the same offer refused":          {[]happening{at(1, subscribed, "a"), at(2, refused, "a")}, standing{false, at(2, "", "").At}},
		"another offer refused":           {[]happening{at(1, subscribed, "a"), at(2, refused, "b")}, standing{true, at(1, "", "").At}},
		"both at one instant":             {[]happening{at(1, subscribed, "a"), at(1, leaving, "")}, standing{false, at(1, "", "").At}},
		"registered, then subscribed":     {[]happening{at(1, registered, ""), at(2, subscribed, "a")}, standing{true, at(1, "", "").At}},
		"registered and leaving":          {[]happening{at(1, registered, ""), at(3, leaving, "")}, standing{false, at(3, "", "").At}},
		"an end of before the beginning":  {[]happening{at(0, left, ""), at(1, subscribed, "a")}, standing{true, at(1, "", "").At}},
		"a refusal of before a beginning": {[]happening{at(0, refused, "a"), at(1, subscribed, "a")}, standing{true, at(1, "", "").At}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // in any order, and some of it twice
				heard := append(slices.Clone(tt.happened), tt.happened[:len(tt.happened)/2]...)
				rand.Shuffle(len(heard), func(i, j int) { heard[i], heard[j] = heard[j], heard[i] })
				var h history
				for i := range heard {
					h, _ = h.with("", &heard[i])
				}
				if got := h.stands(); got != tt.want {
					t.Fatalf("heard %v: got %+v, want %+v", heard, got, tt.want)
				}
			}
		})
	}
}

func TestAHistoryIsBoundedAndKeepsTheLatest(t *testing.T) {
	order := rand.Perm(5 * maxHappenings)
	var h history
	for _, minute := range order {
		what := subscribed
		if minute%2 == 1 {
			what = leaving
		}
		next := at(minute, what, "")
		h, _ = h.with("", &next)
	}
	last := at(5*maxHappenings-1, "", "").At
	if len(h.Happenings) != maxHappenings || !h.Happenings[maxHappenings-1].At.Equal(last) || h.stands() != (standing{false, last}) {
		t.Errorf("%d are kept, the latest of %s: %+v", len(h.Happenings), h.Happenings[len(h.Happenings)-1].At, h.stands())
	}
}

// metered is a listing of before concurrent agreements, with pay as you go.
func metered() policy.Product {
	return policy.Product{Code: oldCode, ID: "prod-oldlisting01", Model: policy.ModelSubscription, Agreements: policy.AgreementsLegacy}
}

// tell opens what is stored in a directory.
func (w *world) tell(dir string) *Subscriptions {
	w.t.Helper()
	s, err := w.OpenSubscriptions(dir, map[string]policy.Product{"old": metered()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// subscribers are the customers that a source shows.
func subscribers(t *testing.T, s *Subscriptions, who policy.Subject) (found []string) {
	t.Helper()
	for l, err := range s.Subscribers("old", metered()).Licenses(t.Context(), who) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, l.Customer)
	}
	slices.Sort(found)
	return found
}

func noted(t *testing.T, s *Subscriptions, customer, account string, what happening) {
	t.Helper()
	if _, err := s.note(legacyKey(oldCode, customer), account, &what); err != nil {
		t.Fatal(err)
	}
}

func TestStoredSubscriptionsOutliveARestartAndALateEventRevivesNobody(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	s := w.tell(dir)
	recent := func(minute int, what string) happening {
		return happening{At: time.Now().UTC().Add(time.Duration(minute) * time.Minute), What: what}
	}
	noted(t, s, "stays", "111122223333", recent(-9, subscribed))
	noted(t, s, "goes", "", recent(-9, leaving))
	noted(t, s, "long/gone", "", happening{At: time.Now().AddDate(0, 0, -91), What: leaving})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = w.tell(dir)
	noted(t, s, "goes", "", recent(-10, subscribed))
	if got := subscribers(t, s, policy.Subject{Kind: policy.SubjectAccount, ID: "111122223333"}); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("by account: %v", got)
	}
	noted(t, s, "moves", "444455556666", recent(-9, subscribed))
	noted(t, s, "moves", "777788889999", recent(-8, subscribed))
	for account, want := range map[string][]string{"444455556666": nil, "777788889999": {"moves"}} {
		if got := subscribers(t, s, policy.Subject{Kind: policy.SubjectAccount, ID: account}); !slices.Equal(got, want) {
			t.Errorf("of account %s: %v, want %v", account, got, want)
		}
	}
	noted(t, s, "moves", "", recent(-7, left))
	if err := w.Clock.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := subscribers(t, s, policy.Subject{}); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("all: %v", got)
	}
	if _, err := s.Subscribers("old", metered()).License(t.Context(), legacyKey(oldCode, "goes")); err == nil {
		t.Error("who left is shown")
	}
	if _, ok := s.histories[legacyKey(oldCode, "long/gone")]; ok {
		t.Error("who left long ago is remembered")
	}
}

func TestSubscriptionsTornAtAnyByteAreSetAsideAndTakenFromTheCopy(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	s := w.tell(dir)
	noted(t, s, "one", "", happening{At: noon, What: subscribed})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, subscriptionsName))
	if err != nil {
		t.Fatal(err)
	}
	copied := func(yield func(*policy.License) bool) {
		yield(&policy.License{Key: legacyKey(oldCode, "one"), Product: "old", Customer: "one", Starts: noon})
	}
	for cut := 0; cut < len(whole); cut += 1 + len(whole)/50 {
		torn := t.TempDir()
		if err := os.WriteFile(filepath.Join(torn, subscriptionsName), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := w.tell(torn)
		if !s.file.lost && len(s.histories) != 1 { // bbolt's last pages are empty: without them all of it is there
			t.Fatalf("cut at %d: %v", cut, s.histories)
		}
		if err := s.Restore(map[string]policy.Product{"old": metered()}, copied); err != nil {
			t.Fatal(err)
		}
		if got := subscribers(t, s, policy.Subject{Kind: policy.SubjectCustomer, ID: "one"}); len(got) != 1 {
			t.Fatalf("cut at %d: got %v", cut, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubscriptionsAreConfirmedOnlyWhileMessagesComeThrough(t *testing.T) {
	w := newWorld(t)
	s := w.tell(t.TempDir())
	swept := func() (err error) {
		for _, err = range s.Subscribers("old", metered()).Licenses(t.Context(), policy.Subject{}) {
			break
		}
		return err
	}
	if swept() == nil {
		t.Error("confirmed before AWS has answered")
	}
	if err := w.Clock.Settle(t.Context()); err != nil || swept() != nil {
		t.Errorf("not confirmed: %v, %v", err, swept())
	}
	s.heard = func() error { return fmt.Errorf("queue") }
	if swept() == nil {
		t.Error("confirmed while a queue can't be read")
	}
}

// rented is weir's memory of such a listing, fed by SNS through SQS; it ends with stop.
func (w *world) rented(dir string) (c *cache.Cache, gate *cache.Gate, stop func()) {
	w.t.Helper()
	cfg := shopPolicy()
	old := metered()
	old.Plan, old.Quantities = "basic", policy.QuantitiesInteger
	cfg.Products = map[string]policy.Product{"old": old}
	cfg.Routes = []policy.Route{{Name: "old", Product: "old", Match: policy.Match{Path: "/old"}, Mode: "enforce"}}
	p, err := policy.Compile(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	told, err := w.OpenSubscriptions(dir, cfg.Products)
	if err != nil {
		w.t.Fatal(err)
	}
	o := cache.Options{Updates: cache.Updates{Sweep: 24 * time.Hour}, Policy: cfg, BackOff: time.Second}
	c, err = cache.New(o, p, map[string]cache.Source{"old": told.Subscribers("old", old)}, dir, func(*policy.License) policy.Counter { return nil },
		w.Clock.Now, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	if gate, err = cache.NewGate(c, cfg.Routes, prometheus.NewRegistry()); err != nil {
		w.t.Fatal(err)
	}
	var feeds struct{ SNS struct{ Queue string } }
	w.control("GET", "feeds", "", &feeds)
	stopCache, stopQueue := run(w.t, c.Run), run(w.t, w.Queue(feeds.SNS.Queue, cfg.Products, w.t.TempDir(), c.Hint).Run)
	stop = sync.OnceFunc(func() {
		stopQueue()
		stopCache()
		c.Close()
		if err := told.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return c, gate, stop
}

func TestSubscribersOfALegacyListingAreServedAsSNSTells(t *testing.T) {
	w := newWorld(t)
	if err := w.Clock.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.control("PUT", "products/"+oldCode, `{"id": "prod-oldlisting01", "model": "subscription", "agreements": "legacy", "dimensions": [{"key": "calls", "types": ["ExternallyMetered"]}]}`, nil)
	w.control("PUT", "feeds", `{"sns": {"queue": "weir"}, "duplicate": 0.5, "reorder": true, "seed": 1}`, nil)
	dir := t.TempDir()
	c, gate, stop := w.rented(dir)
	decide := func(customer string) policy.Reason {
		return gate.Decide(t.Context(), &policy.Request{
			Method: "GET", Path: "/old", Subject: policy.Subject{Kind: policy.SubjectCustomer, ID: customer}, Attributes: nothing{},
		}).Reason
	}
	gets := func(customer string, want policy.Reason) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s: %s", customer, want), func() bool { return decide(customer) == want })
	}
	eventually(t, "swept", func() bool { return len(c.Ready()) == 0 })
	if got := decide("stranger"); got != policy.LicenseMissing {
		t.Errorf("a stranger gets %s", got)
	}
	stays := w.buy(oldCode, "111122223333", "")
	goes := w.buy(oldCode, "444455556666", "")
	gets(stays.CustomerIdentifier, policy.Allowed)
	gets(goes.CustomerIdentifier, policy.Allowed)
	late := time.Now().UTC().Format(time.RFC3339)
	w.pass(time.Minute)
	w.control("POST", "licenses/"+goes.ID+"/cancel", "", nil)
	gets(goes.CustomerIdentifier, policy.LicenseEnded)

	stop()
	_, gate, _ = w.rented(dir)
	before := w.counter("weir_updates_total", map[string]string{"feed": "sns-sqs"})
	w.control("POST", "notify", fmt.Sprintf(`{"feed": "sns-sqs", "raw": true, "body": {"Type": "Notification", "MessageId": "m", "TopicArn": "", "Timestamp": %q, "Message": %q}}`,
		late, fmt.Sprintf(`{"action": "subscribe-success", "customer-identifier": %q, "product-code": %q}`, goes.CustomerIdentifier, oldCode)), nil)
	eventually(t, "the late message is taken", func() bool {
		return w.counter("weir_updates_total", map[string]string{"feed": "sns-sqs"}) > before
	})
	if got := decide(goes.CustomerIdentifier); got != policy.LicenseEnded {
		t.Errorf("a late subscribe-success: got %s", got)
	}
	gets(stays.CustomerIdentifier, policy.Allowed)
}

func TestARegistrationMakesASubscriberKnownAndRevivesNobody(t *testing.T) {
	w := newWorld(t)
	w.control("PUT", "products/"+oldCode, `{"id": "prod-oldlisting01", "model": "subscription", "agreements": "legacy"}`, nil)
	s := w.tell(t.TempDir())
	b := w.buy(oldCode, "111122223333", "")
	token := w.token(b.ID, "")
	resolve := func() {
		t.Helper()
		if _, err := w.Registrations(map[string]policy.Product{"old": metered()}).Resolve(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	resolve()
	who := policy.Subject{Kind: policy.SubjectAccount, ID: "111122223333"}
	if got := subscribers(t, s, who); !slices.Equal(got, []string{b.CustomerIdentifier}) {
		t.Errorf("after the registration: %v", got)
	}
	noted(t, s, b.CustomerIdentifier, "", happening{At: w.Clock.Now().Add(time.Second), What: leaving})
	resolve()
	if got := subscribers(t, s, who); len(got) != 0 {
		t.Errorf("a token posted after the end revives %v", got)
	}
}
