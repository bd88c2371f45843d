package e2e

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/sample"
	"github.com/weirhq/weir/internal/stage"
)

var (
	kills     = flag.Int("kills", 30, "kills of weir under load")
	killsSeed = flag.Uint64("kills.seed", 0, "what the kills, faults and jumps of the clock are made from; 0: chance")
)

const (
	// killsRound is how many kills come before the bill is looked at.
	killsRound = 15
	// stopsEach is how many of so many kills are made with SIGTERM as well: each takes five seconds
	// or more, because requests never pause.
	stopsEach = 10
	// mayBeLost is how much of the traffic before a kill need not be on the disk (BILLING B07).
	mayBeLost = 50 * time.Millisecond
)

// ending is one way to end weir, and what the bill may be then.
type ending struct {
	signal string
	times  int
	do     func(*stage.Stage) error
	exact  bool // the bill is what was served, to the unit
}

// TestB07NoKillAtAnyMomentLosesMoreThan50msOrBillsTwice ends weir again and again, under load, while AWS
// fails and its clock goes over hours. What counts is what clients and application counted themselves.
func TestB07NoKillAtAnyMomentLosesMoreThan50msOrBillsTwice(t *testing.T) {
	if binaries.envoy == "" {
		t.Skip("there is no Envoy here: `make envoy` fetches it, and WEIR_REQUIRE_ENVOY=1 makes this a failure")
	}
	for i, e := range []ending{
		{"SIGKILL", *kills, func(s *stage.Stage) error { s.KillWeir(); return nil }, false},
		{"SIGTERM", max(*kills/stopsEach, 1), (*stage.Stage).StopWeir, true},
	} {
		t.Run(e.signal, func(t *testing.T) {
			t.Parallel() // one waits while the other works
			seed := *killsSeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("-kills.seed=%d", seed)
			a, c := &book{}, newCrowd(60)
			plan := trafficPlan(c, a)
			plan.Dir, plan.Weir, plan.Envoy, plan.Number = t.TempDir(), binaries.weir, binaries.envoy, i+1
			s, err := stage.Set(t.Context(), plan)
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			r := &run{t: t, stage: s, ending: e, random: rand.New(rand.NewPCG(seed, uint64(i)))}
			r.traffic = &traffic{t: t, crowd: c, stage: s, book: a, refused: make([]int64, c.tenants), acked: make([]int64, c.tenants)}
			for done := 0; done < e.times && !t.Failed(); done += killsRound {
				r.round(min(killsRound, e.times-done))
			}
		})
	}
}

// envoyTimeout is replaced in Envoy's configuration where counts are held against each other: on a busy machine Envoy
// gives a check up that weir has answered already, says 503, and has no entry for it.
var envoyTimeout = [2]string{"timeout: 0.5s}", "timeout: 20s}"}

// trafficPlan is the crowd's stage, with a route that counts at the check.
func trafficPlan(c *crowd, b *book) stage.Plan {
	plan := c.plan()
	plan.App = &sample.App{Web: b}
	plan.Config = strings.Replace(plan.Config, "routes:\n", "routes:\n"+
		"  - {name: checked, match: {path: \"/v1/checked/{id}\"}, meter: {feature: apiCalls, when: checked}}\n", 1)
	plan.EnvoyConfig = strings.Replace(examples.Envoy, envoyTimeout[0], envoyTimeout[1], 1)
	return plan
}

// run is what happens to one stage.
type run struct {
	t       *testing.T
	stage   *stage.Stage
	traffic *traffic
	ending  ending
	random  *rand.Rand
	lost    int64 // what the kills may have cost
}

// round ends weir a number of times under load, lets everything come to an end, and looks at the bill.
func (r *run) round(times int) {
	stop := r.traffic.start()
	defer stop()
	for i := range times {
		r.trouble(i < times/2)
		if r.random.IntN(3) == 0 {
			r.untilSent()
		}
		r.sleep(0, 400*time.Millisecond)
		at := time.Now()
		if err := r.traffic.end(r.ending.do); err != nil {
			r.t.Error(err)
		}
		if !r.ending.exact {
			r.lost += r.traffic.book.since(at.Add(-mayBeLost))
		}
		must(r.t, r.stage.StartWeir(r.t.Context()))
		r.traffic.flow()
	}
	stop()
	r.settle()
	r.look()
}

// trouble has AWS fail in some way and moves its clock, or not.
func (r *run) trouble(early bool) {
	kinds := []string{"throttle", "internal", "ambiguous", "duplicate", "unprocessed", "disconnect", "slow"}
	if early { // it hangs until weir is gone
		kinds = append(kinds, "timeout")
	}
	for range r.random.IntN(3) {
		fault := map[string]any{"operation": "BatchMeterUsage", "kind": kinds[r.random.IntN(len(kinds))], "count": 1 + r.random.IntN(3)}
		must(r.t, r.stage.Call(r.t.Context(), http.MethodPost, "faults", fault, nil))
	}
	if r.random.IntN(5) < 2 {
		must(r.t, r.stage.Advance(r.t.Context(), time.Duration(5+r.random.IntN(45))*time.Minute))
	}
}

// untilSent has an hour end, and waits until weir has sent what was counted in it, or tried to.
func (r *run) untilSent() {
	must(r.t, r.stage.Call(r.t.Context(), http.MethodDelete, "calls", nil, nil))
	must(r.t, r.stage.Advance(r.t.Context(), time.Hour))
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var calls []struct{ Operation string }
		must(r.t, r.stage.Call(r.t.Context(), http.MethodGet, "calls", nil, &calls))
		if slices.ContainsFunc(calls, func(c struct{ Operation string }) bool { return c.Operation == "BatchMeterUsage" }) {
			return
		}
	}
}

func (r *run) sleep(least, most time.Duration) {
	time.Sleep(least + time.Duration(r.random.Int64N(int64(most-least))))
}

// settle waits until no check waits for its entry, and AWS has every record.
func (r *run) settle() {
	t, s := r.t, r.stage
	must(t, s.Call(t.Context(), http.MethodDelete, "faults", nil, nil))
	now, err := s.Clock(t.Context())
	must(t, err)
	moveTo(t, s, now.Add(17*time.Minute))
	eventually(t, 60*time.Second, "no entry is waited for", func() bool { return metric(t, s, "weir_checks_pending") == 0 })
	now, err = s.Clock(t.Context())
	must(t, err)
	moveTo(t, s, now.Truncate(time.Hour).Add(66*time.Minute))
	var status struct {
		Ledger map[string]int64 `json:"ledger"`
	}
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		must(t, s.Status(t.Context(), "/v1/status", &status))
		if status.Ledger["open"]+status.Ledger["frozen"]+status.Ledger["sent"] == 0 {
			break
		}
	}
	for state, rows := range status.Ledger {
		if rows > 0 && state != "accepted" && state != "dry" { // zero records of the direct customer
			var page struct{ Rows []any }
			must(t, s.Status(t.Context(), "/v1/usage?limit=1&state="+state, &page))
			t.Errorf("%d rows are %s, such as %v", rows, state, page.Rows)
		}
	}
}

// look holds the bill against what clients and application counted.
func (r *run) look() {
	t, c := r.t, r.traffic.crowd
	lines, err := r.stage.Bill(t.Context())
	must(t, err)
	bill := map[string]int64{}
	for _, l := range lines {
		bill[l.License] += int64(l.Quantity)
	}
	var short, sum int64
	for i := range c.tenants {
		got, least, most := bill[c.license(i)], r.traffic.least(i), r.traffic.most(i)
		if r.ending.exact || r.traffic.reports(i) {
			most = least
			if got < least {
				t.Errorf("%s is billed %d of %d", c.tenant(i), got, least)
			}
		}
		if got > most {
			t.Errorf("%s is billed %d, at most %d were checked", c.tenant(i), got, most)
		}
		short += max(least-got, 0)
		sum += got
	}
	if short > r.lost {
		t.Errorf("%d of what was served is not billed; the kills may have cost %d", short, r.lost)
	}
	if sum == 0 {
		t.Error("nothing was billed: the test shows nothing")
	}
	r.lookAtRecords()
	t.Logf("billed %d; %d were lost, of %d that may be; %d may have been checked without being served", sum, short, r.lost, r.traffic.unclear())
}

// lookAtRecords looks whether AWS was ever sent two quantities for an hour (BILLING B10).
func (r *run) lookAtRecords() {
	var records []struct {
		License, Dimension string
		Timestamp          time.Time
		Quantity           int64
	}
	must(r.t, r.stage.Call(r.t.Context(), http.MethodGet, "records", nil, &records))
	sent := map[string]map[string]bool{}
	for _, one := range records {
		hour := fmt.Sprint(one.License, " ", one.Dimension, " ", one.Timestamp.Truncate(time.Hour))
		if sent[hour] == nil {
			sent[hour] = map[string]bool{}
		}
		sent[hour][fmt.Sprint(one.Quantity, " at ", one.Timestamp)] = true
	}
	for hour, quantities := range sent {
		if len(quantities) > 1 {
			r.t.Errorf("%s was sent as %v", hour, slices.Sorted(maps.Keys(quantities)))
		}
	}
	if len(records) <= len(sent) && *kills >= killsRound && !r.ending.exact {
		r.t.Error("no record was ever sent again: the test shows nothing")
	}
}
