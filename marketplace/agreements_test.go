package marketplace

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	buyer = "111122223333"
	arn1  = "arn:aws:license-manager::294406891311:license:l-1"
	arn2  = "arn:aws:license-manager::294406891311:license:l-2"
	arn3  = "arn:aws:license-manager::294406891311:license:l-3"
)

// payg is a listing with pay as you go.
func payg() policy.Product {
	return policy.Product{
		Code: acmeCode, ID: acmeID, Model: policy.ModelSubscription, Plan: "basic", Agreements: policy.AgreementsConcurrent,
	}
}

// allOf collects a read.
func allOf(ctx context.Context, s cache.Source, subject policy.Subject) (licenses []policy.License, err error) {
	for l, oops := range s.Licenses(ctx, subject) {
		if oops != nil {
			return licenses, oops
		}
		licenses = append(licenses, l)
	}
	return licenses, nil
}

func accountOf(id string) policy.Subject {
	return policy.Subject{Kind: policy.SubjectAccount, ID: id}
}

func TestSubscriptionsAreTheAgreementsInForce(t *testing.T) {
	day := time.Now().UTC().Truncate(24 * time.Hour)
	w, api := newAgreementAPI(t,
		agreed{id: "agmt-3", account: "444455556666", license: arn2, starts: day.AddDate(0, 0, -1), ends: day.AddDate(0, 0, 30), behavior: "RENEW"},
		agreed{id: "agmt-2", account: buyer, license: arn1, starts: day.AddDate(0, 0, -2)},
		agreed{id: "agmt-0", account: buyer, license: arn3, starts: day.AddDate(0, 0, -3), status: "CANCELLED"},
		agreed{id: "agmt-1", account: buyer, license: arn1, starts: day.AddDate(-1, 0, 0)}, // renewed by agmt-2
	)
	got, err := allOf(t.Context(), w.Agreements("acme", payg()), policy.Subject{})
	want := []policy.License{
		{
			Key: arn2, Product: "acme", Account: "444455556666", Starts: day.AddDate(0, 0, -1), Renewal: policy.RenewalDue,
			Entitlements: []policy.Entitlement{{Expires: day.AddDate(0, 0, 30)}},
		},
		{Key: arn1, Product: "acme", Account: buyer, Starts: day.AddDate(0, 0, -2)},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	asked := map[string]string{
		"PartyType": "Proposer", "AgreementType": "PurchaseAgreement", "Status": "ACTIVE",
		"ResourceType": "SaaSProduct", "ResourceIdentifier": acmeID, "Sort": "StartTime DESCENDING",
	}
	if diff := cmp.Diff([]map[string]string{asked, asked}, api.asked()); diff != "" {
		t.Errorf("searches (-want +got):\n%s", diff)
	}
}

func TestSubscriptionsAreReadByLicenseAndByBuyer(t *testing.T) {
	began := time.Now().Add(-24 * time.Hour)
	w, api := newAgreementAPI(t, agreed{id: "agmt-1", account: buyer, license: arn1, starts: began}, agreed{id: "agmt-2", account: "444455556666", license: arn2, starts: began})
	source := w.Agreements("acme", payg())
	if l, err := source.License(t.Context(), arn2); err != nil || l.Key != arn2 || l.Account != "444455556666" {
		t.Errorf("got %+v, %v", l, err)
	}
	if held, err := allOf(t.Context(), source, accountOf(buyer)); err != nil || len(held) != 1 || held[0].Key != arn1 {
		t.Errorf("the buyer holds %+v, %v", held, err)
	}
	for _, key := range []policy.Key{arn3, acmeCode + "/customer"} {
		if _, err := source.License(t.Context(), key); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", key, err)
		}
	}
	if held, err := allOf(t.Context(), source, policy.Subject{Kind: policy.SubjectCustomer, ID: "c"}); err != nil || len(held) != 0 {
		t.Errorf("a customer identifier holds %+v, %v", held, err)
	}
	if n := len(api.asked()); n != 3 {
		t.Errorf("searched %d times, want 3", n)
	}
	if _, err := allOf(t.Context(), source, policy.Subject{Kind: policy.SubjectTenant, ID: "initech"}); err == nil {
		t.Error("AWS answered about a tenant of the seller's")
	}
}

func TestPagesOfAgreementsMayBeEmptyButNotRepeat(t *testing.T) {
	one := agreed{id: "agmt-1", account: buyer, license: arn1, starts: time.Now().Add(-time.Hour)}.summary()
	empty := func(token string) cbor.Map {
		return cbor.Map{"agreementViewSummaries": cbor.List{}, "nextToken": cbor.String(token)}
	}
	w, api := newAgreementAPI(t)
	api.pages = []cbor.Map{empty("a"), empty("b"), {"agreementViewSummaries": cbor.List{one}}}
	if got, err := allOf(t.Context(), w.Agreements("acme", payg()), policy.Subject{}); err != nil || len(got) != 1 {
		t.Errorf("got %+v, %v; want the license of the third page", got, err)
	}
	api.set(func() { api.pages = []cbor.Map{empty("a"), empty("b"), empty("a")} })
	if _, err := allOf(t.Context(), w.Agreements("acme", payg()), policy.Subject{}); err == nil {
		t.Error("a page token that came twice was no error")
	}
}

func TestAgreementWithoutLicenseMakesTheReadIncomplete(t *testing.T) {
	now := time.Now()
	w, _ := newAgreementAPI(t,
		agreed{id: "agmt-old", account: buyer, starts: now.AddDate(-1, 0, 0)},
		agreed{id: "agmt-1", account: buyer, license: arn1, starts: now.AddDate(-1, 0, 0)},
	)
	got, err := allOf(t.Context(), w.Agreements("acme", payg()), policy.Subject{})
	if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "agmt-old") || !strings.Contains(err.Error(), "concurrent agreements") {
		t.Errorf("got %+v, %v; want one license and an error with the cure", got, err)
	}
}

func TestAgreementThatIsJustBeingMadeIsNoLicenseYet(t *testing.T) {
	now := time.Now()
	w, _ := newAgreementAPI(t,
		agreed{id: "agmt-young", account: buyer, starts: now.Add(-time.Minute)},
		agreed{id: "agmt-ahead", account: buyer, license: arn1, starts: now.Add(24 * time.Hour)},
		agreed{id: "agmt-now", account: buyer, license: arn2, starts: now.Add(2 * time.Second)}, // clocks differ
	)
	got, err := allOf(t.Context(), w.Agreements("acme", payg()), policy.Subject{})
	if err != nil || len(got) != 1 || got[0].Key != arn2 {
		t.Errorf("got %+v, %v; want the license of agmt-now alone", got, err)
	}
}

func TestRefusedSearchNamesTheActionToAllow(t *testing.T) {
	w, api := newAgreementAPI(t)
	api.failure = "AccessDeniedException"
	_, err := allOf(t.Context(), w.Agreements("acme", payg()), policy.Subject{})
	if err == nil || !strings.Contains(err.Error(), "aws-marketplace:SearchAgreements") {
		t.Errorf("got %v", err)
	}
	if n := len(api.asked()); n != 1 {
		t.Errorf("a refusal was asked for %d times", n)
	}
}

func TestSearchesKeepToTheQuotaAndSweepsToHalfOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := NewLimits()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var swept, others atomic.Int32
		for range 3 {
			go func() {
				for limits.search(ctx, true) == nil {
					swept.Add(1)
				}
			}()
		}
		time.Sleep(10 * time.Second)
		if n := swept.Load(); n < 14 || n > 17 {
			t.Errorf("%d searches of sweeps in 10 s, want 15", n)
		}
		swept.Store(0)
		for range 3 {
			go func() {
				for limits.search(ctx, false) == nil {
					others.Add(1)
				}
			}()
		}
		time.Sleep(10*time.Second - time.Millisecond)
		if n := swept.Load() + others.Load(); n < 28 || n > 32 {
			t.Errorf("%d searches in 10 s, want 30: the rest is for look-ups", n)
		}
		if n := others.Load(); n < 14 {
			t.Errorf("%d searches of hints in 10 s, want at least the half", n)
		}
		cancel()
		synctest.Wait()
	})
}
