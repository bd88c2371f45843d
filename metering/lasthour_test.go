package metering_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// soon is half past the hour in which the suite begins, a day earlier: nothing but the
// license's end or date has its hour frozen for a while.
func soon() time.Time { return ledgertest.Hour().Add(-24*time.Hour + 30*time.Minute) }

// ends shows the license as ended at an instant.
func (g *gate) ends(at time.Time) {
	l := license(ledgertest.License)
	l.Read, l.Ended = g.clock.now(), at
	g.meter.Counter(l)
}

// dated shows the license with a date up to which AWS promises it.
func (g *gate) dated(date time.Time) {
	l := license(ledgertest.License)
	l.Read, l.Entitlements = g.clock.now(), []policy.Entitlement{{Dimension: "basic", Expires: date}}
	g.meter.Counter(l)
}

// due are the units of the records that wait to be sent.
func (g *gate) due() (units int64) {
	g.Helper()
	records, err := g.bolt.Due(g.Context(), g.clock.now(), 100)
	must(g, err)
	for _, r := range records {
		units += r.Quantity / 1_000_000
	}
	return units
}

func TestB15AnEndWaitsForTheChecksInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.clock.set(soon())
		stop := run(t, g.meter)
		counted, late := g.check("1", 3), g.check("2", 4)
		g.tell(g.entry(counted, metering.Served), "")
		g.ends(g.clock.now())
		time.Sleep(2 * time.Minute)
		if got := g.due(); got != 0 {
			t.Errorf("%d units are frozen while a check is in flight", got)
		}
		g.tell(g.entry(late, metering.Served), "")
		time.Sleep(time.Second)
		if got := g.due(); got != 7 {
			t.Errorf("%d units are due, want 7", got)
		}
		must(t, stop())
	})
}

func TestB15AnEndWaitsForFiveMinutesAtMost(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*metering.Config)
		want   int64
	}{"count": {func(*metering.Config) {}, 7}, "drop": {drop, 3}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(t, c.change)
				g.clock.set(soon())
				stop := run(t, g.meter)
				counted, silent := g.check("1", 3), g.check("2", 4)
				g.tell(g.entry(counted, metering.Served), "")
				g.ends(g.clock.now())
				time.Sleep(4*time.Minute + 59*time.Second)
				if got := g.due(); got != 0 {
					t.Errorf("%d units are frozen too early", got)
				}
				time.Sleep(3 * time.Second)
				if got := g.due(); got != c.want {
					t.Errorf("%d units are due, want %d", got, c.want)
				}
				g.tell(g.entry(silent, metering.Served), metering.RefusedUnknown)
				g.resolved(map[string]float64{"counted": 1, "unconfirmed": 1})
				must(t, stop())
			})
		})
	}
}

func TestB15TheWaitingIsInAWSTimeToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.clock.set(soon())
		stop := run(t, g.meter)
		g.check("1", 3)
		g.ends(g.clock.now())
		g.clock.move(5 * time.Minute)
		time.Sleep(2 * time.Second)
		if got := g.due(); got != 3 {
			t.Errorf("%d units are due, want 3", got)
		}
		must(t, stop())
	})
}

func TestB15WhatArrivesAfterTheHourOfTheEndIsOfItsLastHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		end := soon().Truncate(time.Hour).Add(59 * time.Minute)
		g.clock.set(end)
		stop := run(t, g.meter)
		r := g.check("1", 3)
		g.ends(end)
		time.Sleep(3 * time.Minute)
		g.tell(g.entry(r, metering.Served), "")
		time.Sleep(time.Second)
		records, err := g.bolt.Due(t.Context(), g.clock.now(), 100)
		must(t, err)
		if len(records) != 1 || !records[0].Timestamp.Equal(end.Truncate(time.Hour)) || !records[0].Deadline.Equal(end.Add(time.Hour)) {
			t.Errorf("due: %+v", records)
		}
		must(t, stop())
	})
}

func TestB15WhatIsCountedAfterTheLastFreezeIsStranded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.clock.set(soon())
		stop := run(t, g.meter)
		g.check("1", 3)
		g.ends(g.clock.now())
		time.Sleep(6 * time.Minute)
		late := g.check("2", 4) // by a gate that has not heard of the end
		g.tell(g.entry(late, metering.Served), "")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		rows, err := ledgertest.AllRows(t.Context(), g.bolt)
		must(t, err)
		if len(rows) != 2 || rows[0].Units != 3 || rows[1].Units != 4 || rows[1].State != metering.Stranded {
			t.Errorf("got %+v", rows)
		}
		must(t, stop())
	})
}

func TestB15ALicenseThatIsShownAgainIsNotFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.clock.set(soon())
		stop := run(t, g.meter)
		r := g.check("1", 3)
		g.ends(g.clock.now())
		time.Sleep(time.Minute)
		g.dated(g.clock.now().AddDate(1, 0, 0))
		g.tell(g.entry(r, metering.Served), "")
		time.Sleep(6 * time.Minute)
		if got := g.due(); got != 0 {
			t.Errorf("%d units are frozen", got)
		}
		must(t, stop())
	})
}

func TestB15AtItsDateTheOpenHourIsFrozenAndTheLicenseGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.clock.set(soon())
		stop := run(t, g.meter)
		date := soon().Add(10 * time.Minute)
		g.dated(date)
		before := g.check("1", 3)
		time.Sleep(10 * time.Minute)
		g.check("2", 100) // let through after the date: nobody waits for it
		g.tell(g.entry(before, metering.Served), "")
		time.Sleep(2 * time.Second)
		if got := g.due(); got != 3 {
			t.Errorf("%d units are due, want 3", got)
		}
		after := g.check("3", 4)
		g.tell(g.entry(after, metering.Served), "")
		must(t, stop())
		g.crash()
		g.dated(date)
		stop = run(t, g.meter)
		time.Sleep(10 * time.Second)
		if got := g.due(); got != 3 {
			t.Errorf("%d units are due after a restart, want 3", got)
		}
		rows, err := ledgertest.AllRows(t.Context(), g.bolt)
		must(t, err)
		if len(rows) != 2 || rows[1].Units != 4 || !rows[1].Hour.Equal(soon().Truncate(time.Hour).Add(time.Hour)) {
			t.Errorf("rows: %+v, want 4 units in the next hour", rows)
		}
		must(t, stop())
	})
}

func TestB15ADateThatMovedOrOfAnHourLongFrozenFreezesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.clock.set(soon())
		stop := run(t, g.meter)
		g.dated(soon().Add(5 * time.Minute))
		g.tell(g.entry(g.check("1", 3), metering.Served), "")
		time.Sleep(time.Minute)
		g.dated(soon().AddDate(1, 0, 0)) // renewed
		time.Sleep(10 * time.Minute)
		g.dated(soon().Add(-3 * time.Hour)) // in its grace when weir first sees it
		time.Sleep(time.Minute)
		if got := g.due(); got != 0 {
			t.Errorf("%d units are frozen", got)
		}
		must(t, stop())
	})
}

func TestB15ADateWaitsForFiveMinutesForWhatWasLetThroughBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		g.clock.set(soon())
		stop := run(t, g.meter)
		g.dated(soon().Add(5 * time.Minute))
		silent := g.check("1", 3)
		time.Sleep(7 * time.Minute)
		young := g.check("2", 4)
		time.Sleep(2 * time.Minute)
		if got := g.due(); got != 0 {
			t.Errorf("%d units are frozen too early", got)
		}
		time.Sleep(2 * time.Minute)
		if got := g.due(); got != 3 {
			t.Errorf("%d units are due, want 3", got)
		}
		g.tell(g.entry(silent, metering.Served), metering.RefusedUnknown)
		g.tell(g.entry(young, metering.Served), "")
		must(t, stop())
	})
}
