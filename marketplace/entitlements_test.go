package marketplace

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// all collects a read.
func all(ctx context.Context, e *Entitlements, subject policy.Subject) (licenses []policy.License, err error) {
	for l, oops := range e.Licenses(ctx, subject) {
		if oops != nil {
			return licenses, oops
		}
		licenses = append(licenses, l)
	}
	return licenses, nil
}

func TestEntitlementsAreGroupedByLicenseOverAllPages(t *testing.T) {
	w := newWorld(t)
	want := map[policy.Key]string{}
	for i := range 20 {
		account := fmt.Sprintf("%012d", 111122220000+i)
		b := w.buy(acmeCode, account, `{"dimension": "basic", "value": 1}, {"dimension": "seats", "value": 7}`)
		want[policy.Key(b.LicenseArn)] = account
	}
	licenses, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[policy.Key]string{}
	for _, l := range licenses {
		got[l.Key] = l.Account
		if l.Product != "acme" || len(l.Entitlements) != 2 || l.Customer != "" {
			t.Errorf("got %+v", l)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.IsSortedFunc(licenses, func(a, b policy.License) int { return strings.Compare(string(a.Key), string(b.Key)) }) {
		t.Error("licenses are not in the order of their keys")
	}
	if pages := w.calls("GetEntitlements"); pages != 2 {
		t.Errorf("read %d pages, want 2", pages)
	}
	if got := w.requests("GetEntitlements", "ok"); got != 2 {
		t.Errorf("counted %v requests, want 2", got)
	}
}

func TestEntitlementKeepsItsValueAndExpiry(t *testing.T) {
	w := newWorld(t)
	expires := time.Now().Add(48 * time.Hour).Truncate(time.Second).UTC()
	tests := []struct {
		json string
		want policy.Value
	}{
		{`5`, policy.Value{Kind: policy.ValueInteger, Integer: 5}},
		{`2.5`, policy.Value{Kind: policy.ValueDecimal, Decimal: 2.5}},
		{`true`, policy.Value{Kind: policy.ValueBoolean, Boolean: true}},
		{`"Enabled"`, policy.Value{Kind: policy.ValueText, Text: "Enabled"}},
	}
	for _, tt := range tests {
		b := w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": `+tt.json+`, "expires": "`+expires.Format(time.RFC3339)+`"}`)
		got, err := w.Entitlements("acme", testProducts()["acme"]).License(t.Context(), policy.Key(b.LicenseArn))
		if err != nil {
			t.Fatal(err)
		}
		want := policy.License{
			Key: policy.Key(b.LicenseArn), Product: "acme", Account: "111122223333",
			Entitlements: []policy.Entitlement{{Dimension: "basic", Value: tt.want, Expires: expires}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	licenses, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{Kind: policy.SubjectAccount, ID: "111122223333"})
	if err != nil || len(licenses) != len(tests) {
		t.Errorf("the account holds %d licenses, %v; want %d", len(licenses), err, len(tests))
	}
	others, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{Kind: policy.SubjectAccount, ID: "999999999999"})
	if err != nil || len(others) != 0 {
		t.Errorf("a stranger holds %d licenses, %v; want none", len(others), err)
	}
}

func TestLegacyLicenseIsNamedByProductCodeAndCustomer(t *testing.T) {
	w := newWorld(t)
	b := w.buy(oldCode, "111122223333", `{"dimension": "basic", "value": 1}`)
	if b.CustomerIdentifier == "" {
		t.Fatal("the emulator gave no customer identifier")
	}
	source := w.Entitlements("old", testProducts()["old"])
	want := policy.Key(oldCode + "/" + b.CustomerIdentifier)
	got, err := source.License(t.Context(), want)
	if err != nil || got.Key != want || got.Customer != b.CustomerIdentifier {
		t.Errorf("got %+v, %v", got, err)
	}
	licenses, err := all(t.Context(), source, policy.Subject{Kind: policy.SubjectCustomer, ID: b.CustomerIdentifier})
	if err != nil || len(licenses) != 1 || licenses[0].Key != want {
		t.Errorf("got %+v, %v", licenses, err)
	}
}

func TestLicenseWithoutEntitlementsIsNotFound(t *testing.T) {
	w := newWorld(t)
	products := testProducts()
	for _, tt := range []struct {
		product string
		key     policy.Key
	}{
		{"acme", "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000009"},
		{"old", policy.Key(oldCode + "/nobody")},
		{"old", "otherproductcode/somebody"},
	} {
		_, err := w.Entitlements(tt.product, products[tt.product]).License(t.Context(), tt.key)
		if !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", tt.key, err)
		}
	}
	if _, err := all(t.Context(), w.Entitlements("acme", products["acme"]), policy.Subject{Kind: policy.SubjectTenant, ID: "initech"}); err == nil {
		t.Error("AWS answered about a tenant of the seller's")
	}
}

// pages is a GetEntitlements that gives these pages in their order, and then the last one again.
func pages(t *testing.T, pages ...cbor.Map) *world {
	var next atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		page := pages[min(int(next.Add(1)), len(pages))-1]
		w.Header().Set("Content-Type", "application/cbor")
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		_, _ = w.Write(cbor.Encode(page))
	}))
	t.Cleanup(server.Close)
	return connectTo(t, server.URL)
}

func entitled(members ...string) cbor.Map {
	m := cbor.Map{"Value": cbor.Map{"IntegerValue": cbor.Uint(1)}, "Dimension": cbor.String("basic")}
	for i := 0; i+1 < len(members); i += 2 {
		m[members[i]] = cbor.String(members[i+1])
	}
	return m
}

func TestEmptyPageMayCarryAToken(t *testing.T) {
	w := pages(t,
		cbor.Map{"Entitlements": cbor.List{}, "NextToken": cbor.String("one")},
		cbor.Map{"NextToken": cbor.String("two")},
		cbor.Map{"Entitlements": cbor.List{entitled("LicenseArn", "arn:aws:license-manager::294406891311:license:l-1", "CustomerIdentifier", "")}, "NextToken": cbor.String("")},
	)
	licenses, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{})
	if err != nil || len(licenses) != 1 {
		t.Errorf("got %+v, %v; want the license of the third page", licenses, err)
	}
}

func TestRepeatedPageTokenIsAnError(t *testing.T) {
	full := cbor.List{entitled("LicenseArn", "arn:aws:license-manager::294406891311:license:l-1")}
	w := pages(t,
		cbor.Map{"Entitlements": full, "NextToken": cbor.String("one")},
		cbor.Map{"Entitlements": full, "NextToken": cbor.String("two")},
		cbor.Map{"Entitlements": full, "NextToken": cbor.String("one")},
	)
	licenses, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{})
	if err == nil || len(licenses) != 0 {
		t.Errorf("got %+v, %v; want nothing but an error, since a license may have been on any page", licenses, err)
	}
}

func TestEntitlementWithoutLicenseMakesTheReadIncomplete(t *testing.T) {
	list := cbor.List{
		entitled("LicenseArn", "arn:aws:license-manager::294406891311:license:l-1", "CustomerIdentifier", ""),
		entitled("LicenseArn", "", "CustomerIdentifier", "c1"),
	}
	for product, cure := range map[string]string{"acme": "agreements: legacy", "old": "agreements: concurrent"} {
		w := pages(t, cbor.Map{"Entitlements": list})
		licenses, err := all(t.Context(), w.Entitlements(product, testProducts()[product]), policy.Subject{})
		if len(licenses) != 1 || err == nil || !strings.Contains(err.Error(), cure) {
			t.Errorf("%s: got %+v, %v; want one license and an error with the cure", product, licenses, err)
		}
	}
}

func TestDimensionThatComesTwiceCountsOnce(t *testing.T) {
	one := entitled("LicenseArn", "arn:aws:license-manager::294406891311:license:l-1")
	w := pages(t, cbor.Map{"Entitlements": cbor.List{one}, "NextToken": cbor.String("one")}, cbor.Map{"Entitlements": cbor.List{one}})
	licenses, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{})
	if err != nil || len(licenses) != 1 || len(licenses[0].Entitlements) != 1 {
		t.Errorf("got %+v, %v", licenses, err)
	}
}

func TestReadsAreRetriedWithinTheQuota(t *testing.T) {
	w := newWorld(t)
	w.control("POST", "faults", `{"operation": "GetEntitlements", "kind": "internal"}`, nil)
	w.control("POST", "faults", `{"operation": "GetEntitlements", "kind": "throttle"}`, nil)
	if _, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{}); err != nil {
		t.Errorf("two failures in a row were not retried: %v", err)
	}
	for outcome, want := range map[string]float64{"ambiguous": 1, "throttled": 1, "ok": 1} {
		if got := w.requests("GetEntitlements", outcome); got != want {
			t.Errorf("%s: counted %v, want %v", outcome, got, want)
		}
	}
}

func TestSweepNeverDelaysAHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := NewLimits()
		ctx, cancel := context.WithCancel(t.Context())
		swept := make(chan int)
		for range 4 { // four products are swept at once
			go func() {
				n := 0
				for limits.read(ctx, true) == nil {
					n++
				}
				swept <- n
			}()
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			asked := time.Now()
			if err := limits.read(ctx, false); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(asked); waited > 100*time.Millisecond {
				t.Errorf("a hint waited %v", waited)
			}
		}
		took := 100 * 100 * time.Millisecond
		cancel()
		total := 0
		for range 4 {
			total += <-swept
		}
		if most := int(took.Seconds())*readsPerSecond/2 + 20; total > most || total < most/3 {
			t.Errorf("%d reads of sweeps in about %v, want at most %d", total, took, most)
		}
	})
}

func TestALookUpWaitsForNoNotificationAndNoSecondExceedsTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := NewLimits()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var mu sync.Mutex
		var left []time.Time
		read := func(ctx context.Context, sweep bool) {
			for limits.read(ctx, sweep) == nil {
				mu.Lock()
				left = append(left, time.Now())
				mu.Unlock()
			}
		}
		for range 50 { // a burst of notifications, and sweeps
			go read(ctx, false)
			go read(ctx, true)
		}
		time.Sleep(3 * time.Second)
		begun := time.Now()
		for range readsPerSecond / 4 {
			if err := limits.read(cache.ForLookUp(ctx), false); err != nil {
				t.Error(err)
			}
			mu.Lock()
			left = append(left, time.Now())
			mu.Unlock()
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("strangers waited %v", waited)
		}
		for range 10 {
			go read(cache.ForLookUp(ctx), false)
		}
		<-ctx.Done()
		synctest.Wait()
		slices.SortFunc(left, time.Time.Compare)
		for i := readsPerSecond; i < len(left); i++ {
			if left[i].Sub(left[i-readsPerSecond]) <= time.Second {
				t.Fatalf("%d reads in %v", readsPerSecond+1, left[i].Sub(left[i-readsPerSecond]))
			}
		}
		if len(left) < 9*(readsPerSecond-2) {
			t.Errorf("only %d reads in 10 s", len(left))
		}
	})
}

func TestLimitThatWouldOutlastItsCallFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := NewLimits()
		for range 50 {
			go func() { _ = limits.read(t.Context(), true) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if err := limits.read(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("waited %v in vain", waited)
		}
		time.Sleep(time.Minute)
	})
}
