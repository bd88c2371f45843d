package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

// usageBatch is 20 events of globex, 10 units each.
func usageBatch(source string) string {
	events := make([]string, 20)
	for i := range events {
		events[i] = fmt.Sprintf(`{"specversion": "1.0", "type": "t", "source": %q, "id": "%d", "subject": "globex", "data": {"feature": "apiCalls", "quantity": 10}}`, source, i)
	}
	return "[" + strings.Join(events, ",") + "]"
}

func TestReportedUsageIsBilledOnceWhateverIsKilledAndSentAgain(t *testing.T) {
	s := set(t, stage.Plan{})
	first := startHour(t, s)
	report := func(source string) string {
		t.Helper()
		resp, err := http.Post("http://"+s.HTTP+"/v1/usage", "application/cloudevents-batch+json", strings.NewReader(usageBatch(source)))
		must(t, err)
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		must(t, err)
		return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(said)))
	}
	for i := range 3 {
		source := fmt.Sprint("/app/", i)
		for _, want := range []string{`202 {"accepted":20,"duplicates":0}`, `202 {"accepted":0,"duplicates":20}`} {
			if got := report(source); got != want {
				t.Errorf("batch %d: got %s, want %s", i, got, want)
			}
			s.KillWeir() // what was answered is on disk
			must(t, s.StartWeir(t.Context()))
		}
	}
	moveTo(t, s, first.Add(66*time.Minute))
	const included = 100
	eventually(t, 20*time.Second, "500 units are billed", func() bool {
		return total(billed(t, s)[first]) == 3*20*10-included
	})
}
