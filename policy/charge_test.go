package policy

import "testing"

// chargeOf is the result of charging a tenant for apiCalls, and the license.
func chargeOf(m *memory, p *Policy, tenant, feature string) (ChargeResult, Key) {
	c := p.Charge(m, Subject{SubjectTenant, tenant}, feature, now)
	if c.License == nil {
		return c.Result, ""
	}
	return c.Result, c.License.Key
}

func TestReportedUsageCountsForTheLicenseThatARequestWouldUse(t *testing.T) {
	config := acme()
	config.Features["tokens"] = Feature{Type: TypeMetered}
	config.Plans["basic"].Grants["tokens"] = metered(5, "month", "deny")
	delete(config.Plans["enterprise"].Grants, "tokens")
	enterprise := config.Plans["enterprise"]
	enterprise.Extends = ""
	config.Plans["enterprise"] = enterprise
	p := compile(t, config)
	m := newMemory(p)
	basic, other := license("b", "basic"), license("a", "basic")
	great, adds := license("e", "enterprise"), license("0", "extra_calls")
	ended, before, expired := license("z", "enterprise"), license("y", "enterprise"), license("x", "basic")
	ended.Ended, before.Ended = now.AddDate(0, 0, -1), now.AddDate(0, -1, 0)
	expired.Entitlements[0].Expires = now.AddDate(0, -1, 0)
	m.hold("all", basic, other, great, adds, ended)
	m.hold("ended", ended, before)
	m.hold("over", ended, before, expired)
	m.hold("adds", adds)
	m.absent[Subject{SubjectTenant, "nobody"}] = true
	for _, c := range []struct {
		tenant, feature string
		result          ChargeResult
		license         Key
	}{
		{"all", "apiCalls", ChargeFound, great.Key},
		{"all", "tokens", ChargeFound, other.Key},
		{"ended", "apiCalls", ChargeFound, ended.Key},
		{"over", "apiCalls", ChargeFound, expired.Key},
		{"ended", "tokens", ChargeFeatureMissing, ""},
		{"adds", "apiCalls", ChargeFeatureMissing, ""},
		{"all", "seats", ChargeFeatureUnknown, ""},
		{"all", "calls", ChargeFeatureUnknown, ""},
		{"nobody", "apiCalls", ChargeSubjectUnknown, ""},
		{"stranger", "apiCalls", ChargeUnknown, ""},
	} {
		if result, key := chargeOf(m, p, c.tenant, c.feature); result != c.result || key != c.license {
			t.Errorf("%s, %s: got %d %s, want %d %s", c.tenant, c.feature, result, key, c.result, c.license)
		}
	}
	m.silent = true
	if got, _ := chargeOf(m, p, "stranger", "apiCalls"); got != ChargeUnanswered {
		t.Errorf("while AWS is silent: got %d", got)
	}
}

func TestB06ReportedUsageHasTheTermsOfARequest(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("t", license("e", "enterprise", "extra_calls"))
	got := p.Charge(m, Subject{SubjectTenant, "t"}, "apiCalls", now).Terms
	want := Terms{Included: 2000, Every: Month, Then: ThenBill, Since: now.AddDate(-1, 0, 0), Dimension: "calls_1k", Per: 1000}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestADirectCustomersUsageCountsWhereADimensionMeters(t *testing.T) {
	config := acme()
	config.Products["aaa"] = Product{
		Code: "code0", ID: "prod-0", Model: ModelContract, Agreements: AgreementsConcurrent, Quantities: QuantitiesInteger,
		Dimensions: map[string]Dimension{"some": {Plan: "basic"}},
	}
	for i := range config.Routes {
		if !config.Routes[i].Public {
			config.Routes[i].Product = "acme"
		}
	}
	p := compile(t, config)
	m := newMemory(p)
	m.hold("bigcorp", &License{Key: "direct:bigcorp", Direct: "bigcorp", Plan: "enterprise"})
	c := p.Charge(m, Subject{SubjectTenant, "bigcorp"}, "apiCalls", now)
	if c.Result != ChargeFound || c.Terms.Dimension != "calls_1k" {
		t.Errorf("got %+v", c)
	}
}
