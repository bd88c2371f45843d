package metering_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

func TestB06DenyAllowsExactlyTheIncludedUnitsFromManyGoroutines(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	counter := m.Counter(license(ledgertest.License))
	const included = 5000
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if counter.Take(one("", ledgertest.Hour(), monthly(included, policy.ThenDeny))).OK {
					allowed.Add(1)
				}
			}
		})
	}
	all.Go(func() {
		for range 20 {
			m.Counter(license(ledgertest.License)) // a refresh meanwhile
			must(t, m.Flush(t.Context()))
		}
	})
	all.Wait()
	must(t, m.Flush(t.Context()))
	got := total(t, l)
	if allowed.Load() != included || got.Counted != included || got.Included != included {
		t.Errorf("%d allowed, %d counted, %d included; want %d", allowed.Load(), got.Counted, got.Included, included)
	}
	must(t, ledgertest.Conserved(t.Context(), l))
}

func TestB06QuotaGoesOnAfterARestartAndAPlanChange(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	counter := m.Counter(license(ledgertest.License))
	daily := policy.Terms{Included: 10, Every: policy.Day}
	for range 3 {
		counter.Take(one("", ledgertest.Hour(), daily))
	}
	must(t, m.Flush(t.Context()))

	m = newMeter(t, l, c)
	counter = m.Counter(license(ledgertest.License))
	b := counter.Take(one("", ledgertest.Hour().Add(time.Minute), monthly(5, policy.ThenDeny)))
	if !b.OK || b.Used != 4 {
		t.Errorf("after the restart: %+v, want 4 used", b)
	}
	month := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	if !b.Start.Equal(month) || !b.End.Equal(month.AddDate(0, 1, 0)) {
		t.Errorf("period is %s to %s", b.Start, b.End)
	}
	must(t, m.Flush(t.Context()))
	if got := total(t, l).Counted; got != 4 {
		t.Errorf("%d counted, want 4: the sequence goes on after the restart", got)
	}
	if b := counter.Take(one("", ledgertest.Hour().Add(2*time.Hour), monthly(5, policy.ThenDeny))); b.Used != 1 {
		t.Errorf("in the next year %d are used, want 1", b.Used)
	}
}

func TestB06NeedHasToBeLeftUnderDenyOnly(t *testing.T) {
	m := newMeter(t, bolt(t), new(clock).at(ledgertest.Hour()))
	for name, c := range map[string]struct {
		terms policy.Terms
		want  bool
	}{
		"deny":      {monthly(100, policy.ThenDeny), false},
		"bill":      {monthly(100, policy.ThenBill), true},
		"unlimited": {monthly(policy.Unlimited, policy.ThenDeny), true},
	} {
		taking := policy.Taking{Quantity: 1, Need: 101, Terms: c.terms, At: ledgertest.Hour()}
		if got := m.Counter(license(policy.Key(name))).Take(taking).OK; got != c.want {
			t.Errorf("%s: got %t, want %t", name, got, c.want)
		}
	}
}

func TestB06ATermBeginsAnewWhenItsStartMovesLater(t *testing.T) {
	counter := newMeter(t, bolt(t), new(clock).at(ledgertest.Hour())).Counter(license(ledgertest.License))
	terms := policy.Terms{Included: 10, Every: policy.Term, Since: ledgertest.Hour().AddDate(0, -3, 0), Until: ledgertest.Hour().AddDate(1, 0, 0)}
	counter.Take(one("", ledgertest.Hour(), terms))
	if b := counter.Take(one("", ledgertest.Hour(), terms)); b.Used != 2 || !b.End.Equal(terms.Until) || !b.Start.Equal(terms.Since) {
		t.Errorf("in the first term: %+v", b)
	}
	terms.Since = ledgertest.Hour()
	if b := counter.Take(one("", ledgertest.Hour(), terms)); b.Used != 1 {
		t.Errorf("in the renewed term %d are used, want 1", b.Used)
	}
}

func TestB06ATermIsKnownAfterARestart(t *testing.T) {
	l, began := bolt(t), ledgertest.Hour().AddDate(0, -3, 0)
	m := newMeter(t, l, new(clock).at(ledgertest.Hour()))
	if got := m.Term(ledgertest.License); !got.IsZero() {
		t.Errorf("of a license that counted nothing: %s", got)
	}
	m.Counter(license(ledgertest.License)).Take(one("", ledgertest.Hour(), policy.Terms{Included: 10, Every: policy.Term, Since: began}))
	must(t, m.Flush(t.Context()))
	m = newMeter(t, l, new(clock).at(ledgertest.Hour()))
	if got := m.Term(ledgertest.License); !got.Equal(began) {
		t.Errorf("got %s, want %s", got, began)
	}
	must(t, l.FreezeLicense(t.Context(), ledgertest.Hour(), ledgertest.License, ledgertest.Hour()))
	if got := newMeter(t, l, new(clock).at(ledgertest.Hour())).Term(ledgertest.License); !got.IsZero() {
		t.Errorf("after its end: %s", got)
	}
}

func TestB06ATermHoldsWhatOtherPlansCountedInIt(t *testing.T) {
	l, renewed := bolt(t), ledgertest.Hour().Add(-time.Hour)
	m := newMeter(t, l, new(clock).at(ledgertest.Hour()))
	counter, byMonth := m.Counter(license(ledgertest.License)), monthly(0, policy.ThenBill)
	byMonth.Since = ledgertest.Hour().AddDate(0, -3, 0)
	counter.Take(one("", ledgertest.Hour(), byMonth))
	byMonth.Since = renewed
	counter.Take(one("", ledgertest.Hour(), byMonth))
	byTerm := policy.Terms{Included: 2, Every: policy.Term, Since: renewed, Then: policy.ThenBill, Dimension: "calls", Per: 1}
	for want := int64(2); want <= 3; want++ {
		if b := counter.Take(one("", ledgertest.Hour(), byTerm)); b.Used != want {
			t.Errorf("%d are used in the renewed term, want %d", b.Used, want)
		}
	}
	must(t, m.Flush(t.Context()))
	if got := total(t, l); got.Included != 1 || got.Billable != 3 || got.Periods[policy.Term].Used != 3 {
		t.Errorf("the ledger has %+v", got)
	}
}

func TestB08CountsStopBeforeASumCouldOverflow(t *testing.T) {
	counter := newMeter(t, bolt(t), new(clock).at(ledgertest.Hour())).Counter(license(ledgertest.License))
	refused := 0
	for range 10_000 {
		b := counter.Take(policy.Taking{Quantity: 999_999_999_999_999, Terms: monthly(0, policy.ThenBill), At: ledgertest.Hour()})
		if b.Used < 0 {
			t.Fatal("a sum went over")
		}
		if !b.OK {
			refused++
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

func TestB02ShadowCountsApartAndLookingNothing(t *testing.T) {
	l, c, reg := bolt(t), new(clock).at(ledgertest.Hour()), prometheus.NewRegistry()
	m, err := metering.NewMeter(t.Context(), metering.DefaultConfig(), l, metering.TokenKey{1}, []string{"apiCalls"}, c.now, discard(), reg)
	must(t, err)
	counter := m.Counter(license(ledgertest.License))
	shadow, look := one("1", ledgertest.Hour(), monthly(10, policy.ThenDeny)), one("2", ledgertest.Hour(), monthly(10, policy.ThenDeny))
	shadow.Shadow, look.Look = true, true
	for _, taking := range []policy.Taking{shadow, shadow, look} {
		if b := counter.Take(taking); !b.OK || b.Used != 0 {
			t.Errorf("got %+v, want OK and nothing used", b)
		}
	}
	must(t, m.Flush(t.Context()))
	if got := total(t, l).Counted; got != 0 {
		t.Errorf("%d counted, want 0", got)
	}
	if got, err := testutil.GatherAndCount(reg, "weir_usage_shadow_units_total"); err != nil || got != 1 {
		t.Errorf("%d shadow metrics, %v", got, err)
	}
}

func TestB03ARequestIsCountedOnceAndByOneLicense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(clock).at(ledgertest.Hour())
		m := newMeter(t, bolt(t), c)
		first, second := m.Counter(license("arn:1")), m.Counter(license("arn:2"))
		terms := monthly(3, policy.ThenDeny)
		for name, id := range map[string]string{"a number": "18446744073709551615", "no number": "6ba7b810-9dad"} {
			used := first.Take(one(id, c.now(), terms)).Used
			if b := first.Take(one(id, c.now(), terms)); !b.OK || b.Used != used {
				t.Errorf("%s repeated: %+v, want OK and %d used", name, b, used)
			}
			if b := second.Take(one(id, c.now(), terms)); b.OK {
				t.Errorf("%s repeated at another license counts there", name)
			}
		}
		time.Sleep(30*time.Second - time.Nanosecond)
		if b := first.Take(one("6ba7b810-9dad", c.now(), terms)); b.Used != 2 {
			t.Errorf("within 30 s: %d used, want 2", b.Used)
		}
		time.Sleep(time.Nanosecond)
		if b := first.Take(one("6ba7b810-9dad", c.now(), terms)); b.Used != 3 {
			t.Errorf("after 30 s: %d used, want 3", b.Used)
		}
		if b := first.Take(one("7", c.now(), terms)); b.OK {
			t.Error("a fourth request fits into a quota of 3")
		}
		if b := second.Take(one("7", c.now(), terms)); !b.OK {
			t.Error("a denied request left a trace")
		}
		for range 2 {
			second.Take(one("", c.now(), terms))
		}
		if b := second.Take(one("", c.now(), terms)); b.OK {
			t.Error("requests without an id count as one")
		}
	})
}

func TestB03NoIDIsForgottenEarlyAtAnyRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(clock).at(ledgertest.Hour())
		counter := newMeter(t, bolt(t), c).Counter(license("arn:1"))
		terms := monthly(0, policy.ThenBill)
		id := func(i int) string { return time.Duration(i).String() }
		const n = 3000
		for i := range n {
			counter.Take(one(id(i), c.now(), terms))
			time.Sleep(9 * time.Millisecond) // 27 s for all
		}
		for i := range n {
			if b := counter.Take(one(id(i), c.now(), terms)); b.Used != n {
				t.Fatalf("request %d is counted again", i)
			}
		}
	})
}

func BenchmarkTake(b *testing.B) {
	counter := newMeter(b, bolt(b), new(clock).at(ledgertest.Hour())).Counter(license(ledgertest.License))
	at := ledgertest.Hour()
	for name, terms := range map[string]policy.Terms{"deny": monthly(1<<50, policy.ThenDeny), "bill": monthly(0, policy.ThenBill)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				counter.Take(one("", at, terms))
			}
		})
	}
	b.Run("repeated id", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			counter.Take(one("12345678901234567890", at, monthly(0, policy.ThenBill)))
		}
	})
	b.Run("new id", func(b *testing.B) {
		ids := make([]string, 1<<16)
		for i := range ids {
			ids[i] = time.Duration(i).String()
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			counter.Take(one(ids[i&(1<<16-1)], at, monthly(0, policy.ThenBill)))
			i++
		}
	})
}

func TestTakeAllocatesNothing(t *testing.T) {
	counter := newMeter(t, bolt(t), new(clock).at(ledgertest.Hour())).Counter(license(ledgertest.License))
	taking := one("12345678901234567890", ledgertest.Hour(), monthly(0, policy.ThenBill))
	if got := testing.AllocsPerRun(100, func() { counter.Take(taking) }); got != 0 {
		t.Errorf("a repeated request allocates %v times", got)
	}
	taking.ID = ""
	if got := testing.AllocsPerRun(100, func() { counter.Take(taking) }); got != 0 {
		t.Errorf("a request allocates %v times", got)
	}
}

func TestANewerReadOfALicenseIsTakenOverAndAnOlderOneIsNot(t *testing.T) {
	l, c := bolt(t), new(clock).at(ledgertest.Hour())
	m := newMeter(t, l, c)
	older, newer := license(ledgertest.License), license(ledgertest.License)
	older.Account, older.Read = "000000000000", ledgertest.Hour()
	newer.Account, newer.Read = "999999999999", ledgertest.Hour().Add(time.Second)
	first := m.Counter(older)
	m.Counter(newer)
	if m.Counter(older) != first {
		t.Error("a license has two counters")
	}
	first.Take(one("", c.now(), monthly(0, policy.ThenBill)))
	must(t, m.Flush(t.Context()))
	rows, err := ledgertest.AllRows(t.Context(), l)
	must(t, err)
	if len(rows) != 1 || rows[0].Account != newer.Account {
		t.Errorf("got %+v, want one row of account %s", rows, newer.Account)
	}
}
