package metering_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// TestB01B10MeterAndDispatcherHoldThroughCrashesAndFaults lets requests be counted, hours
// close and records leave while AWS answers anything, the clock moves both ways over
// hour, month and year ends, and weir ends or dies at any step of its ledger.
func TestB01B10MeterAndDispatcherHoldThroughCrashesAndFaults(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			runs++
			w := newWhole(t, filepath.Join(dir, fmt.Sprint("ledger", runs)))
			defer w.end()
			t.Repeat(map[string]func(*rapid.T){
				"take": w.take, "entry": w.entry, "report": w.report, "pass": w.pass, "hour": w.hour, "clock": w.move, "license": w.relicense,
				"AWS": w.market.turn, "trouble": w.trouble, "stop": w.stopped, "crash": w.crashed, "": w.check,
			})
		})
	})
}

// bubbled keeps rapid from asking for the deadline of a test, which a bubble has none of.
type bubbled struct{ *testing.T }

// whole is a Meter and a Dispatcher on a ledger, with all that is known from outside.
type whole struct {
	path     string
	cfg      metering.Config
	clock    *clock
	ledger   *metering.Journal
	mortal   *mortal
	meter    *metering.Meter
	halt     func()
	market   *market
	licenses map[policy.Key]*policy.License

	ids    map[string]time.Time       // of requests that were counted, by local time
	taken  map[string]int64           // units let through, by license and feature
	floor  map[string]int64           // of them, those that are on disk for sure
	frozen map[string]metering.Record // by id
	checks []wholeCheck               // that waited once for their entry
	told   map[int]*told              // usage events, by number
}

func newWhole(t *rapid.T, path string) *whole {
	w := &whole{
		path: path, cfg: metering.DefaultConfig(),
		clock:    new(clock).at(time.Date(2026, 12, 31, 21, 30, 0, 0, time.UTC)),
		licenses: map[policy.Key]*policy.License{}, ids: map[string]time.Time{},
		taken: map[string]int64{}, floor: map[string]int64{}, frozen: map[string]metering.Record{},
		told: map[int]*told{},
	}
	w.cfg.Unconfirmed = metering.UnconfirmedDrop // so that nothing is counted but what the model knows of
	w.cfg.CloseAfter = time.Duration(rapid.IntRange(0, 60).Draw(t, "closeAfter")) * time.Minute
	w.cfg.Late = rapid.SampledFrom([]string{metering.LateRebook, metering.LateExpire}).Draw(t, "late")
	seed := rapid.Uint64().Draw(t, "AWS")
	w.market = &market{clock: w.clock, random: rand.New(rand.NewPCG(seed, 1)), billed: map[string]metering.Record{}}
	for _, key := range []policy.Key{"arn:1", "arn:2", "code/customer", "direct:t"} {
		w.licenses[key] = &policy.License{Key: key, Product: "acme", Account: "111122223333", Starts: w.clock.now().Add(-20 * time.Minute)}
	}
	w.begin(t)
	return w
}

// begin starts weir on what the file holds.
func (w *whole) begin(t *rapid.T) {
	var err error
	w.ledger, err = metering.OpenJournal(w.path, w.cfg, place(), w.clock.now, discard(), nil)
	must(t, err)
	w.mortal = &mortal{Ledger: w.ledger}
	w.meter, err = metering.NewMeter(t.Context(), w.cfg, w.mortal, metering.TokenKey{1}, []string{"calls", "tokens"}, w.clock.now, discard(), nil)
	must(t, err)
	w.meter.MakeZeros(metering.Zeros{
		Dimensions: map[string][]string{"acme": {"d1", "d2"}},
		Active:     func(policy.Key) bool { return true },
	})
	for _, l := range w.licenses {
		w.meter.Counter(l)
	}
	d := metering.NewDispatcher(2*time.Second, w.mortal, w.market, w.market.reread, w.clock.now, discard())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.meter.Run(ctx) }) // an error is that of a ledger that has died
	running.Go(func() { _ = d.Run(ctx) })
	running.Go(func() { _ = w.ledger.Run(ctx) })
	w.halt = func() { cancel(); running.Wait() }
}

func (w *whole) end() {
	w.mortal.dead.Store(true)
	w.halt()
	w.ledger.Close()
}

func (w *whole) take(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "requests") {
		l := w.licenses[rapid.SampledFrom([]policy.Key{"arn:1", "arn:2", "code/customer", "direct:t"}).Draw(t, "license")]
		feature := rapid.IntRange(0, 1).Draw(t, "feature")
		taking := policy.Taking{
			Feature: feature, At: w.clock.now(), Shadow: rapid.IntRange(0, 9).Draw(t, "shadow") == 0,
			ID:       rapid.SampledFrom([]string{"", "1", "2", "3", "4", "5"}).Draw(t, "id"),
			Quantity: rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(0, 5_000_000_000)).Draw(t, "quantity"),
			Terms: policy.Terms{
				Included: rapid.SampledFrom([]int64{0, 40, policy.Unlimited}).Draw(t, "included"),
				Every:    policy.Period(rapid.IntRange(0, int(policy.Periods)-1).Draw(t, "every")),
				Then:     policy.Then(rapid.IntRange(0, 1).Draw(t, "then")), Since: l.Starts,
				Dimension: rapid.SampledFrom([]string{"", "d1", "d2"}).Draw(t, "dimension"),
				Per:       rapid.SampledFrom([]int64{1, 7}).Draw(t, "per"),
			},
		}
		taking.Need = taking.Quantity
		taking.Served = rapid.IntRange(0, 2).Draw(t, "served") == 0
		at, known := w.ids[taking.ID]
		repeated := known && time.Since(at) < 30*time.Second
		b := w.meter.Counter(l).Take(taking)
		if !b.OK || repeated {
			continue
		}
		if taking.ID != "" {
			w.ids[taking.ID] = time.Now()
		}
		switch {
		case taking.Shadow:
		case taking.Served:
			w.checks = append(w.checks, wholeCheck{b.Receipt, l.Key, []string{"calls", "tokens"}[feature]})
		default:
			w.taken[string(l.Key)+[]string{"calls", "tokens"}[feature]] += taking.Quantity
		}
	}
}

// wholeCheck is a check that waits for its entry, or did once.
type wholeCheck struct {
	receipt policy.Receipt
	license policy.Key
	feature string
}

// entry brings the entry of a check, perhaps again, of this process or of one before: what is
// taken is counted.
func (w *whole) entry(t *rapid.T) {
	if len(w.checks) == 0 {
		return
	}
	c := rapid.SampledFrom(w.checks).Draw(t, "check")
	e := metering.Ending{
		Token: string(w.meter.AppendToken(nil, &c.receipt, "r")), License: c.license, Route: "r",
		How: rapid.SampledFrom([]metering.How{metering.Served, metering.Served, metering.NotServed, metering.Alive}).Draw(t, "how"),
	}
	if why := w.meter.Resolve(&e); why == "" && e.How == metering.Served {
		w.taken[string(c.license)+c.feature] += c.receipt.Quantity
	}
}

// pass lets time pass: what was counted 50 ms ago is on disk (BILLING B07), unless weir
// died or has to write again.
func (w *whole) pass(t *rapid.T) {
	time.Sleep(time.Duration(rapid.OneOf(rapid.IntRange(51, 100), rapid.IntRange(51, 8000)).Draw(t, "ms")) * time.Millisecond)
	if w.mortal.failed.Swap(false) {
		time.Sleep(10 * time.Second)
	}
	synctest.Wait()
	if !w.mortal.dead.Load() {
		w.onDisk(t)
	}
}

// hour lets an hour with usage come to its end, and weir send.
func (w *whole) hour(t *rapid.T) {
	w.take(t)
	w.clock.move(time.Hour)
	time.Sleep(time.Duration(rapid.IntRange(900, 5000).Draw(t, "ms")) * time.Millisecond)
}

func (w *whole) move(t *rapid.T) {
	w.clock.move(time.Duration(rapid.OneOf(rapid.IntRange(-90, 90), rapid.IntRange(0, 2000)).Draw(t, "minutes")) * time.Minute)
}

// relicense ends a license, or shows it again.
func (w *whole) relicense(t *rapid.T) {
	l := *w.licenses["arn:2"]
	l.Read = w.clock.now()
	if l.Ended.IsZero() {
		l.Ended = l.Read.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "minutes ago")) * time.Minute)
	} else {
		l.Ended = time.Time{}
	}
	w.licenses["arn:2"] = &l
	w.meter.Counter(&l)
}

// trouble makes one of the next steps of the ledger fail, or weir die there, before it is done or after.
func (w *whole) trouble(t *rapid.T) {
	w.mortal.after.Store(rapid.Bool().Draw(t, "after"))
	w.mortal.dies.Store(rapid.Bool().Draw(t, "dies"))
	w.mortal.steps.Store(rapid.Int64Range(1, 12).Draw(t, "steps"))
}

// stopped ends weir in good order: nothing is lost.
func (w *whole) stopped(t *rapid.T) {
	w.mortal.steps.Store(0)
	w.halt()
	if !w.mortal.dead.Load() {
		w.onDisk(t)
	}
	must(t, w.ledger.Close())
	w.restart(t)
}

func (w *whole) crashed(t *rapid.T) {
	w.mortal.dead.Store(true)
	w.halt()
	must(t, w.ledger.Crash())
	w.restart(t)
}

// restart goes on with what is on disk.
func (w *whole) restart(t *rapid.T) {
	w.begin(t)
	w.counts(t)
	w.settleTold(t)
	for _, e := range w.told {
		e.unsure = false // those that are left are old: they count again, or not
	}
	clear(w.ids)
	totals, err := w.ledger.Totals(t.Context(), "")
	must(t, err)
	clear(w.taken)
	clear(w.floor)
	for _, total := range totals {
		key := string(total.License) + total.Feature
		w.taken[key], w.floor[key] = total.Counted, total.Counted
	}
}

// counts checks that nothing is lost that was on disk, and nothing counted twice.
func (w *whole) counts(t *rapid.T) {
	totals, err := w.ledger.Totals(t.Context(), "")
	must(t, err)
	counted := map[string]int64{}
	for _, total := range totals {
		counted[string(total.License)+total.Feature] = total.Counted
	}
	for key, taken := range w.taken {
		if got := counted[key]; got > taken || got < w.floor[key] {
			t.Fatalf("%s: %d counted of %d, at least %d were on disk", key, got, taken, w.floor[key])
		}
	}
}

// check holds after every step.
func (w *whole) check(t *rapid.T) {
	synctest.Wait()
	w.counts(t)
	w.age()
	must(t, ledgertest.Conserved(t.Context(), w.ledger))
	rows, err := ledgertest.AllRows(t.Context(), w.ledger)
	must(t, err)
	w.market.mu.Lock()
	defer w.market.mu.Unlock()
	if w.market.wrong != "" {
		t.Fatal(w.market.wrong)
	}
	for i := range rows {
		r := &rows[i]
		if r.State == metering.Open {
			continue
		}
		if before, found := w.frozen[r.ID]; found && !sameRecord(before, r.Record) {
			t.Fatalf("a frozen record changed: %+v, now %+v", before, r)
		}
		w.frozen[r.ID] = r.Record
		w.market.agrees(t, r)
	}
	for _, r := range w.market.billed {
		if _, found := w.frozen[r.ID]; !found {
			t.Fatalf("billed without a row: %+v", r)
		}
	}
}

// sameRecord tells whether what leaves is the same.
func sameRecord(a, b metering.Record) bool {
	return a.ID == b.ID && a.License == b.License && a.Account == b.Account && a.Dimension == b.Dimension &&
		a.Timestamp.Equal(b.Timestamp) && a.Quantity == b.Quantity
}
