package metering_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

func TestB04ARequestCountsWhenTheLogSaysThatItWasServed(t *testing.T) {
	g := newGate(t)
	served, not := g.check("1", 3), g.check("2", 5)
	g.wants(0, 2)
	g.tell(g.entry(served, metering.Served), "")
	g.wants(3, 1)
	g.tell(g.entry(not, metering.NotServed), "")
	g.wants(3, 0)
	g.resolved(map[string]float64{"counted": 1, "not_served": 1})
}

func TestB04AResponsesQuantityIsCountedOrUnmeasured(t *testing.T) {
	for name, c := range map[string]struct {
		quantity int64
		measured bool
		want     int64
		how      string
	}{
		"given":     {700, true, 700, "counted"},
		"zero":      {0, true, 0, "counted"},
		"not given": {700, false, 0, "unmeasured"},
		"negative":  {-1, true, 0, "unmeasured"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			e := g.entry(g.ask("1", 0, 1).Receipt, metering.Served)
			e.FromResponse, e.Quantity, e.Measured = true, c.quantity, c.measured
			g.tell(e, "")
			g.wants(c.want, 0)
			g.resolved(map[string]float64{c.how: 1})
		})
	}
}

func TestB04AnEntryOfAnythingElseEndsNoCheck(t *testing.T) {
	g := newGate(t)
	r := g.check("1", 3)
	forged := g.entry(r, metering.Served)
	forged.Token = forged.Token[:20] + "AAAA" + forged.Token[24:]
	route, other := g.entry(r, metering.Served), g.entry(r, metering.Served)
	route.Route, other.License = "import", "arn:other"
	g.tell(forged, metering.RefusedForged)
	g.tell(route, metering.RefusedForged)
	g.tell(&metering.Ending{Token: "", License: ledgertest.License, Route: "chat", How: metering.Served}, metering.RefusedForged)
	g.tell(other, metering.RefusedOtherLicense)
	unknown := r
	unknown.Tally++
	g.tell(g.entry(unknown, metering.Served), metering.RefusedUnknown)
	g.wants(0, 1)
	g.tell(g.entry(r, metering.Served), "")
	g.tell(g.entry(r, metering.Served), metering.RefusedUsed)
	g.tell(g.entry(r, metering.NotServed), metering.RefusedUsed)
	g.tell(g.entry(r, metering.Alive), metering.RefusedUsed)
	g.wants(3, 0)
	g.meter.Refused(metering.RefusedNoToken)
	for why, want := range map[string]float64{"forged": 3, "other_license": 1, "unknown": 1, "used": 3, "no_token": 1} {
		if got := g.refused(why); got != want {
			t.Errorf("%v entries refused as %s, want %v", got, why, want)
		}
	}
}

func TestB04ATokenIsGoodAcrossARestartAndOnlyOnce(t *testing.T) {
	g := newGate(t)
	first, second := g.check("1", 3), g.check("2", 4)
	g.restart()
	g.wants(0, 2)
	g.tell(g.entry(first, metering.Served), "")
	g.restart()
	g.tell(g.entry(first, metering.Served), metering.RefusedUsed)
	g.tell(g.entry(second, metering.Served), "")
	third := g.check("1", 5) // a number of another epoch
	g.tell(g.entry(third, metering.Served), "")
	g.wants(12, 0)
}

func TestB04ACrashLosesAnIssueOrAnEndOfTheLast50msOnly(t *testing.T) {
	g := newGate(t)
	kept := g.check("1", 3)
	g.flush()
	lost := g.check("2", 4)
	g.tell(g.entry(kept, metering.Served), "")
	g.crash()
	g.wants(0, 1)
	g.tell(g.entry(lost, metering.Served), metering.RefusedUnknown)
	g.tell(g.entry(kept, metering.Served), "")
	g.wants(3, 0)
}

func TestB04ARepeatedCheckIsGivenTheSameTokenAndEndsOnce(t *testing.T) {
	g := newGate(t)
	r, again := g.check("1", 3), g.check("1", 3)
	if g.token(&r) != g.token(&again) {
		t.Error("the repeated check has another token")
	}
	if other := g.meter.Counter(license("arn:other")).Take(policy.Taking{
		Quantity: 3, Need: 3, Terms: g.terms, ID: "1", At: g.clock.now(), Served: true,
	}); other.OK || other.Receipt != (policy.Receipt{}) {
		t.Errorf("another license takes it as well: %+v", other)
	}
	g.tell(g.entry(again, metering.Served), "")
	g.wants(3, 0)
}

func TestB04ACheckWhoseCallerWentAwayIsNotServed(t *testing.T) {
	g := newGate(t)
	r := g.check("1", 3)
	g.check("1", 3)
	g.meter.Abandon("1", &r)
	g.wants(0, 1) // the other rpc of the request goes on
	g.meter.Abandon("1", &r)
	g.wants(0, 0)
	if retry := g.check("1", 3); g.token(&retry) == g.token(&r) {
		t.Error("a retry has the token of the check that is over")
	} else {
		g.tell(g.entry(retry, metering.Served), "")
	}
	unnamed := g.check("", 3)
	g.meter.Abandon("", &unnamed)
	g.tell(g.entry(unnamed, metering.Served), metering.RefusedUsed)
	g.meter.Abandon("5", &policy.Receipt{})
	g.wants(3, 0)
	g.resolved(map[string]float64{"counted": 1, "not_served": 2})
}

func TestB04ACheckThatCountedAtOnceHasATokenThatChangesNothing(t *testing.T) {
	g := newGate(t)
	b := g.counter.Take(one("1", g.clock.now(), g.terms))
	if b.Receipt.Kind != policy.Counted {
		t.Fatalf("got %+v", b.Receipt)
	}
	for range 2 {
		g.tell(g.entry(b.Receipt, metering.Served), "")
	}
	g.meter.Abandon("1", &b.Receipt)
	if again := g.counter.Take(one("1", g.clock.now(), g.terms)); again.Used != 1 {
		t.Error("the request counts twice")
	}
	g.wants(1, 0)
}

func TestB04AnEntryOfARequestThatOnlyShadowLetThroughChangesNothing(t *testing.T) {
	g := newGate(t)
	for range 2 {
		g.tell(g.entry(policy.Receipt{Kind: policy.Uncounted}, metering.Served), "")
	}
	g.wants(0, 0)
	g.resolved(nil)
}

func TestB04ShadowChecksAreCountedApartOnceServed(t *testing.T) {
	g := newGate(t)
	taking := policy.Taking{Quantity: 3, Need: 3, Terms: g.terms, ID: "1", At: g.clock.now(), Served: true, Shadow: true}
	r := g.counter.Take(taking).Receipt
	taking.ID = "2"
	not := g.counter.Take(taking).Receipt
	g.wants(0, 0)
	g.tell(g.entry(r, metering.Alive), "")
	g.tell(g.entry(r, metering.Served), "")
	g.tell(g.entry(r, metering.Served), metering.RefusedUsed)
	g.tell(g.entry(not, metering.NotServed), "")
	g.wants(0, 0)
	g.resolved(nil)
	if err := testutil.GatherAndCompare(g.metrics, strings.NewReader(`
# HELP weir_usage_shadow_units_total Units that routes in shadow mode would have counted, by product and feature.
# TYPE weir_usage_shadow_units_total counter
weir_usage_shadow_units_total{feature="apiCalls",product="acme"} 3
`), "weir_usage_shadow_units_total"); err != nil {
		t.Error(err)
	}
}

func TestB04WithoutAnEntryACheckEndsAsUnconfirmedAfter15Minutes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*metering.Config)
		want   int64
	}{
		"count": {func(*metering.Config) {}, 3},
		"drop":  {drop, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(t, c.change)
				stop := run(t, g.meter)
				r := g.check("1", 3)
				time.Sleep(15*time.Minute + 30*time.Second)
				g.wants(0, 1)
				time.Sleep(31 * time.Second)
				g.wants(c.want, 0)
				g.resolved(map[string]float64{"unconfirmed": 1})
				g.tell(g.entry(r, metering.Served), metering.RefusedUnknown)
				must(t, stop())
				g.restart()
				g.tell(g.entry(r, metering.Served), metering.RefusedUnknown)
				g.wants(c.want, 0)
			})
		})
	}
}

func TestB04UnconfirmedCountsTheQuantityKnownAtTheCheckOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		stop := run(t, g.meter)
		g.ask("1", 0, 400)
		time.Sleep(17 * time.Minute)
		g.wants(0, 0)
		g.resolved(map[string]float64{"unconfirmed": 1})
		must(t, stop())
	})
}

func TestB04ARestartInBetweenChangesNothingOfTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		stop := run(t, g.meter)
		g.check("1", 3)
		time.Sleep(10 * time.Minute)
		must(t, stop())
		g.crash()
		stop = run(t, g.meter)
		time.Sleep(5*time.Minute + 30*time.Second)
		g.wants(0, 1)
		time.Sleep(31 * time.Second)
		g.wants(3, 0)
		must(t, stop())
	})
}

func TestB04SignsOfLifeKeepACheckWaitingAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		stop := run(t, g.meter)
		r, silent := g.check("1", 3), g.check("2", 5)
		for range 4 {
			time.Sleep(14 * time.Minute)
			for range 3 {
				g.tell(g.entry(r, metering.Alive), "")
			}
			must(t, stop())
			g.crash()
			stop = run(t, g.meter)
		}
		g.wants(5, 1) // the silent one is unconfirmed
		g.tell(g.entry(silent, metering.Served), metering.RefusedUnknown)
		g.tell(g.entry(r, metering.Served), "")
		g.tell(g.entry(r, metering.Served), metering.RefusedUsed)
		g.wants(8, 0)
		again := g.check("3", 7)
		time.Sleep(14 * time.Minute)
		g.tell(g.entry(again, metering.Alive), "")
		time.Sleep(17 * time.Minute)
		g.wants(15, 0) // its last sign of life is 15 minutes ago
		must(t, stop())
	})
}

func TestB04AClockThatJumpsDoesNotOvertakeTheEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		stop := run(t, g.meter)
		r, lost := g.check("1", 3), g.check("2", 5)
		g.clock.move(time.Hour)
		time.Sleep(3 * time.Second)
		g.tell(g.entry(r, metering.Served), "")
		g.wants(3, 1)
		time.Sleep(4 * time.Second)
		g.wants(8, 0)
		g.clock.move(-2 * time.Hour)
		back := g.check("3", 7) // in no minute that has ended
		g.tell(g.entry(lost, metering.Served), metering.RefusedUnknown)
		g.wants(8, 1)
		time.Sleep(17 * time.Minute) // local time: AWS's minute is far off
		g.wants(15, 0)
		g.tell(g.entry(back, metering.Served), metering.RefusedUnknown)
		must(t, stop())
	})
}

// tokensInBlock is how many numbers in a row are remembered, and forgotten, together.
const tokensInBlock = 4096

func TestB04UsedTokensAreRememberedAsLongAsTheirMinuteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		r, waiting := g.check("1", 3), g.check("2", 5)
		for r.Number/tokensInBlock == waiting.Number/tokensInBlock { // by chance: then one is remembered as long as the other
			g = newGate(t)
			r, waiting = g.check("1", 3), g.check("2", 5)
		}
		stop := run(t, g.meter)
		g.tell(g.entry(r, metering.Served), "")
		for range 12 {
			time.Sleep(10 * time.Minute)
			g.tell(g.entry(waiting, metering.Alive), "")
		}
		g.tell(g.entry(r, metering.Served), metering.RefusedUnknown) // forgotten with its minute
		g.tell(g.entry(waiting, metering.Served), "")
		g.wants(8, 0)
		g.clock.move(-2 * time.Hour)
		third := g.check("3", 7)
		g.tell(g.entry(r, metering.Served), metering.RefusedUnknown)
		must(t, stop())
		g.crash()
		g.tell(g.entry(r, metering.Served), metering.RefusedUnknown)
		g.tell(g.entry(third, metering.Served), "")
		g.wants(15, 0)
		blocks, forgotten, err := g.bolt.Tokens(t.Context())
		must(t, err)
		if len(blocks) > 3 || forgotten.Before(ledgertest.Hour()) {
			t.Errorf("%d blocks are kept, forgotten up to %s", len(blocks), forgotten)
		}
	})
}

func TestB05HeldUnitsCountAgainstADenyQuotaUntilTheEntryComes(t *testing.T) {
	g := newGate(t)
	g.terms = monthly(10, policy.ThenDeny)
	first := g.ask("1", 0, 8)
	if !first.OK || first.Held != 8 || first.Used != 0 {
		t.Fatalf("the first: %+v", first)
	}
	if b := g.ask("2", 0, 3); b.OK || !b.Waiting || b.Receipt != (policy.Receipt{}) {
		t.Errorf("beyond what is left but for what is held: %+v", b)
	}
	if b := g.ask("3", 0, 11); b.OK || b.Waiting {
		t.Errorf("beyond what is included: %+v", b)
	}
	if b := g.ask("4", 2, 2); !b.OK || b.Held != 10 {
		t.Errorf("what is left: %+v", b)
	}
	g.restart()
	if b := g.ask("5", 1, 1); b.OK || b.Held != 10 {
		t.Errorf("after a restart: %+v", b)
	}
	e := g.entry(first.Receipt, metering.Served)
	e.FromResponse, e.Quantity, e.Measured = true, 3, true
	g.tell(e, "")
	if b := g.ask("6", 5, 5); !b.OK || b.Used != 3 || b.Held != 7 {
		t.Errorf("once the response told of 3: %+v", b)
	}
	g.wants(3, 2)
}

func TestB05WhatIsHeldIsReleasedHoweverACheckEnds(t *testing.T) {
	for name, end := range map[string]func(*gate, policy.Receipt){
		"not served": func(g *gate, r policy.Receipt) { g.tell(g.entry(r, metering.NotServed), "") },
		"unmeasured": func(g *gate, r policy.Receipt) {
			e := g.entry(r, metering.Served)
			e.FromResponse = true
			g.tell(e, "")
		},
		"abandoned":   func(g *gate, r policy.Receipt) { g.meter.Abandon("1", &r) },
		"unconfirmed": func(g *gate, _ policy.Receipt) { time.Sleep(17 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(t, drop)
				g.terms = monthly(10, policy.ThenDeny)
				stop := run(t, g.meter)
				end(g, g.ask("1", 0, 10).Receipt)
				if b := g.ask("2", 10, 10); !b.OK || b.Held != 10 {
					t.Errorf("got %+v", b)
				}
				must(t, stop())
			})
		})
	}
}

func TestB05ServedUnitsFillTheQuotaOfThePeriodInWhichTheyAreCounted(t *testing.T) {
	g := newGate(t)
	g.clock.set(ledgertest.Hour().Add(time.Hour - time.Second)) // a second before the year ends
	g.terms = monthly(10, policy.ThenDeny)
	r := g.check("1", 4)
	g.clock.move(2 * time.Second)
	g.tell(g.entry(r, metering.Served), "")
	if b := g.ask("2", 6, 6); !b.OK || b.Used != 4 {
		t.Errorf("in the new month: %+v, want 4 used", b)
	}
	g.wants(4, 1)
	if got := total(t, g.bolt); got.Included != 4 || got.Periods[policy.Month].Used != 4 {
		t.Errorf("the ledger has %+v", got)
	}
}

func TestB09ServedUnitsBelongToTheHourInWhichTheEntryArrives(t *testing.T) {
	g := newGate(t)
	r := g.check("1", 4)
	g.flush()
	g.clock.move(time.Hour)
	g.tell(g.entry(r, metering.Served), "")
	g.flush()
	rows, err := ledgertest.AllRows(t.Context(), g.bolt)
	must(t, err)
	if len(rows) != 1 || !rows[0].Hour.Equal(ledgertest.Hour().Add(time.Hour)) || rows[0].Units != 4 {
		t.Errorf("got %+v", rows)
	}
}

func TestB06ServedUnitsAreBilledOnTheTermsOfTheirCheck(t *testing.T) {
	g := newGate(t)
	r := g.check("1", 4)
	g.terms.Dimension = "other"
	g.check("2", 1)
	g.tell(g.entry(r, metering.Served), "")
	g.flush()
	rows, err := ledgertest.AllRows(t.Context(), g.bolt)
	must(t, err)
	if len(rows) != 1 || rows[0].Dimension != "calls" || rows[0].Units != 4 {
		t.Errorf("got %+v", rows)
	}
}

func TestB08ResponsesCannotMakeASumOverflow(t *testing.T) {
	g := newGate(t)
	for range 12_000 {
		b := g.ask("", 0, 1)
		if !b.OK {
			break
		}
		e := g.entry(b.Receipt, metering.Served)
		e.FromResponse, e.Quantity, e.Measured = true, 999_999_999_999_999, true
		g.tell(e, "")
	}
	g.flush()
	if got := total(t, g.bolt).Counted; got <= 0 {
		t.Errorf("%d counted", got)
	}
	must(t, ledgertest.Conserved(t.Context(), g.bolt))
}

func TestB17ChecksInFlightKeepThePlace(t *testing.T) {
	g := newGate(t)
	g.check("1", 3)
	g.flush()
	must(t, g.bolt.Close())
	other := place()
	other.Region = "eu-west-1"
	b, err := metering.OpenBolt(g.path, g.cfg, other, g.clock.now, discard(), nil)
	must(t, err)
	defer b.Close()
	if b.Place() == nil {
		t.Error("another region takes over what waits")
	}
}

func TestServedTakingAllocatesNothing(t *testing.T) {
	g := newGate(t)
	taking := policy.Taking{Quantity: 1, Need: 1, Terms: g.terms, At: g.clock.now(), Served: true}
	g.counter.Take(taking)
	if got := testing.AllocsPerRun(1000, func() { g.counter.Take(taking) }); got != 0 {
		t.Errorf("it allocates %v times", got)
	}
}
