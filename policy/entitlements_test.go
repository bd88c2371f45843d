package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// bought is a license of acme that holds dimensions, a number of each.
func bought(key Key, dimensions map[string]int64) *License {
	l := &License{Key: key, Product: "acme", Account: "111122223333", Starts: now.Add(-time.Hour), Read: now}
	for name, n := range dimensions {
		l.Entitlements = append(l.Entitlements, Entitlement{
			Dimension: name, Value: Value{Kind: ValueInteger, Integer: n}, Expires: now.AddDate(0, 1, 0),
		})
	}
	return l
}

// shelf is a View of one holding.
type shelf struct {
	held  *Holding
	known Knowledge
}

func (s shelf) Find(Subject, string) (*Holding, Knowledge) { return s.held, s.known }
func (s shelf) Confirmed(string) time.Time                 { return now }

// entitled is what licenses let their subject use at an instant.
func entitled(t *testing.T, c Counter, at time.Time, licenses ...*License) Entitled {
	t.Helper()
	p := compile(t, acme())
	held := p.Hold(licenses, func(string) time.Time { return now }, func(*License) Counter { return c }, now)
	got, known := p.Entitled(shelf{held, Present}, Subject{SubjectTenant, "t"}, "acme", at)
	if known != Present {
		t.Fatalf("knowledge %d", known)
	}
	return got
}

func quotaless(f EntitledFeature) EntitledFeature {
	f.Quota = Balance{}
	return f
}

func TestEntitledShowsThePlanWithWhatLicensesAdd(t *testing.T) {
	c := &tally{used: map[int]int64{0: 42}}
	got := entitled(t, c, now,
		bought("l-1", map[string]int64{"basic": 1, "extra_seats": 3}),
		bought("l-2", map[string]int64{"extra_seats": 4, "extra_calls": 2}))
	want := []EntitledFeature{
		{Name: "apiCalls", Type: TypeMetered},
		{Name: "reports", Type: TypeBoolean, Boolean: true},
		{Name: "seats", Type: TypeNumber, Number: 12},
		{Name: "support", Type: TypeText, Text: "community"},
	}
	if got.License.Key != "l-1" || got.Plan != "basic" {
		t.Errorf("license %s, plan %s", got.License.Key, got.Plan)
	}
	if diff := cmp.Diff(want, got.Features, cmpopts.IgnoreFields(EntitledFeature{}, "Quota")); diff != "" {
		t.Errorf("features, -want +got:\n%s", diff)
	}
	q := got.Features[0].Quota
	if q.Terms.Included != 2100 || q.Used != 42 || q.Terms.Then != ThenDeny || !q.End.Equal(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("quota %+v", q)
	}
	if c.used[0] != 42 {
		t.Error("looking counted")
	}
}

func TestEntitledTakesEachFeatureFromTheLicenseThatARequestWouldUse(t *testing.T) {
	got := entitled(t, &tally{}, now, bought("l-1", map[string]int64{"basic": 1}), bought("l-2", map[string]int64{"enterprise": 1}))
	if got.License.Key != "l-2" || got.Plan != "enterprise" {
		t.Errorf("license %s, plan %s", got.License.Key, got.Plan)
	}
	for _, f := range got.Features {
		switch f.Name {
		case "seats":
			if f.Number != 100 {
				t.Errorf("seats %d", f.Number)
			}
		case "apiCalls":
			if f.Quota.Terms.Included != 1000 || f.Quota.Terms.Then != ThenBill {
				t.Errorf("apiCalls %+v", f.Quota)
			}
		}
	}
}

func TestEntitledShowsABooleanThatAnyPlanSaysIsOn(t *testing.T) {
	c := acme()
	c.Plans["enterprise"].Grants["reports"] = Grant{Boolean: ptr(false)}
	p := compile(t, c)
	for name, tt := range map[string]struct {
		licenses []*License
		want     bool
	}{
		"off":         {[]*License{bought("l-2", map[string]int64{"enterprise": 1})}, false},
		"on in basic": {[]*License{bought("l-1", map[string]int64{"basic": 1}), bought("l-2", map[string]int64{"enterprise": 1})}, true},
	} {
		held := p.Hold(tt.licenses, func(string) time.Time { return now }, nil, now)
		got, _ := p.Entitled(shelf{held, Present}, Subject{SubjectTenant, "t"}, "acme", now)
		for _, f := range got.Features {
			if f.Name == "reports" && f.Boolean != tt.want {
				t.Errorf("%s: reports %v, want %v", name, f.Boolean, tt.want)
			}
		}
	}
}

func TestEntitledShowsANumberThatIsOnlyAdded(t *testing.T) {
	c := acme()
	delete(c.Plans["basic"].Grants, "seats")
	p := compile(t, c)
	held := p.Hold([]*License{bought("l-1", map[string]int64{"basic": 1, "extra_seats": 3})}, func(string) time.Time { return now }, nil, now)
	got, _ := p.Entitled(shelf{held, Present}, Subject{SubjectTenant, "t"}, "acme", now)
	want := EntitledFeature{Name: "seats", Type: TypeNumber, Number: 3}
	if diff := cmp.Diff(want, quotaless(got.Features[2])); diff != "" {
		t.Errorf("seats, -want +got:\n%s", diff)
	}
}

func TestNobodyIsEntitledByALicenseThatLetsNothingThrough(t *testing.T) {
	ended := bought("l-1", map[string]int64{"basic": 1})
	ended.Ended = now
	adds := bought("l-1", map[string]int64{"extra_seats": 1})
	for name, l := range map[string]*License{"ended": ended, "only adds": adds} {
		if got := entitled(t, nil, now, l); got.License != nil || got.Features != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	later := now.AddDate(0, 1, 2) // the grace of a day is over
	if got := entitled(t, nil, later, bought("l-1", map[string]int64{"basic": 1})); got.License != nil {
		t.Errorf("expired since it was worked out: %+v", got)
	}
	p := compile(t, acme())
	if _, known := p.Entitled(shelf{nil, Unanswered}, Subject{}, "acme", now); known != Unanswered {
		t.Errorf("knowledge %d", known)
	}
	if _, known := p.Entitled(shelf{nil, Unknown}, Subject{}, "nowhere", now); known != Absent {
		t.Errorf("of no product: knowledge %d", known)
	}
}

func TestUsableSubjectsAreThoseThatARequestCanName(t *testing.T) {
	for _, tt := range []struct {
		who  Subject
		want bool
	}{
		{Subject{SubjectTenant, "a/b:c@d+e=f-g._h"}, true},
		{Subject{SubjectTenant, "a b"}, false},
		{Subject{SubjectTenant, ""}, false},
		{Subject{SubjectAccount, "111122223333"}, true},
		{Subject{SubjectAccount, "11112222333"}, false},
		{Subject{SubjectLicense, "code/customer"}, true},
		{Subject{SubjectNone, "x"}, false},
	} {
		if got := tt.who.Usable(); got != tt.want {
			t.Errorf("%v: %v", tt.who, got)
		}
	}
}
