package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
)

func TestAUsagePageThatIsNoneIsTheCallersMistake(t *testing.T) {
	s := empty()
	s.Usage = &ledger{err: fmt.Errorf("list rows: %w", metering.ErrNoPage)}
	c, base := local(t, s)
	if out, body := call(t, c, "GET", base+"/v1/usage?after=x", ""); out.StatusCode != 400 || !strings.Contains(body, `"reason":"invalid"`) {
		t.Errorf("%d %s", out.StatusCode, body)
	}
}

func TestUsageShowsRowsAndPassesTheFilterOn(t *testing.T) {
	hour := time.Date(2026, 3, 10, 11, 0, 0, 0, time.UTC)
	l := &ledger{next: "r2", rows: []metering.Row{
		{
			Record: metering.Record{
				ID: "r1", License: "direct:initech", Dimension: "calls_1k", Timestamp: hour,
				Quantity: 3 * millionths, State: metering.Accepted, Late: true,
			},
			Hour: hour, Assumed: true, MeteringRecordID: "m1", Error: "",
		},
		{Record: metering.Record{ID: "r2", Dimension: "calls_1k", Quantity: 1_250_000, State: metering.Open}, Hour: hour.Add(time.Hour)},
	}}
	s := empty()
	s.Usage = l
	c, base := local(t, s)
	query := url.Values{
		"license": {"direct:initech"}, "dimension": {"calls_1k"}, "state": {"accepted"},
		"hour": {"2026-03-10T12:00:00+01:00"}, "limit": {"2"}, "after": {"r0"},
	}
	out, body := call(t, c, "GET", base+"/v1/usage?"+query.Encode(), "")
	want := `{"rows":[` +
		`{"id":"r1","license":"direct:initech","dimension":"calls_1k","hour":"2026-03-10T11:00:00Z","state":"accepted","quantity":3,` +
		`"timestamp":"2026-03-10T11:00:00Z","late":true,"assumed":true,"meteringRecordId":"m1","error":""},` +
		`{"id":"r2","license":"","dimension":"calls_1k","hour":"2026-03-10T12:00:00Z","state":"open","quantity":1.25,` +
		`"late":false,"assumed":false,"meteringRecordId":"","error":""}],"next":"r2"}`
	if out.StatusCode != 200 || strings.TrimSpace(body) != want {
		t.Errorf("%d\n%s\nwant\n%s", out.StatusCode, body, want)
	}
	filter := metering.Filter{
		License: "direct:initech", Dimension: "calls_1k", State: metering.Accepted, Hour: hour, Limit: 2, After: "r0",
	}
	if got := l.asked; !cmp.Equal(got, filter) {
		t.Errorf("filter: %s", cmp.Diff(filter, got))
	}
	call(t, c, "GET", base+"/v1/usage", "")
	if got, want := l.asked, (metering.Filter{Limit: 100}); got != want {
		t.Errorf("filter without a query: %+v", got)
	}
}
