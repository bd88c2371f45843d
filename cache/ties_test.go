package cache

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

const arn3 = policy.Key("arn:aws:license-manager::294406891311:license:l-3")

// tie ties a tenant, which has to work.
func (w *weir) tie(t *testing.T, id string, what Tie) Tenant {
	t.Helper()
	made, err := w.Tie(t.Context(), id, what)
	if err != nil {
		t.Fatalf("tie %s: %v", id, err)
	}
	return made
}

// claimOf is a claim of a license of stranger's, good for the hour.
func claimOf(id string, key policy.Key) *Claim {
	return &Claim{ID: id, Until: time.Now().Add(time.Hour), Product: "acme", Account: stranger, License: key}
}

// end ends a license at AWS and tells of it.
func (w *weir) end(t *testing.T, key policy.Key, account string) {
	t.Helper()
	w.source.drop(key)
	time.Sleep(time.Second)
	w.hint(t, Hint{Product: "acme", License: key, Account: account, At: time.Now(), Ended: true})
}

// keys are the licenses that a tenant holds.
func (w *weir) keys(id string) []string {
	made, _ := w.Tenant(id)
	held := []string{}
	for _, l := range made.Licenses {
		held = append(held, lastPart(l.License))
	}
	return held
}

func (w *weir) wantsKeys(t *testing.T, id string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), w.keys(id)); diff != "" {
		t.Errorf("licenses of %s, -want +got:\n%s", id, diff)
	}
}

func TestTieReadsAtOnceWhatItNames(t *testing.T) {
	tests := map[string]struct {
		tie   Tie
		asked string
	}{
		"an account":  {Tie{Account: stranger}, "account " + stranger},
		"a product's": {Tie{Account: stranger, Product: "acme"}, "account " + stranger},
		"a license":   {Tie{License: arn1}, "license " + string(arn1)},
		"a claim":     {Tie{Claim: claimOf("c", arn1)}, "account " + stranger},
	}
	for name, tt := range tests {
		bubble(t, name, func(t *testing.T) {
			w := run(t, &aws{}, t.TempDir())
			w.source.put(held(arn1, stranger, "enterprise"))
			w.source.forgetCalls()
			made := w.tie(t, "hooli", tt.tie)
			if got := w.source.asked(tt.asked); got != 1 {
				t.Errorf("%s: asked %d times", tt.asked, got)
			}
			if made.Account != stranger || len(made.Licenses) != 1 || made.Licenses[0].Plan != "enterprise" {
				t.Errorf("got %+v", made)
			}
			w.wants(t, "hooli", "/sso", policy.Allowed)
		})
	}
}

func TestLegacyCustomerIsTiedByItsIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		l := held("code/cust-7", "", "basic")
		l.Customer = "cust-7"
		w.source.put(l)
		if got := w.tie(t, "named", Tie{Customer: "cust-7"}); got.Customer != "cust-7" || got.Account != "" {
			t.Errorf("got %+v", got)
		}
		claim := &Claim{ID: "c", Until: time.Now().Add(time.Hour), Product: "acme", Account: stranger, Customer: "cust-7", License: l.Key}
		if got := w.tie(t, "claimed", Tie{Claim: claim}); got.Customer != "cust-7" {
			t.Errorf("by a claim: got %+v", got)
		}
		w.wants(t, "claimed", "/any", policy.Allowed)
	})
}

func TestRefusedTieLeavesNothing(t *testing.T) {
	tests := map[string]struct {
		id    string
		tie   Tie
		cause error // nil: a TieError
	}{
		"nothing":                 {"x", Tie{}, nil},
		"two":                     {"x", Tie{Account: initech, Plan: "basic"}, nil},
		"a bad id":                {"x y", Tie{Account: initech}, nil},
		"no id":                   {"", Tie{Plan: "basic"}, nil},
		"a bad account":           {"x", Tie{Account: "123"}, nil},
		"a bad license":           {"x", Tie{License: "arn:\n"}, nil},
		"a bad customer":          {"x", Tie{Customer: "a b"}, nil},
		"no plan of ours":         {"x", Tie{Plan: "gold"}, nil},
		"no product of ours":      {"x", Tie{Account: initech, Product: "gold"}, nil},
		"a claim of no product":   {"x", Tie{Claim: &Claim{ID: "c", Product: "gold", Account: initech}}, nil},
		"a license and a product": {"x", Tie{License: arn1, Product: "acme"}, nil},
		"a fixed tenant":          {"bigcorp", Tie{Plan: "basic"}, ErrFixed},
		"an unknown account":      {"x", Tie{Account: stranger}, ErrUnknownBuyer},
		"an unknown license":      {"x", Tie{License: arn3}, ErrUnknownBuyer},
		"another's license":       {"x", Tie{License: arn2}, ErrPinned},
		"another's claim":         {"x", Tie{Claim: claimOf("used", arn2)}, ErrClaimUsed},
		"another's claimed pin":   {"x", Tie{Claim: claimOf("new", arn2)}, ErrPinned},
	}
	for name, tt := range tests {
		bubble(t, name, func(t *testing.T) {
			w := run(t, &aws{}, t.TempDir())
			w.source.put(held(arn1, initech, "basic"))
			w.source.put(held(arn2, "333344445555", "basic"))
			l := claimOf("used", arn2)
			l.Account = "333344445555"
			w.tie(t, "holder", Tie{Claim: l})
			w.tie(t, "holder", Tie{License: arn2})
			if tt.tie.Claim != nil && tt.tie.Claim.Account == stranger {
				tt.tie.Claim.Account, tt.tie.Claim.Until = "333344445555", l.Until
			}
			before := w.Snapshot()
			_, err := w.Tie(t.Context(), tt.id, tt.tie)
			var mistake *TieError
			if tt.cause == nil && !errors.As(err, &mistake) || tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("got %v, want %v", err, tt.cause)
			}
			if _, ok := w.Tenant("x"); ok {
				t.Error("the tenant is there")
			}
			if w.Snapshot().tenants != before.tenants || w.Snapshot().pins != before.pins {
				t.Error("something was changed")
			}
		})
	}
}

func TestSilenceOfAWSStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := run(t, &aws{}, dir)
		w.source.put(held(arn1, stranger, "basic"))
		w.source.fail(errors.New("throttled"))
		for name, tie := range map[string]Tie{"account": {Account: stranger}, "license": {License: arn1}, "claim": {Claim: claimOf("c", arn1)}} {
			if _, err := w.Tie(t.Context(), "hooli", tie); err == nil || errors.Is(err, ErrUnknownBuyer) {
				t.Errorf("%s: got %v, want AWS's silence", name, err)
			}
		}
		if _, ok := w.Tenant("hooli"); ok || w.file.db != nil {
			t.Error("something was stored")
		}
		w.source.fail(nil)
		w.tie(t, "hooli", Tie{Claim: claimOf("c", arn1)}) // the claim is as good as before
	})
}

func TestClaimIsTakenBeforeAWSShowsItsLicense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.tie(t, "hooli", Tie{Claim: claimOf("c", arn1)})
		w.wants(t, "hooli", "/any", policy.LicenseMissing)
		w.source.put(held(arn1, stranger, "basic"))
		w.hint(t, Hint{Product: "acme", License: arn1, Account: stranger})
		w.wants(t, "hooli", "/any", policy.Allowed)
	})
}

func TestClaimTiesOneTenantAndPinsForTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.source.put(held(arn2, stranger, "enterprise"))
		first := claimOf("1", arn1)
		w.tie(t, "one", Tie{Claim: first})
		w.wantsKeys(t, "one", "l-1", "l-2")
		w.tie(t, "two", Tie{Claim: claimOf("2", arn2)})
		w.wantsKeys(t, "one", "l-1")
		w.wantsKeys(t, "two", "l-2")
		w.wants(t, "one", "/sso", policy.FeatureMissing)
		w.wants(t, "two", "/sso", policy.Allowed)
		if _, err := w.Tie(t.Context(), "two", Tie{Claim: first}); !errors.Is(err, ErrClaimUsed) {
			t.Errorf("the claim of another tenant: got %v", err)
		}
		w.tie(t, "one", Tie{Claim: first}) // a page that is loaded again
		w.tie(t, "one", Tie{Claim: claimOf("3", arn1)})
		w.wantsKeys(t, "one", "l-1")
		w.wantsKeys(t, "two", "l-2")
		w.source.put(held(arn3, stranger, "basic"))
		w.tie(t, "two", Tie{Claim: claimOf("4", arn3)}) // a second agreement for the same tenant
		w.wantsKeys(t, "two", "l-2", "l-3")
		w.wantsKeys(t, "one", "l-1")
	})
}

func TestClaimsOfTwoProductsTieOneTenantToBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		other := w.sources["other"].(*aws)
		other.put(held(arn2, stranger, "basic"))
		second := claimOf("2", arn2)
		second.Product = "other"
		w.tie(t, "hooli", Tie{Claim: claimOf("1", arn1)})
		w.wants(t, "hooli", "/other", policy.LicenseMissing)
		w.tie(t, "hooli", Tie{Claim: second})
		w.wants(t, "hooli", "/any", policy.Allowed)
		w.wants(t, "hooli", "/other", policy.Allowed)
	})
}

func TestDirectCustomerIsRegisteredAtRunTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := run(t, &aws{}, dir)
		w.source.forgetCalls()
		w.tie(t, "hooli", Tie{Plan: "basic"})
		began, _ := w.Snapshot().License("direct:hooli")
		w.wants(t, "hooli", "/any", policy.Allowed)
		w.wants(t, "hooli", "/sso", policy.FeatureMissing)
		if got := w.source.asked(""); got != 0 {
			t.Errorf("AWS was asked %d times", got)
		}
		time.Sleep(time.Hour)
		if got := w.tie(t, "hooli", Tie{Plan: "enterprise", Product: "acme"}); got.Plan != "enterprise" || len(got.Licenses) != 1 || got.Licenses[0].License != "direct:hooli" {
			t.Errorf("got %+v", got)
		}
		w.wants(t, "hooli", "/sso", policy.Allowed)
		w.wants(t, "hooli", "/other", policy.LicenseMissing)
		w.restart(t)
		if l, ok := w.Snapshot().License("direct:hooli"); !ok || !l.Starts.Equal(began.Starts) {
			t.Errorf("after a plan change and a restart it began %v, at first %s", l, began.Starts)
		}
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "hooli", Tie{Account: stranger})
		if _, ok := w.Snapshot().License("direct:hooli"); ok {
			t.Error("the direct license stays after the customer bought through AWS")
		}
	})
}

func TestUntiedTenantHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "one", Tie{Account: stranger})
		w.tie(t, "two", Tie{License: arn1})
		w.tie(t, "direct", Tie{Plan: "basic"})
		w.wants(t, "one", "/any", policy.LicenseMissing)
		w.source.forgetCalls()
		for _, id := range []string{"two", "direct", "two", "nobody"} {
			if err := w.Untie(t.Context(), id); err != nil {
				t.Errorf("untie %s: %v", id, err)
			}
			w.wants(t, id, "/any", policy.LicenseMissing)
		}
		w.wants(t, "one", "/any", policy.Allowed) // what was pinned is its buyer's again
		if err := w.Untie(t.Context(), "initech"); !errors.Is(err, ErrFixed) {
			t.Errorf("a fixed tenant: got %v", err)
		}
		if got := w.source.asked(""); got != 0 {
			t.Errorf("AWS was asked %d times", got)
		}
		w.restart(t)
		w.wants(t, "two", "/any", policy.LicenseMissing)
	})
}

func TestTenantOfTheConfigurationGoesBeforeARegisteredOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := run(t, &aws{}, dir)
		w.tie(t, "hooli", Tie{Plan: "basic"})
		w.halt(t)
		fixed := open(t, &aws{}, dir, func(o *Options) { o.Policy.Tenants["hooli"] = policy.Tenant{Plan: "enterprise"} })
		fixed.wants(t, "hooli", "/sso", policy.Allowed)
		if got, _ := fixed.Tenant("hooli"); !got.Fixed {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTenantsAreListedInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.tie(t, "aaa", Tie{Plan: "basic"})
		var got []string
		for after, more := "", true; more; {
			var page []Tenant
			page, more = w.Tenants(after, 2)
			for _, each := range page {
				got = append(got, each.ID)
			}
			after = got[len(got)-1]
		}
		if want := "aaa bigcorp elsewhere initech legacy narrow"; strings.Join(got, " ") != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}
