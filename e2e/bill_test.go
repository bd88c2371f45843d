package e2e

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/stage"
)

func TestTheBillIsWhatTheApplicationServedOverAnHoursEndAndARestart(t *testing.T) {
	c := newCrowd(50)
	s := set(t, c.plan())
	first := startHour(t, s)
	restart := func() {
		must(t, s.StopWeir())
		must(t, s.StartWeir(t.Context()))
	}
	c.use(t.Context(), t, s.Ingress, 5000, restart)
	before := served(s)
	moveTo(t, s, first.Add(61*time.Minute))
	c.use(t.Context(), t, s.Ingress, 5000, restart)
	after := served(s)
	moveTo(t, s, first.Add(126*time.Minute))

	want := map[time.Time]map[string]int64{first: before, first.Add(time.Hour): minus(after, before)}
	var got map[time.Time]map[string]int64
	deadline := time.Now().Add(20 * time.Second)
	for {
		if got = billed(t, s); cmp.Equal(got, want) || time.Now().After(deadline) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bill (-served +billed):\n%s", diff)
	}
	if n := total(after); n < 5000 {
		t.Errorf("only %d of 10,000 requests were served: the test shows nothing", n)
	}
}

func TestAfterAKillTheBillIsBetweenWhatWasServedAndWhatWasChecked(t *testing.T) {
	c := newCrowd(50)
	s := set(t, c.plan())
	first := startHour(t, s)
	const kills = 3
	// What is lost is at most 50 ms of traffic a kill, at the fastest the crowd ever was,
	// and what was under way.
	var fastest float64
	for range kills {
		before, began := total(served(s)), time.Now()
		var rate float64
		c.use(t.Context(), t, s.Ingress, 3400, func() {
			rate = float64(total(served(s))-before) / time.Since(began).Seconds()
			s.KillWeir()
			must(t, s.StartWeir(t.Context()))
		})
		fastest = max(fastest, rate)
	}
	// Entries that came while weir was away are lost: those requests count unconfirmed.
	moveTo(t, s, first.Add(25*time.Minute))
	eventually(t, 30*time.Second, "no entry is waited for", func() bool { return metric(t, s, "weir_checks_pending") == 0 })
	moveTo(t, s, first.Add(66*time.Minute))
	eventually(t, 30*time.Second, "every record is accepted", func() bool {
		var status struct {
			Ledger map[string]int64 `json:"ledger"`
		}
		must(t, s.Status(t.Context(), "/v1/status", &status))
		l := status.Ledger
		return l["accepted"] >= int64(c.tenants) && l["open"]+l["frozen"]+l["sent"] == 0
	})
	got := total(billed(t, s)[first])
	var checked int64
	for i := range c.sent {
		checked += c.sent[i].Load()
	}
	lost := int64(kills * (fastest*0.05 + workers))
	if least := total(served(s)) - lost; got < least || got > checked {
		t.Errorf("billed %d, want at least %d (served %d, less %d) and at most %d", got, least, total(served(s)), lost, checked)
	}
	t.Logf("billed %d, served %d, checked %d, %.0f requests/s", got, total(served(s)), checked, fastest)
}

// startHour moves AWS's clock to five minutes past an hour, and says which.
func startHour(t *testing.T, s *stage.Stage) time.Time {
	t.Helper()
	now, err := s.Clock(t.Context())
	must(t, err)
	hour := now.Truncate(time.Hour).Add(time.Hour)
	moveTo(t, s, hour.Add(5*time.Minute))
	return hour
}

func total(sums map[string]int64) (n int64) {
	for _, v := range sums {
		n += v
	}
	return n
}
