package marketplace

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// tried makes a license that is a free trial.
func (w *world) tried(account, notify string) (b bought) {
	w.t.Helper()
	w.control("POST", "licenses"+notify, fmt.Sprintf(`{"product": %q, "account": %q, "trial": "P14D", "entitlements": [{"dimension": "basic", "value": 1}]}`,
		acmeCode, account), &b)
	return b
}

// trial waits until something is known of a license's trial.
func (s *shop) trial(key string) (told *policy.Trial) {
	s.t.Helper()
	eventually(s.t, "was told of a trial", func() bool {
		l, ok := s.cache.License(policy.Key(key))
		if ok {
			told = l.License.Trial
		}
		return told != nil
	})
	return told
}

func TestAFreeTrialIsKnownByTheTermsOfItsAgreement(t *testing.T) {
	w := newWorld(t)
	w.sell()
	s := w.open(true)
	tried := w.tried(buyer, "")
	paid := w.buy(acmeCode, "444455556666", `{"dimension": "basic", "value": 1}`)
	s.gets(buyer, "acme", policy.Allowed)
	w.passUntil("told of a trial", func() bool {
		l, ok := s.cache.License(policy.Key(tried.LicenseArn))
		return ok && l.License.Trial != nil
	})
	now := w.Clock.Now()
	told := s.trial(tried.LicenseArn)
	if !told.Free || told.Ends.Before(now.AddDate(0, 0, 14).Add(-time.Hour)) || told.Ends.After(now.AddDate(0, 0, 14)) {
		t.Errorf("got %+v, want a trial of 14 days", told)
	}
	if told := s.trial(paid.LicenseArn); told.Free {
		t.Errorf("got %+v of an agreement without a trial", told)
	}
	if n := w.calls("GetAgreementTerms"); n != 2 {
		t.Errorf("terms were asked for %d times, want once for each agreement", n)
	}
}

func TestTermsThatIAMDeniesAreToldOnceAndDecideNothing(t *testing.T) {
	w := newWorld(t)
	w.sell()
	w.control("POST", "faults", `{"operation": "GetAgreementTerms", "kind": "error", "code": "AccessDeniedException", "count": -1}`, nil)
	s := w.open(true)
	w.tried(buyer, "")
	w.tried("444455556666", "")
	s.gets("444455556666", "acme", policy.Allowed)
	w.passUntil("told of the refusal", func() bool { return w.calls("GetAgreementTerms") > 0 })
	s.gets(buyer, "acme", policy.Allowed)
	if n := w.calls("GetAgreementTerms"); n != 1 {
		t.Errorf("asked %d times what IAM denies, want once in an hour", n)
	}
}

func TestASwiftNotificationIsNotReadAgainByTheWatch(t *testing.T) {
	w := newWorld(t)
	w.sell()
	s := w.open(true)
	w.tried(buyer, "")
	s.gets(buyer, "acme", policy.Allowed)
	before := w.calls("GetEntitlements")
	w.passUntil("looked", func() bool { return w.calls("GetAgreementTerms") == 1 })
	if n := w.calls("GetEntitlements") - before; n != 0 {
		t.Errorf("%d more reads of what the event's read had shown", n)
	}
	w.tried("444455556666", "?notify=false") // its event is lost
	w.pass(time.Minute)
	s.gets("444455556666", "acme", policy.Allowed)
}

func TestSNSTellsOfAFreeTrialInOldListings(t *testing.T) {
	p := newParser(map[string]policy.Product{"old": testProducts()["old"]})
	for said, want := range map[string]*policy.Trial{
		`"true"`: {Free: true, Told: noon}, `" false"`: {Told: noon}, `"yes"`: nil, `true`: nil, `null`: nil, `{}`: nil,
	} {
		body := fmt.Sprintf(`{"action": "subscribe-success", "customer-identifier": "c1", "product-code": %q, "isFreeTrialTermPresent": %s}`, oldCode, said)
		got, err := p.parse([]byte(body), noon)
		if err != nil || !got.hint.Trial.Equal(want) {
			t.Errorf("%s: got %+v, %v, want %+v", said, got.hint, err, want)
		}
	}
}

func TestASubscriberIsInTrialAsItsLastSubscriptionSays(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	s := w.tell(dir)
	key := legacyKey(oldCode, "c1")
	tell := func(what, trial string, minute int) {
		event := at(minute, what, "")
		event.Trial = trial
		update := &update{hint: &cache.Hint{License: key}, event: &event}
		if _, err := update.effect(t.Context(), s, (&hinted{}).Hint); err != nil {
			t.Fatal(err)
		}
	}
	is := func(when string, want *policy.Trial) {
		t.Helper()
		l, err := s.Subscribers("old", metered()).License(t.Context(), key)
		if err != nil || !l.Trial.Equal(want) {
			t.Errorf("%s: got %+v, %v, want %+v", when, l.Trial, err, want)
		}
	}
	tell(subscribed, inTrial, 1)
	is("in its trial", &policy.Trial{Free: true, Told: at(1, "", "").At})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = w.tell(dir)
	is("after a restart", &policy.Trial{Free: true, Told: at(1, "", "").At})
	tell(leaving, noTrial, 3)
	tell(subscribed, "", 4)
	is("subscribed anew, and nothing said", nil)
	tell(subscribed, noTrial, 5)
	is("without a trial", &policy.Trial{Told: at(5, "", "").At})
}
