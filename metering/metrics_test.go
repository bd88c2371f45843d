package metering_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

func TestMetricsTellWhatWasCountedAndWhatWaits(t *testing.T) {
	reg, c := prometheus.NewRegistry(), new(clock).at(ledgertest.Hour())
	now := ledgertest.Hour()
	l, err := metering.OpenBolt(filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig(), place(), func() time.Time { return now }, discard(), reg)
	must(t, err)
	defer l.Close()
	m, err := metering.NewMeter(t.Context(), metering.DefaultConfig(), l, metering.TokenKey{1}, []string{"apiCalls"}, c.now, discard(), reg)
	must(t, err)
	counter := m.Counter(license(ledgertest.License))
	unpriced := monthly(0, policy.ThenBill)
	unpriced.Dimension = ""
	for _, taking := range []policy.Taking{
		{Quantity: math.MaxInt32 + 7, Terms: monthly(0, policy.ThenBill), At: now},
		{Quantity: 3, Terms: unpriced, At: now},
	} {
		counter.Take(taking)
	}
	must(t, m.Flush(t.Context()))
	now = now.Add(2 * time.Hour)
	must(t, l.Freeze(t.Context(), now, nil))

	want := `
# HELP weir_ledger_writable 1 while the ledger can be written, 0 while counts are kept in memory.
# TYPE weir_ledger_writable gauge
weir_ledger_writable 1
# HELP weir_usage_carried_total Billed units carried to a later hour because AWS's limit for one record cut them off.
# TYPE weir_usage_carried_total counter
weir_usage_carried_total 7
# HELP weir_usage_next_deadline_seconds Time until AWS refuses the next usage record that it has not answered; NaN without one.
# TYPE weir_usage_next_deadline_seconds gauge
weir_usage_next_deadline_seconds 18000
# HELP weir_usage_oldest_unsent_seconds Age of the oldest usage record that AWS has not answered; 0 without one.
# TYPE weir_usage_oldest_unsent_seconds gauge
weir_usage_oldest_unsent_seconds 7200
# HELP weir_usage_records_total Usage records that entered a state, by product.
# TYPE weir_usage_records_total counter
weir_usage_records_total{product="acme",state="frozen"} 1
# HELP weir_usage_units_total Units counted, by product and the dimension that meters them.
# TYPE weir_usage_units_total counter
weir_usage_units_total{dimension="calls",product="acme"} 2.147483654e+09
weir_usage_units_total{dimension="none",product="acme"} 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "weir_ledger_writable", "weir_usage_carried_total",
		"weir_usage_next_deadline_seconds", "weir_usage_oldest_unsent_seconds", "weir_usage_records_total", "weir_usage_units_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "weir_ledger_write_seconds"); err != nil || n != 1 {
		t.Errorf("%d histograms of writes, %v", n, err)
	}
	problems, err := testutil.GatherAndLint(reg)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestB21AConflictShowsInTheMetricsUntilItIsAcknowledged(t *testing.T) {
	reg, now := prometheus.NewRegistry(), ledgertest.Hour().Add(66*time.Minute)
	l, err := metering.OpenBolt(filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig(), place(), func() time.Time { return now }, discard(), reg)
	must(t, err)
	defer l.Close()
	commitOne(t, l, 1)
	must(t, l.Freeze(t.Context(), now, nil))
	due, err := l.Due(t.Context(), now, 1)
	must(t, err)
	must(t, l.Sending(t.Context(), now, due))
	due[0].State = metering.Sent
	_, err = l.Settle(t.Context(), now, due, []metering.Outcome{{Answer: metering.Duplicate}})
	must(t, err)
	want := `
# HELP weir_usage_unacknowledged_conflicts Usage records in conflict since ` + "`weir usage ack`" + `, by product: another writer is the first cause.
# TYPE weir_usage_unacknowledged_conflicts gauge
weir_usage_unacknowledged_conflicts{product="acme"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "weir_usage_unacknowledged_conflicts"); err != nil {
		t.Error(err)
	}
	_, _, err = l.Acknowledge(t.Context(), "acme")
	must(t, err)
	if err := testutil.GatherAndCompare(reg, strings.NewReader(""), "weir_usage_unacknowledged_conflicts"); err != nil {
		t.Error(err)
	}
}
