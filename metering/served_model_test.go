package metering_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// TestB04EachCheckEndsExactlyOnceWhateverHappens lets requests through and brings their
// entries in any order, doubled, late, or never, while weir is restarted or dies between any two
// steps and the clock moves both ways. A slow and obvious model says what every entry is
// answered and what the ledger holds.
func TestB04EachCheckEndsExactlyOnceWhateverHappens(t *testing.T) {
	for range 3 { // rapid ends after a day of the bubble's time, which is some 50 runs
		synctest.Test(t, func(t *testing.T) {
			dir, runs := t.TempDir(), 0
			rapid.Check(bubbled{t}, func(t *rapid.T) {
				runs++
				runServedModel(t, filepath.Join(dir, fmt.Sprint("ledger", runs)))
			})
		})
	}
}

func runServedModel(t *rapid.T, path string) {
	m := newServedModel(t, path)
	defer func() { m.ledger.Close() }()
	t.Repeat(map[string]func(*rapid.T){
		"issue": m.issue, "again": m.again, "entry": m.entry, "doubled": m.doubled, "abandon": m.abandon,
		"flush": m.flush, "restart": func(t *rapid.T) { m.flush(t); m.crash(t) }, "crash": m.crash,
		"time": m.time, "clock": m.move, "tick": m.tick, "": m.check,
	})
	m.finish(t)
}

// servedModel is a Meter, and what has to be true of it.
type servedModel struct {
	path    string
	cfg     metering.Config
	clock   *clock
	ledger  *metering.Journal
	meter   *metering.Meter
	process int // which one this is
	ids     int

	checks []*modelCheck
	truth  modelTruth
	disk   modelTruth               // what a crash leaves
	places map[*modelCheck]standing // of disk
}

// modelTruth are sums by license and feature.
type modelTruth struct{ counted, issued, settled map[string]int64 }

func (m modelTruth) clone() modelTruth {
	return modelTruth{maps.Clone(m.counted), maps.Clone(m.issued), maps.Clone(m.settled)}
}

// standing is where a check stands.
type standing struct {
	minute int64
	over   bool // it has come to an end
}

type modelCheck struct {
	standing
	license  policy.Key
	feature  int
	id       string
	receipt  policy.Receipt
	token    string
	taken    time.Time // local time
	touched  time.Time // local time of the last check that came into its minute
	process  int       // that let it through
	rpcs     int
	response bool // the quantity comes from the response
	lost     bool // no process knows of it
}

func (c *modelCheck) tally() string { return fmt.Sprint(c.license, c.feature) }

func newServedModel(t *rapid.T, path string) *servedModel {
	empty := modelTruth{map[string]int64{}, map[string]int64{}, map[string]int64{}}
	m := &servedModel{
		path: path, cfg: metering.DefaultConfig(), clock: new(clock).at(time.Date(2026, 12, 31, 21, 30, 0, 0, time.UTC)),
		truth: empty, disk: empty.clone(),
	}
	m.cfg.Unconfirmed = rapid.SampledFrom([]string{metering.UnconfirmedCount, metering.UnconfirmedDrop}).Draw(t, "unconfirmed")
	m.open(t)
	return m
}

func (m *servedModel) open(t *rapid.T) {
	var err error
	m.ledger, err = metering.OpenJournal(m.path, m.cfg, place(), m.clock.now, discard(), nil)
	must(t, err)
	m.meter, err = metering.NewMeter(t.Context(), m.cfg, m.ledger, metering.TokenKey{1}, []string{"calls", "tokens"}, m.clock.now, discard(), nil)
	must(t, err)
	m.process++
	for _, c := range m.checks {
		c.touched = time.Now()
	}
}

func (m *servedModel) issue(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "checks") {
		m.one(t)
	}
}

func (m *servedModel) one(t *rapid.T) {
	c := &modelCheck{
		license:  rapid.SampledFrom([]policy.Key{"arn:1", "arn:1", "arn:2"}).Draw(t, "license"),
		feature:  rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "feature"),
		response: rapid.Bool().Draw(t, "response"), taken: time.Now(), process: m.process, rpcs: 1,
	}
	if m.ids++; rapid.IntRange(0, 3).Draw(t, "id") > 0 {
		c.id = fmt.Sprint(m.ids)
	}
	taking := m.taking(c)
	if !c.response {
		taking.Quantity = rapid.Int64Range(0, 20).Draw(t, "quantity")
	}
	taking.Need = rapid.Int64Range(0, 30).Draw(t, "need")
	b := m.meter.Counter(license(c.license)).Take(taking)
	if !b.OK || b.Receipt.Kind != policy.Pending {
		t.Fatalf("not let through: %+v", b)
	}
	c.receipt, c.minute = b.Receipt, b.Receipt.Minute
	c.token = string(m.meter.AppendToken(nil, &c.receipt, "chat"))
	if c.minute <= m.truth.settled[c.tally()] {
		t.Fatalf("let through in minute %d, whose checks have ended", c.minute)
	}
	m.touch(c)
	m.checks = append(m.checks, c)
	m.truth.issued[c.tally()]++
}

func (m *servedModel) taking(c *modelCheck) policy.Taking {
	return policy.Taking{
		Feature: c.feature, Quantity: c.receipt.Quantity, Need: c.receipt.Need, Terms: monthly(10, policy.ThenBill), ID: c.id,
		At: m.clock.now(), Served: true,
	}
}

// touch remembers that a check came into a minute.
func (m *servedModel) touch(c *modelCheck) {
	c.touched = time.Now()
	for _, o := range m.checks {
		if o.tally() == c.tally() && o.minute == c.minute {
			o.touched = c.touched
		}
	}
}

// again repeats the check of a request that is still remembered.
func (m *servedModel) again(t *rapid.T) {
	c := m.some(t, func(c *modelCheck) bool {
		return !c.over && c.id != "" && c.process == m.process && time.Since(c.taken) < 30*time.Second
	})
	if c == nil {
		return
	}
	b := m.meter.Counter(license(c.license)).Take(m.taking(c))
	if !b.OK || b.Receipt != c.receipt {
		t.Fatalf("repeated: %+v, want the receipt %+v", b, c.receipt)
	}
	c.rpcs++
}

func (m *servedModel) some(t *rapid.T, of func(*modelCheck) bool) *modelCheck {
	var all []*modelCheck
	for _, c := range m.checks {
		if of(c) {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(t, "check")
}

// entry brings an entry of a check that waits.
func (m *servedModel) entry(t *rapid.T) {
	if c := m.some(t, func(c *modelCheck) bool { return !c.over && !c.lost }); c != nil {
		m.tell(t, c)
	}
}

// doubled brings an entry of a check that is over or lost, where it could be taken for another
// one that waits, or of any.
func (m *servedModel) doubled(t *rapid.T) {
	c := m.some(t, func(c *modelCheck) bool { return (c.over || c.lost) && slices.ContainsFunc(m.checks, c.neighbour) })
	if c == nil {
		c = m.some(t, func(*modelCheck) bool { return true })
	}
	if c != nil {
		m.tell(t, c)
	}
}

// neighbour tells whether another check waits where this one was let through.
func (c *modelCheck) neighbour(o *modelCheck) bool {
	return !o.over && !o.lost && o.tally() == c.tally() && o.minute == c.receipt.Minute
}

func (m *servedModel) tell(t *rapid.T, c *modelCheck) {
	e := &metering.Ending{
		Token: c.token, License: c.license, Route: "chat", FromResponse: c.response,
		How:      rapid.SampledFrom([]metering.How{metering.Served, metering.NotServed, metering.Alive}).Draw(t, "how"),
		Quantity: rapid.Int64Range(0, 1000).Draw(t, "quantity"), Measured: rapid.Bool().Draw(t, "measured"),
	}
	why := m.meter.Resolve(e)
	switch {
	case c.lost && why != metering.RefusedUnknown:
		t.Fatalf("an entry of a check that a crash took along is answered %q", why)
	case c.over && why != metering.RefusedUsed && why != metering.RefusedUnknown:
		t.Fatalf("an entry of a check that is over is answered %q", why)
	case !c.lost && !c.over && why != "":
		t.Fatalf("an entry of a check that waits is answered %q", why)
	case why != "":
	case e.How == metering.Alive:
		if to := max(m.clock.now().Unix()/60, m.truth.settled[c.tally()]+1); to > c.minute {
			c.minute = to
			m.touch(c)
		}
	default:
		c.over = true
		switch {
		case e.How == metering.NotServed, c.response && !e.Measured:
		case c.response:
			m.truth.counted[c.tally()] += e.Quantity
		default:
			m.truth.counted[c.tally()] += c.receipt.Quantity
		}
	}
}

func (m *servedModel) abandon(t *rapid.T) {
	c := m.some(t, func(c *modelCheck) bool {
		return !c.over && !c.lost && c.process == m.process && time.Since(c.taken) < 30*time.Second
	})
	if c == nil {
		return
	}
	m.meter.Abandon(c.id, &c.receipt)
	if c.rpcs--; c.rpcs == 0 {
		c.over = true
	}
}

// flush is a commit: from now on a crash changes nothing of what was before.
func (m *servedModel) flush(t *rapid.T) {
	must(t, m.meter.Flush(t.Context()))
	m.disk, m.places = m.truth.clone(), map[*modelCheck]standing{}
	for _, c := range m.checks {
		if !c.lost {
			m.places[c] = c.standing
		}
	}
}

// crash takes along what is not on disk.
func (m *servedModel) crash(t *rapid.T) {
	must(t, m.ledger.Crash())
	m.truth = m.disk.clone()
	for _, c := range m.checks {
		if at, kept := m.places[c]; kept {
			c.standing = at
		} else {
			c.lost = true
		}
	}
	m.open(t)
}

func (m *servedModel) time(t *rapid.T) {
	time.Sleep(time.Duration(rapid.OneOf(rapid.IntRange(1, 90), rapid.IntRange(1, 1200)).Draw(t, "seconds")) * time.Second)
}

func (m *servedModel) move(t *rapid.T) {
	m.clock.move(time.Duration(rapid.OneOf(rapid.IntRange(-20, 20), rapid.IntRange(-200, 200)).Draw(t, "minutes")) * time.Minute)
}

// tick gives up the checks that waited too long, and at hours' ends freezes and forgets, with a commit before.
func (m *servedModel) tick(t *rapid.T) {
	now, local := m.clock.now(), time.Now()
	for _, c := range m.checks {
		idle := local.Sub(c.touched)
		over := idle >= 16*time.Minute || idle >= 5*time.Second && (c.minute+1)*60+15*60 <= now.Unix()
		if c.over || c.lost || !over {
			continue
		}
		c.over = true
		m.truth.settled[c.tally()] = max(m.truth.settled[c.tally()], c.minute)
		if m.cfg.Unconfirmed == metering.UnconfirmedCount {
			m.truth.counted[c.tally()] += c.receipt.Quantity
		}
	}
	must(t, m.meter.Tick(t.Context()))
	m.flush(t)
}

// check holds after every step: memory and disk each hold what the model says.
func (m *servedModel) check(t *rapid.T) {
	waiting, held := int64(0), map[string]int64{}
	for _, c := range m.checks {
		if !c.over && !c.lost {
			waiting++
			held[c.tally()] += c.receipt.Need
		}
	}
	if got := m.meter.Pending(); got != waiting {
		t.Fatalf("%d checks wait, want %d", got, waiting)
	}
	for _, key := range []policy.Key{"arn:1", "arn:2"} {
		for feature := range 2 {
			b := m.meter.Counter(license(key)).Take(policy.Taking{Feature: feature, Terms: monthly(0, policy.ThenBill), At: m.clock.now(), Look: true})
			if want := held[fmt.Sprint(key, feature)]; b.Held != want {
				t.Fatalf("%s %d: %d units are held, want %d", key, feature, b.Held, want)
			}
		}
	}
	must(t, ledgertest.Conserved(t.Context(), m.ledger))
	totals, err := m.ledger.Totals(t.Context(), "local")
	must(t, err)
	for _, total := range totals {
		key := fmt.Sprint(total.License, slices.Index([]string{"calls", "tokens"}, total.Feature))
		if total.Counted != m.disk.counted[key] || total.Issued != m.disk.issued[key] {
			t.Fatalf("%s: %d units of %d checks on disk, want %d of %d", key, total.Counted, total.Issued, m.disk.counted[key], m.disk.issued[key])
		}
	}
}

// finish gives up what is left: then every check that is on disk has come to an end.
func (m *servedModel) finish(t *rapid.T) {
	time.Sleep(17 * time.Minute)
	m.tick(t)
	m.check(t)
	totals, err := m.ledger.Totals(t.Context(), "local")
	must(t, err)
	for _, total := range totals {
		if total.Issued != total.Resolved || len(total.Pending) > 0 {
			t.Fatalf("in the end %d checks were let through and %d ended: %+v", total.Issued, total.Resolved, total.Pending)
		}
	}
}
