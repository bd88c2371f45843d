package policy

import (
	"slices"
	"testing"
	"time"
)

func TestTheHighestPlanIsAskedFirstAndTheFirstThatAllowsTakesTheUsage(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("both", license("a", "basic"), license("z", "enterprise"), license("b", "basic"))
	d := p.Decide(get("/v1/reports/1", "both"), m, now)
	if d.Plan != "enterprise" || m.counters[d.License].used[p.featureIndex["apiCalls"]] != 1 {
		t.Fatalf("got plan %s of %s", d.Plan, d.License)
	}
	// Two of one rank: the smaller key first, and the next one when its quota is used up.
	m.hold("two", license("b", "basic"), license("a", "basic"))
	var order []string
	for range 201 {
		d := p.Decide(get("/v1/reports/1", "two"), m, now)
		key := string(d.License)[len(d.License)-1:]
		if !d.Allowed() {
			key = "denied " + key
		}
		if len(order) == 0 || order[len(order)-1] != key {
			order = append(order, key)
		}
	}
	if want := []string{"a", "b", "denied a"}; !slices.Equal(order, want) {
		t.Errorf("licenses took usage in the order %v, want %v", order, want)
	}
}

func TestALiveLicenseIsAskedBeforeOneThatIsOver(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	old := license("a", "enterprise")
	old.Ended = now.Add(-time.Hour)
	m.hold("renewed", old, license("b", "basic"))
	if d := p.Decide(get("/v1/plain", "renewed"), m, now); d.Reason != Allowed || d.Plan != "basic" {
		t.Errorf("got %s with plan %s", d.Reason, d.Plan)
	}
	if d := p.Decide(get("/v1/sso", "renewed"), m, now); d.Reason != FeatureMissing || d.Plan != "basic" {
		t.Errorf("the denial is that of the license that lives: got %s with plan %s", d.Reason, d.Plan)
	}
}

func TestAddsOfAllLicensesCount(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	more := license("more", "extra_seats", "extra_calls")
	more.Entitlements[0].Value.Integer = 5
	more.Entitlements[1].Value = Value{Kind: ValueDecimal, Decimal: 2.9}
	support := license("b", "basic")
	m.hold("added", support, more)

	c := acme()
	c.Routes = []Route{{Name: "seats", Match: Match{Path: "/seats"}, Mode: "enforce", Requires: map[string]Requirement{"seats": {Number: ptr(int64(10))}}}}
	seats := compile(t, c)
	ms := newMemory(seats)
	ms.hold("added", support, more)
	ms.hold("alone", support)
	if d := seats.Decide(get("/seats", "added"), ms, now); d.Reason != Allowed {
		t.Errorf("5 + 5 seats: got %s", d.Reason)
	}
	if d := seats.Decide(get("/seats", "alone"), ms, now); d.Reason != FeatureMissing {
		t.Errorf("5 seats: got %s", d.Reason)
	}
	d := p.Decide(get("/v1/reports/1", "added"), m, now)
	if got := d.Quota.Terms.Included; got != 2100 {
		t.Errorf("100 calls and 2 x 1000 added: got %d included", got)
	}
	more.Ended = now
	if d := seats.Decide(get("/seats", "added"), ms, now); d.Reason != FeatureMissing {
		t.Errorf("a license that has ended adds nothing: got %s", d.Reason)
	}
}

func TestB06TermsSayWhenTheTermBeganWhateverThePeriod(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	l := license("monthly", "basic")
	m.hold("monthly", l)
	terms := p.Decide(get("/v1/reports/1", "monthly"), m, now).Quota.Terms
	if terms.Every == Term || !terms.Since.Equal(l.TermStarts) {
		t.Errorf("units counted by the %s are of the term that began %s, want %s", terms.Every, terms.Since, l.TermStarts)
	}
}

func TestALicenseWithoutAPlanOnlyAdds(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("seats", license("s", "extra_seats"))
	if d := p.Decide(get("/v1/plain", "seats"), m, now); d.Reason != LicenseMissing {
		t.Errorf("got %s, want license_missing", d.Reason)
	}
	if d := p.Decide(get("/v1/sso", "seats"), m, now); d.Reason != FeatureMissing || d.Feature != "sso" {
		t.Errorf("got %s of %s, want feature_missing of sso", d.Reason, d.Feature)
	}
}

func TestExpiryIsAMinimum(t *testing.T) {
	p := compile(t, acme())
	l := license("x", "basic")
	expiry := now.Add(time.Hour)
	l.Entitlements[0].Expires = expiry
	l.Read = now
	m := newMemory(p)
	m.hold("x", l)
	m.confirmed = now
	for _, tt := range []struct {
		name      string
		at        time.Time
		confirmed time.Time
		want      Reason
		state     State
	}{
		{"before", expiry.Add(-time.Second), now, Allowed, StateActive},
		{"at expiry, not read since", expiry, now, Allowed, StateGrace},
		{"read at expiry: AWS may not have renewed yet", expiry.Add(time.Minute), expiry, Allowed, StateGrace},
		{"read five minutes after", expiry.Add(6 * time.Minute), expiry.Add(5 * time.Minute), LicenseExpired, StateExpired},
		{"within grace", expiry.Add(23*time.Hour + 59*time.Minute), expiry.Add(2 * time.Minute), Allowed, StateGrace},
		{"after grace", expiry.Add(24 * time.Hour), expiry.Add(2 * time.Minute), LicenseExpired, StateExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.confirmed = tt.confirmed
			// The Holding was worked out long before: Decide sees that it no longer holds.
			if d := p.Decide(get("/v1/plain", "x"), m, tt.at); d.Reason != tt.want {
				t.Errorf("got %s, want %s", d.Reason, tt.want)
			}
			if got := p.LicenseState(l, tt.confirmed, tt.at); got != tt.state {
				t.Errorf("state: got %s, want %s", got, tt.state)
			}
		})
	}
}

func TestARenewalThatIsDueIsCutOnlyByTheGrace(t *testing.T) {
	p := compile(t, acme())
	expiry := now.Add(time.Hour)
	for _, tt := range []struct {
		name    string
		renewal Renewal
		at      time.Time
		want    Reason
	}{
		{"due, read long after", RenewalDue, expiry.Add(23 * time.Hour), Allowed},
		{"due, after the grace", RenewalDue, expiry.Add(24 * time.Hour), LicenseExpired},
		{"none", RenewalNone, expiry.Add(23 * time.Hour), LicenseExpired},
		{"not known", RenewalUnknown, expiry.Add(23 * time.Hour), LicenseExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := license("x", "basic")
			l.Entitlements[0].Expires, l.Renewal, l.Read = expiry, tt.renewal, tt.at
			m := newMemory(p)
			m.hold("x", l)
			m.confirmed = tt.at
			if d := p.Decide(get("/v1/plain", "x"), m, tt.at); d.Reason != tt.want {
				t.Errorf("got %s, want %s", d.Reason, tt.want)
			}
		})
	}
}

func TestALicenseWithoutDimensionsHasTheProductsPlanUntilItsDate(t *testing.T) {
	c := acme()
	acme := c.Products["acme"]
	acme.Model, acme.Plan = ModelSubscription, "basic"
	acme.Dimensions = map[string]Dimension{"calls_1k": acme.Dimensions["calls_1k"]}
	c.Products["acme"] = acme
	p := compile(t, c)
	expiry := now.Add(time.Hour)
	for _, tt := range []struct {
		name  string
		dates []Entitlement
		at    time.Time
		want  Reason
	}{
		{"no date", nil, now.AddDate(10, 0, 0), Allowed},
		{"before its date", []Entitlement{{Expires: expiry}}, now, Allowed},
		{"after its date", []Entitlement{{Expires: expiry}}, expiry.Add(time.Hour), LicenseExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := license("x")
			l.Entitlements, l.Read = tt.dates, tt.at
			m := newMemory(p)
			m.hold("x", l)
			m.confirmed = tt.at
			if d := p.Decide(get("/v1/plain", "x"), m, tt.at); d.Reason != tt.want || d.Plan != "basic" {
				t.Errorf("got %s with plan %s, want %s with basic", d.Reason, d.Plan, tt.want)
			}
		})
	}
}

func TestOneDimensionExpiresWithoutTheOthers(t *testing.T) {
	p := compile(t, acme())
	l := license("x", "basic", "enterprise")
	l.Entitlements[1].Expires = now.Add(-time.Hour)
	l.Read = now
	m := newMemory(p)
	m.confirmed = now
	m.hold("x", l)
	if d := p.Decide(get("/v1/plain", "x"), m, now); d.Reason != Allowed || d.Plan != "basic" {
		t.Errorf("got %s with plan %s, want the plan that is left", d.Reason, d.Plan)
	}
}

func TestADimensionIsHeldByItsValue(t *testing.T) {
	for _, tt := range []struct {
		value Value
		held  bool
	}{
		{Value{}, false},
		{Value{Kind: ValueBoolean, Boolean: true}, true},
		{Value{Kind: ValueBoolean}, false},
		{Value{Kind: ValueInteger, Integer: 1}, true},
		{Value{Kind: ValueInteger}, false},
		{Value{Kind: ValueInteger, Integer: -1}, false},
		{Value{Kind: ValueDecimal, Decimal: 0.5}, true},
		{Value{Kind: ValueDecimal}, false},
		{Value{Kind: ValueText, Text: "Enabled"}, true},
		{Value{Kind: ValueText}, false},
		{Value{Kind: ValueText, Text: "false"}, false},
		{Value{Kind: ValueText, Text: "disabled"}, false},
	} {
		if got := tt.value.Held(); got != tt.held {
			t.Errorf("%+v: held %v, want %v", tt.value, got, tt.held)
		}
	}
}

func TestADirectCustomerIsAskedByRankBesideLicenses(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("bigcorp", license("b", "basic"), &License{Key: "direct:bigcorp", Direct: "bigcorp", Plan: "enterprise"})
	d := p.Decide(get("/v1/sso", "bigcorp"), m, now)
	if d.Reason != Allowed || d.License != "direct:bigcorp" || d.Account != "" || d.Tenant != "bigcorp" {
		t.Errorf("got %+v", d)
	}
}
