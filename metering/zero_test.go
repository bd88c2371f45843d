package metering_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// zeroing is a meter that makes records of 0, on a ledger that outlives it.
type zeroing struct {
	*testing.T
	path     string
	cfg      metering.Config
	place    metering.Place
	clock    *clock
	licenses []*policy.License
	inactive policy.Key
	ledger   *metering.Bolt
	meter    *metering.Meter
	halt     func() error
	log      bytes.Buffer
}

// newZeroing begins ten minutes before the suite's hour, with the suite's license.
func newZeroing(t *testing.T) *zeroing {
	return &zeroing{
		T: t, path: filepath.Join(t.TempDir(), "ledger"), cfg: metering.DefaultConfig(), place: place(),
		clock: new(clock).at(ledgertest.Hour().Add(-10 * time.Minute)), licenses: []*policy.License{license(ledgertest.License)},
	}
}

func (z *zeroing) start() {
	z.Helper()
	z.ledger = openBolt(z, z.path, z.cfg, z.place)
	var err error
	z.meter, err = metering.NewMeter(context.Background(), z.cfg, z.ledger, metering.TokenKey{1}, []string{"apiCalls", "tokens"}, z.clock.now, slog.New(slog.NewTextHandler(&z.log, nil)), nil)
	must(z, err)
	z.meter.MakeZeros(metering.Zeros{
		Dimensions: map[string][]string{"acme": {"calls", "tokens"}, "zenith": {"calls"}},
		Active:     func(key policy.Key) bool { return key != z.inactive },
	})
	for _, l := range z.licenses {
		z.meter.Counter(l)
	}
	z.halt = run(z, z.meter)
	time.Sleep(time.Second)
}

// to lets the clock jump to a time after the suite's hour began, and weir look at it.
func (z *zeroing) to(after time.Duration) {
	z.clock.set(ledgertest.Hour().Add(after))
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func (z *zeroing) stop() {
	z.Helper()
	must(z, z.halt())
	must(z, z.ledger.Close())
}

// zeros are the hours after the suite's for which records of 0 are there, one for each dimension.
func (z *zeroing) zeros() []int {
	z.Helper()
	rows, err := ledgertest.AllRows(z.Context(), z.ledger)
	must(z, err)
	var hours []int
	dimensions := map[int]int{}
	for _, r := range rows {
		if r.State != metering.Frozen || r.Quantity != 0 || !r.Timestamp.Equal(r.Hour) {
			z.Errorf("got %+v, want a frozen record of 0", r)
		}
		h := int(r.Hour.Sub(ledgertest.Hour()).Hours())
		if dimensions[h]++; dimensions[h] == 2 {
			hours = append(hours, h)
		}
	}
	if 2*len(hours) != len(rows) {
		z.Errorf("%d records in %d hours, want two in each", len(rows), len(hours))
	}
	return hours
}

func TestB16AnHourThatWeirWasRunningThroughIsReportedAsZero(t *testing.T) {
	for name, test := range map[string]struct {
		live func(*zeroing)
		want []int
	}{
		"two hours":                {func(z *zeroing) { z.to(66 * time.Minute); z.to(126 * time.Minute) }, []int{0, 1}},
		"until it closes, nothing": {func(z *zeroing) { z.to(64 * time.Minute) }, nil},
		"not the hour in which weir began": {func(z *zeroing) {
			z.stop()
			z.clock.set(ledgertest.Hour().Add(10 * time.Minute))
			z.start()
			z.to(186 * time.Minute)
		}, []int{1, 2}},
		"begun in its first second": {func(z *zeroing) {
			z.stop()
			z.clock.set(ledgertest.Hour().Add(900 * time.Millisecond))
			z.start()
			z.to(66 * time.Minute)
		}, []int{0}},
		"the clock jumps over hours":                        {func(z *zeroing) { z.to(3*time.Hour + 10*time.Minute) }, []int{0, 1, 2}},
		"the clock jumps over days, of which AWS takes one": {func(z *zeroing) { z.to(100*time.Hour + 10*time.Minute) }, hours(77, 100)},
		"the clock goes back": {func(z *zeroing) {
			z.to(66 * time.Minute)
			z.to(-20 * time.Minute)
			z.to(126 * time.Minute)
		}, []int{0, 1}},
		"a restart in between": {func(z *zeroing) {
			z.to(10 * time.Minute)
			z.stop()
			z.clock.set(ledgertest.Hour().Add(30 * time.Minute))
			z.start()
			z.to(66 * time.Minute)
		}, []int{0}},
		"a restart before it closes": {func(z *zeroing) {
			z.to(61 * time.Minute)
			z.stop()
			z.clock.set(ledgertest.Hour().Add(70 * time.Minute))
			z.start()
		}, []int{0}},
		"away at its end": {func(z *zeroing) {
			z.to(30 * time.Minute)
			z.stop()
			z.clock.set(ledgertest.Hour().Add(61 * time.Minute))
			z.start()
			z.to(186 * time.Minute)
		}, []int{2}},
		"another restart makes none again": {func(z *zeroing) {
			z.to(66 * time.Minute)
			z.stop()
			z.start()
			z.to(70 * time.Minute)
		}, []int{0}},
		"switched off": {func(z *zeroing) {
			z.stop()
			z.cfg.Zero = false
			z.start()
			z.to(66 * time.Minute)
		}, nil},
		"while another place is configured": {func(z *zeroing) {
			z.to(66 * time.Minute)
			z.stop()
			z.place.Region = "eu-west-1"
			z.start()
			z.to(126 * time.Minute)
		}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := newZeroing(t)
				z.start()
				test.live(z)
				if diff := cmp.Diff(test.want, z.zeros()); diff != "" {
					t.Errorf("hours (-want +got):\n%s", diff)
				}
				z.stop()
			})
		})
	}
}

// hours are those from one to before another.
func hours(from, to int) (h []int) {
	for i := from; i < to; i++ {
		h = append(h, i)
	}
	return h
}

func TestB16OnlyALicenseThatWasActiveThroughTheHourIsReportedAsZero(t *testing.T) {
	hour := ledgertest.Hour()
	change := func(change func(*policy.License)) *policy.License {
		l := license("arn:" + policy.Key(t.Name()))
		change(l)
		return l
	}
	for name, test := range map[string]struct {
		license *policy.License
		want    []string
	}{
		"active":                        {change(func(*policy.License) {}), []string{"calls frozen", "tokens frozen"}},
		"begun in the hour":             {change(func(l *policy.License) { l.Starts = hour.Add(time.Second) }), nil},
		"begun with the hour":           {change(func(l *policy.License) { l.Starts = hour }), nil},
		"begun just before":             {change(func(l *policy.License) { l.Starts = hour.Add(-time.Second) }), []string{"calls frozen", "tokens frozen"}},
		"ended in the hour":             {change(func(l *policy.License) { l.Ended = hour.Add(time.Hour - time.Second) }), nil},
		"ended after it":                {change(func(l *policy.License) { l.Ended = hour.Add(62 * time.Minute) }), []string{"calls frozen", "tokens frozen"}},
		"expired or suspended":          {change(func(l *policy.License) { l.Key = "arn:inactive" }), nil},
		"of a product without metering": {change(func(l *policy.License) { l.Product = "flat" }), nil},
		"a legacy one":                  {change(func(l *policy.License) { l.Key, l.Customer = "code/c", "c" }), []string{"calls frozen", "tokens frozen"}},
		"a direct customer's":           {change(func(l *policy.License) { l.Key, l.Direct, l.Product = "direct:t", "t", "" }), []string{"calls dry", "tokens dry"}},
		"a direct customer's of one":    {change(func(l *policy.License) { l.Key, l.Direct, l.Product = "direct:t", "t", "zenith" }), []string{"calls dry"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := newZeroing(t)
				z.licenses, z.inactive = []*policy.License{test.license}, "arn:inactive"
				z.start()
				z.to(66 * time.Minute)
				rows, err := ledgertest.AllRows(t.Context(), z.ledger)
				must(t, err)
				var got []string
				for _, r := range rows {
					got = append(got, r.Dimension+" "+string(r.State))
				}
				slices.Sort(got)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("records of 0 (-want +got):\n%s", diff)
				}
				z.stop()
			})
		})
	}
}

func TestB16ALicenseThatWasSuspendedInTheHourIsNotReportedAsZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZeroing(t)
		z.start()
		z.to(10 * time.Minute)
		read := func(suspended bool) {
			l := *z.licenses[0]
			l.Suspended, l.Read = suspended, z.clock.now()
			z.meter.Counter(&l)
		}
		read(true)
		z.to(20 * time.Minute)
		read(false)
		z.to(66 * time.Minute)
		z.to(126 * time.Minute)
		if diff := cmp.Diff([]int{1}, z.zeros()); diff != "" {
			t.Errorf("hours (-want +got):\n%s", diff)
		}
		z.stop()
	})
}

func TestB16WholeUnitsTakeThePlaceOfARecordOfZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZeroing(t)
		z.start()
		z.to(10 * time.Minute)
		terms := monthly(0, policy.ThenBill)
		terms.Per = 2
		counter := z.meter.Counter(z.licenses[0])
		counter.Take(one("", z.clock.now(), terms))
		z.to(66 * time.Minute) // half a unit is none
		counter.Take(one("", z.clock.now(), terms))
		z.to(126 * time.Minute)
		rows, err := ledgertest.AllRows(t.Context(), z.ledger)
		must(t, err)
		var got []int64
		for _, r := range rows {
			if r.Dimension == "calls" {
				got = append(got, r.Quantity)
			}
		}
		if diff := cmp.Diff([]int64{0, 1_000_000}, got); diff != "" {
			t.Errorf("calls by hour (-want +got):\n%s", diff)
		}
		z.stop()
	})
}

func TestB21RecordsOfZeroStopAtAConflictUntilItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZeroing(t)
		z.start()
		z.to(66 * time.Minute)
		zeros := func() (n int) {
			rows, err := ledgertest.AllRows(t.Context(), z.ledger)
			must(t, err)
			return len(rows)
		}
		due, err := z.ledger.Due(t.Context(), z.clock.now(), 1)
		must(t, err)
		must(t, z.ledger.Sending(t.Context(), z.clock.now(), due))
		due[0].State = metering.Sent
		_, err = z.ledger.Settle(t.Context(), z.clock.now(), due, []metering.Outcome{{Answer: metering.Duplicate}})
		must(t, err)

		z.to(126 * time.Minute)
		z.stop()
		z.start() // it is kept
		z.to(186 * time.Minute)
		if got := zeros(); got != 2 {
			t.Errorf("%d records of 0 since the conflict, want none", got-2)
		}
		_, found, err := z.ledger.Acknowledge(t.Context(), "acme")
		if err != nil || !found {
			t.Errorf("acknowledged %v: %v", found, err)
		}
		z.stop()
		z.start() // what was missed is not made up for
		z.to(246 * time.Minute)
		if got := zeros(); got != 4 {
			t.Errorf("%d records of 0 after it was acknowledged, want the 2 of the hour since", got-2)
		}
		z.stop()
	})
}

func TestB16RecordsOfZeroThatExpireAreOneLineOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZeroing(t)
		z.start()
		z.to(66 * time.Minute)
		z.to(48 * time.Hour)
		z.stop()
		if log := z.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, `msg="records of 0 reached their deadline unsent" records=2`) {
			t.Errorf("log: %s", log)
		}
	})
}
