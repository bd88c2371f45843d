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
