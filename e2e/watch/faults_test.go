package watch

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering/types"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/stage"
)

// trouble is one scene: what goes wrong, and the alerts that it makes fire.
type trouble struct {
	change func(config string) string // of weir.yaml; nil: nothing
	calls  string                     // control calls before weir starts
	// moved: AWS's clock is set to the middle of a month, so that no end of a month comes between;
	// this machine's is then wrong by itself.
	moved bool
	make  func(s *scene)
	want  []string
}

// troubles are all that an alert is for, by name.
func troubles() map[string]trouble {
	return map[string]trouble{
		"AWS takes no usage until it is too late": {
			moved: true, make: awsTakesNothing, change: replaced("updates:\n", "metering: {late: expire}\nupdates:\n"),
			want: []string{"WeirUsageAtRisk6h", "WeirUsageAtRisk12h", "WeirUsageAtRisk20h", "WeirUsageExpired"},
		},
		"a license ends while AWS takes no usage": {moved: true, make: licenseEnds, want: []string{"WeirUsageDeadline45m", "WeirUsageDeadline15m"}},
		"another writer":                         {moved: true, make: anotherWriter, want: []string{"WeirUsageConflict"}},
		"a dimension that is not on the listing": {moved: true, make: unknownDimension, want: []string{"WeirUsageBlocked", "WeirAWSRefuses"}},
		"an agreement that was over before its usage arrived": {
			moved: true, change: replaced("updates:\n", "updates:\n  sweep: 24h\n"), make: overBefore, want: []string{"WeirUsageRefused"},
		},
		"an end that is noticed late":          {moved: true, make: endNoticedLate, want: []string{"WeirUsageStranded"}},
		"entitlements can't be read for a day": {moved: true, make: nothingRead, want: []string{"WeirNoSweep", "WeirEntitlementsStale", "WeirFailOpen"}},
		"Envoy has no access log":              {make: noAccessLog, want: []string{"WeirNoAccessLog"}},
		"the disk":                             {make: badDisk, want: []string{"WeirLedgerNotWritable", "WeirLedgerSetAside", "WeirDown"}},
		"the queue is closed": {
			calls:  "- POST faults: {operation: ReceiveMessage, kind: error, code: AccessDenied, count: -1}\n",
			change: replaced("updates:\n", "updates:\n  sweep: 1s\n"), make: sweepsOnly,
			want: []string{"WeirQueueNotRead", "WeirNoUpdates", "WeirAWSRefuses"},
		},
		"the machine's clock": {make: wrongClock, want: []string{"WeirClockOffset"}},
	}
}

// replaced is a change of one text, or an addition in front of what every configuration has.
func replaced(old, with string) func(string) string {
	return func(config string) string { return strings.Replace(config, old, with, 1) }
}

func TestEachAlertFiresFromAFaultInARealWeir(t *testing.T) {
	weir := buildWeir(t)
	all := troubles()
	for number, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trouble := all[name]
			calls, change, usual := trouble.calls, trouble.change, []string{}
			if trouble.moved {
				calls = fmt.Sprintf("- PUT clock: {advance: %q}\n", untilMidMonth(time.Now().UTC())) + calls
				usual = append(usual, "WeirClockOffset")
			}
			if change == nil {
				change = func(config string) string { return config }
			}
			s := setScene(t, stage.Plan{Weir: weir, Number: number}, change, calls)
			if trouble.calls == "" {
				s.quiet(usual...)
			}
			trouble.make(s)
			for _, name := range trouble.want {
				if !s.fired[name] {
					t.Errorf("%s did not fire", name)
				}
			}
			t.Logf("fired: %v", slices.Sorted(maps.Keys(s.fired)))
		})
	}
}

func TestEachAlertIsInATrouble(t *testing.T) {
	seen := map[string]bool{}
	for _, each := range troubles() {
		for _, name := range each.want {
			seen[name] = true
		}
	}
	if diff := cmp.Diff(alerts(t), slices.Sorted(maps.Keys(seen))); diff != "" {
		t.Errorf("alerts (-rules +troubles):\n%s", diff)
	}
}

// untilMidMonth is the time until 10:20 of the 10th of the month after the present one.
func untilMidMonth(now time.Time) time.Duration {
	return time.Date(now.Year(), now.Month()+1, 10, 10, 20, 0, 0, time.UTC).Sub(now).Round(time.Second)
}

func awsTakesNothing(s *scene) {
	s.use()
	s.fault("BatchMeterUsage", "throttle", "")
	s.later(7 * time.Hour)
	s.fire(nil, "WeirUsageAtRisk6h")
	s.later(6 * time.Hour)
	s.fire(nil, "WeirUsageAtRisk12h")
	s.later(8 * time.Hour)
	s.fire(nil, "WeirUsageAtRisk20h")
	s.later(4 * time.Hour)
	s.fire(nil, "WeirUsageExpired")
}

func licenseEnds(s *scene) {
	s.use()
	s.fault("BatchMeterUsage", "throttle", "")
	s.control(http.MethodPost, "licenses/"+url.PathEscape(globex)+"/cancel", nil)
	s.eventually("weir sees the end", func() bool { return s.state(globex) == "ended" })
	s.later(20 * time.Minute)
	s.fire(nil, "WeirUsageDeadline45m")
	s.later(30 * time.Minute)
	s.fire(nil, "WeirUsageDeadline15m")
}

// state is that of a license, as weir sees it.
func (s *scene) state(license string) string {
	s.t.Helper()
	var answer struct{ Licenses []struct{ State string } }
	must(s.t, s.Status(s.t.Context(), "/v1/licenses/"+url.PathEscape(license), &answer))
	return answer.Licenses[0].State
}

// anybody are credentials: the emulator takes any.
func anybody() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider("any", "any", "")
}

// anotherWriter sends for the hour that weir counts in.
func anotherWriter(s *scene) {
	s.use()
	now, err := s.Clock(s.t.Context())
	must(s.t, err)
	client := marketplacemetering.New(marketplacemetering.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.URL), Credentials: anybody(),
	})
	_, err = client.BatchMeterUsage(s.t.Context(), &marketplacemetering.BatchMeterUsageInput{UsageRecords: []types.UsageRecord{{
		LicenseArn: aws.String(globex), CustomerAWSAccountId: aws.String("222233334444"),
		Dimension: aws.String("calls"), Timestamp: aws.Time(now), Quantity: aws.Int32(1),
	}}})
	must(s.t, err)
	s.later(time.Hour)
	s.fire(nil, "WeirUsageConflict")
}

func unknownDimension(s *scene) {
	s.use()
	s.fault("BatchMeterUsage", "error", "InvalidUsageDimensionException")
	s.later(time.Hour)
	s.fire(nil, "WeirUsageBlocked", "WeirAWSRefuses")
}

// overBefore ends a license for AWS an hour before the event that tells of it says. Until weir
// has that event no read may show the end, and no usage may arrive.
func overBefore(s *scene) {
	s.use()
	usage, reads := s.fault("BatchMeterUsage", "throttle", ""), s.fault("GetEntitlements", "internal", "")
	s.control(http.MethodPost, "licenses/"+url.PathEscape(globex)+"/cancel?notify=false", nil)
	s.later(70 * time.Minute)
	now, err := s.Clock(s.t.Context())
	must(s.t, err)
	event := map[string]any{
		"version": "0", "id": "00000000-0000-0000-0000-000000000001", "detail-type": "License Deprovisioned - Manufacturer",
		"source": "aws.agreement-marketplace", "account": "999911112222", "time": now, "region": "us-east-1", "resources": []string{},
		"detail": map[string]any{
			"catalog": "AWSMarketplace", "product": map[string]any{"code": "8h6sexykx0r2ei8dxc94vajj8", "id": "prod-wa4ddxl7e7ktw"},
			"license": map[string]any{"arn": globex}, "acceptor": map[string]any{"accountId": "222233334444"},
		},
	}
	s.control(http.MethodPost, "notify", map[string]any{"feed": "eventbridge", "body": event})
	s.mend(reads)
	s.eventually("weir sees the end", func() bool { return s.state(globex) == "ended" })
	s.mend(usage)
	s.fire(nil, "WeirUsageRefused")
}

// endNoticedLate ends a license without a word while sweeps fail, and goes on using it.
func endNoticedLate(s *scene) {
	s.fault("GetEntitlements", "internal", "")
	s.control(http.MethodPost, "licenses/"+url.PathEscape(globex)+"/cancel?notify=false", nil)
	s.later(3 * time.Hour)
	s.use()
	s.control(http.MethodDelete, "faults", nil)
	s.fire(func() { must(s.t, s.Advance(s.t.Context(), 10*time.Second)) }, "WeirUsageStranded")
}

func nothingRead(s *scene) {
	s.fault("GetEntitlements", "internal", "")
	s.later(2 * time.Hour)
	s.fire(nil, "WeirNoSweep")
	s.later(11 * time.Hour)
	s.fire(nil, "WeirEntitlementsStale")
	s.later(12 * time.Hour)
	s.fire(s.check, "WeirFailOpen")
}

func wrongClock(s *scene) {
	s.later(5 * time.Minute)
	s.fire(nil, "WeirClockOffset")
}

func noAccessLog(s *scene) {
	s.fire(s.check, "WeirNoAccessLog")
}

func badDisk(s *scene) {
	ledger := filepath.Join(s.dir, "state", "ledger.db")
	limit := func(size uint64) {
		must(s.t, unix.Prlimit(s.WeirPID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil))
	}
	limit(1)
	s.fire(s.check, "WeirLedgerNotWritable")
	limit(unix.RLIM_INFINITY)
	must(s.t, s.StopWeir())
	s.fire(nil, "WeirDown")
	must(s.t, os.WriteFile(ledger, []byte("no ledger"), 0o600))
	must(s.t, s.StartWeir(s.t.Context()))
	s.fire(nil, "WeirLedgerSetAside")
}

func sweepsOnly(s *scene) {
	s.fire(nil, "WeirQueueNotRead", "WeirAWSRefuses")
	must(s.t, s.Entitle(s.t.Context(), globex, "extra_seats", 5))
	s.fire(nil, "WeirNoUpdates")
}
