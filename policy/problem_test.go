package policy

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProblemsSayWhatApplies(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	ended := license("ended", "enterprise")
	ended.Ended = now
	m.hold("basic", license("b", "basic"))
	m.hold("ended", ended)
	m.absent[Subject{SubjectTenant, "stranger"}] = true
	m.counter(m.licenses[Subject{SubjectTenant, "basic"}][0]).(*tally).Take(Taking{Feature: p.featureIndex["apiCalls"], Quantity: 100, At: now})

	const url = "https://example.test/acme"
	for _, tt := range []struct {
		name string
		r    *Request
		want map[string]any
	}{
		{"license_missing", get("/v1/sso", "stranger"), map[string]any{
			"type": "urn:weir:reason:license_missing", "title": "No agreement", "status": 402.0, "reason": "license_missing",
			"detail": "There is no active AWS Marketplace agreement for this product.",
			"plans":  []any{"enterprise"}, "url": url,
		}},
		{"license_ended", get("/v1/sso", "ended"), map[string]any{
			"type": "urn:weir:reason:license_ended", "title": "The agreement has ended", "status": 402.0, "reason": "license_ended",
			"detail": "The AWS Marketplace agreement for this product has ended.",
			"plan":   "enterprise", "url": url,
		}},
		{"feature_missing", get("/v1/team/1", "basic"), map[string]any{
			"type": "urn:weir:reason:feature_missing", "title": "Not part of the plan", "status": 403.0, "reason": "feature_missing",
			"detail":  "The plan does not include seats, or not enough of it.",
			"feature": "seats", "plan": "basic", "plans": []any{"enterprise"}, "url": url,
		}},
		{"quota_exhausted", get("/v1/reports/1", "basic"), map[string]any{
			"type": "urn:weir:reason:quota_exhausted", "title": "The included quantity is used up", "status": 429.0, "reason": "quota_exhausted",
			"detail":  "The quantity of apiCalls that the plan includes is used up.",
			"feature": "apiCalls", "plan": "basic", "plans": []any{"enterprise"}, "url": url,
			"limit": 100.0, "used": 100.0, "resetsAt": "2026-12-01T00:00:00Z",
		}},
		{"identity_missing", get("/v1/plain", ""), map[string]any{
			"type": "urn:weir:reason:identity_missing", "title": "The caller is not known", "status": 401.0, "reason": "identity_missing",
			"detail": "The request does not say, in a form that can be used, who is asking.",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(tt.r, m, now)
			problem := d.Problem()
			var got map[string]any
			if err := json.Unmarshal(problem.JSON(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuotaHeadersSayWhatIsLeft(t *testing.T) {
	p := compile(t, acme())
	m := newMemory(p)
	m.hold("basic", license("b", "basic"))
	m.hold("enterprise", license("e", "enterprise"))
	at := time.Date(2026, 11, 30, 23, 59, 58, 500_000_000, time.UTC)

	d := p.Decide(get("/v1/reports/1", "basic"), m, at)
	pol, limit, ok := d.RateLimit(at)
	if want := `"apiCalls";q=100;w=2592000`; !ok || pol != want {
		t.Errorf("RateLimit-Policy: got %s, want %s", pol, want)
	}
	if want := `"apiCalls";r=99;t=2`; limit != want {
		t.Errorf("RateLimit: got %s, want %s (1.5 s rounded up)", limit, want)
	}
	for range 99 {
		p.Decide(get("/v1/reports/1", "basic"), m, at)
	}
	d = p.Decide(get("/v1/reports/1", "basic"), m, at)
	if _, limit, _ = d.RateLimit(at); limit != `"apiCalls";r=0;t=2` {
		t.Errorf("RateLimit of a denial: got %s", limit)
	}
	if s, ok := d.RetryAfter(at); !ok || s != 2 {
		t.Errorf("Retry-After: got %d, %v", s, ok)
	}
	d = p.Decide(get("/v1/reports/1", "enterprise"), m, at)
	if _, _, ok := d.RateLimit(at); ok {
		t.Error("a quota that is billed beyond has no RateLimit headers")
	}
	d = p.Decide(get("/v1/beta", "basic"), m, at)
	if _, _, ok := d.RateLimit(at); ok {
		t.Error("a shadow route has no RateLimit headers")
	}
}

func TestATermWithoutAnEndHasNoTimes(t *testing.T) {
	c := acme()
	c.Plans["basic"].Grants["apiCalls"] = metered(1, "term", "deny")
	p := compile(t, c)
	m := newMemory(p)
	l := license("b", "basic")
	l.Entitlements[0].Expires = time.Time{}
	m.hold("basic", l)
	p.Decide(get("/v1/reports/1", "basic"), m, now)
	d := p.Decide(get("/v1/reports/1", "basic"), m, now)
	if pol, limit, _ := d.RateLimit(now); pol != `"apiCalls";q=1` || limit != `"apiCalls";r=0` {
		t.Errorf("got %s and %s", pol, limit)
	}
	if _, ok := d.RetryAfter(now); ok {
		t.Error("Retry-After is known")
	}
	if problem := d.Problem(); problem.ResetsAt != nil {
		t.Errorf("resetsAt: %s", problem.ResetsAt)
	}
}

func TestPeriodsAreUTC(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	at := time.Date(2026, 12, 1, 0, 30, 0, 0, berlin) // 30 November in UTC
	for _, tt := range []struct {
		period     Period
		start, end string
	}{
		{Hour, "2026-11-30T23:00:00Z", "2026-12-01T00:00:00Z"},
		{Day, "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"},
		{Month, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
	} {
		start, end := tt.period.Bounds(at, time.Time{}, time.Time{})
		if start.Format(time.RFC3339) != tt.start || end.Format(time.RFC3339) != tt.end {
			t.Errorf("%s: got %s to %s", tt.period, start, end)
		}
	}
}

func TestTheStateOfAQuotaCostsItsTwoTexts(t *testing.T) {
	d := Decision{Effect: Allow, Reason: Allowed, Feature: "apiCalls", Quota: Balance{
		OK: true, Used: 40, Start: now, End: now.Add(time.Hour), Terms: Terms{Included: 1000, Every: Hour, Then: ThenDeny, Per: 1},
	}}
	if n := testing.AllocsPerRun(50, func() {
		if rule, left, ok := d.RateLimit(now); rule != `"apiCalls";q=1000;w=3600` || left != `"apiCalls";r=960;t=3600` || !ok {
			t.Fatalf("%s, %s, %v", rule, left, ok)
		}
	}); n != 2 {
		t.Errorf("%v allocations, want 2", n)
	}
}
