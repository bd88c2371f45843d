package marketplace

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

// contract is a listing with contracts.
func contract() policy.Product { return testProducts()["acme"] }

// dated is a license of a contract with that date.
func dated(key policy.Key, expires time.Time) policy.License {
	return policy.License{Key: key, Product: "acme", Account: buyer, Entitlements: []policy.Entitlement{{Dimension: "basic", Expires: expires}}}
}

// renewalsOf are what the licenses say of their renewal.
func renewalsOf(licenses []policy.License) map[policy.Key]policy.Renewal {
	known := map[policy.Key]policy.Renewal{}
	for _, l := range licenses {
		known[l.Key] = l.Renewal
	}
	return known
}

func TestWhatFollowsADateThatHasPassedIsAskedOfTheAgreement(t *testing.T) {
	now := time.Now()
	past := now.Add(-time.Hour)
	for name, tt := range map[string]struct {
		agreement agreed
		want      policy.Renewal
	}{
		"renewed":              {agreed{license: arn1, ends: past, behavior: "RENEW"}, policy.RenewalDue},
		"replaced":             {agreed{license: arn1, ends: past, behavior: "REPLACE"}, policy.RenewalDue},
		"expires":              {agreed{license: arn1, ends: past, behavior: "EXPIRE"}, policy.RenewalNone},
		"without an end":       {agreed{license: arn1}, policy.RenewalUnknown},
		"expires a bit later":  {agreed{license: arn1, ends: now.Add(time.Hour), behavior: "EXPIRE"}, policy.RenewalNone},
		"of another license":   {agreed{license: arn2, ends: past, behavior: "RENEW"}, policy.RenewalUnknown},
		"cancelled":            {agreed{license: arn1, ends: past, behavior: "RENEW", status: "CANCELLED"}, policy.RenewalUnknown},
		"AWS does not say how": {agreed{license: arn1, ends: past}, policy.RenewalUnknown},
		"has no end":           {agreed{license: arn1}, policy.RenewalUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			tt.agreement.account = buyer
			w, _ := newAgreementAPI(t, tt.agreement, agreed{account: buyer, license: arn3, ends: now.Add(time.Hour), behavior: "RENEW"})
			for _, subject := range []policy.Subject{{}, accountOf(buyer), {Kind: policy.SubjectLicense, ID: arn1}} {
				licenses := []policy.License{dated(arn1, past), dated(arn3, now.Add(time.Hour))}
				w.renewals(contract()).tell(t.Context(), subject, licenses)
				want := map[policy.Key]policy.Renewal{arn1: tt.want, arn3: policy.RenewalUnknown}
				if diff := cmp.Diff(want, renewalsOf(licenses)); diff != "" {
					t.Errorf("read of %v (-want +got):\n%s", subject, diff)
				}
			}
		})
	}
}

func TestNothingIsAskedBeforeADateHasPassed(t *testing.T) {
	w, api := newAgreementAPI(t)
	w.renewals(contract()).tell(t.Context(), policy.Subject{}, []policy.License{dated(arn1, time.Now().Add(time.Hour)), dated(arn2, time.Time{})})
	legacy := contract()
	legacy.Agreements = policy.AgreementsLegacy // their agreements name no license
	w.renewals(legacy).tell(t.Context(), policy.Subject{}, []policy.License{dated(arn1, time.Now().Add(-time.Hour))})
	if asked := api.asked(); len(asked) != 0 {
		t.Errorf("asked %v", asked)
	}
}

func TestASweepAsksOnlyForAgreementsAtTheirEnd(t *testing.T) {
	w, api := newAgreementAPI(t)
	w.renewals(contract()).tell(t.Context(), policy.Subject{}, []policy.License{dated(arn1, time.Now().Add(-time.Hour))})
	asked := api.asked()
	if len(asked) != 1 || asked[0]["BeforeEndTime"] == "" || asked[0]["Status"] != "ACTIVE" {
		t.Errorf("asked %v, want once for what ends", asked)
	}
}

func TestRefusalIsToldOnceAndTriedAgainAfterAnHour(t *testing.T) {
	past := time.Now().Add(-time.Minute)
	w, api := newAgreementAPI(t, agreed{license: arn1, account: buyer, ends: past, behavior: "RENEW"})
	api.failure = "AccessDeniedException"
	tell := func() policy.Renewal {
		licenses := []policy.License{dated(arn1, past)}
		w.renewals(contract()).tell(t.Context(), accountOf(buyer), licenses)
		return licenses[0].Renewal
	}
	for range 3 {
		if got := tell(); got != policy.RenewalUnknown {
			t.Errorf("got %d of an API that refuses", got)
		}
	}
	if n := len(api.asked()); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	w.Clock.offset.Add(int64(59 * time.Minute))
	tell()
	w.Clock.offset.Add(int64(time.Minute))
	tell()
	if n := len(api.asked()); n != 2 {
		t.Errorf("asked %d times within an hour, want twice", n)
	}
	if n := strings.Count(w.log.String(), "aws-marketplace:SearchAgreements"); n < 1 || strings.Count(w.log.String(), "level=WARN") != 1 {
		t.Errorf("told %d times, want one warning with the action:\n%s", n, w.log)
	}
	api.set(func() { api.failure = "" })
	w.Clock.offset.Add(int64(time.Hour))
	if got := tell(); got != policy.RenewalDue || !strings.Contains(w.log.String(), "AWS allows a read again") {
		t.Errorf("got %d once it is allowed:\n%s", got, w.log)
	}
}

func TestAgreementAPIThatFailsLeavesARenewalUnknown(t *testing.T) {
	past := time.Now().Add(-time.Minute)
	w, api := newAgreementAPI(t, agreed{license: arn1, account: buyer, ends: past, behavior: "RENEW"})
	api.failure = "ValidationException"
	licenses := []policy.License{dated(arn1, past)}
	w.renewals(contract()).tell(t.Context(), accountOf(buyer), licenses)
	if licenses[0].Renewal != policy.RenewalUnknown {
		t.Errorf("got %d", licenses[0].Renewal)
	}
	api.set(func() { api.failure = "" })
	w.renewals(contract()).tell(t.Context(), accountOf(buyer), licenses)
	if licenses[0].Renewal != policy.RenewalDue {
		t.Error("an error that is no refusal kept the API from being asked again")
	}
}
