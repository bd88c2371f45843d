package marketplace

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// lastHour is an hour that AWS takes.
func lastHour() time.Time { return time.Now().UTC().Truncate(time.Hour).Add(-time.Hour) }

// recordFor is a record of 3 units for a license of product acme.
func recordFor(b bought, account string) metering.Record {
	return metering.Record{
		Product: "acme", License: policy.Key(b.LicenseArn), Account: account,
		Dimension: "calls", Timestamp: lastHour(), Quantity: 3_000_000,
	}
}

// answers sends records and gives the kinds of their outcomes.
func answers(t *testing.T, w *world, records ...metering.Record) []metering.Answer {
	t.Helper()
	outcomes, err := w.Usage(testProducts()).Send(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]metering.Answer, 0, len(outcomes))
	for _, o := range outcomes {
		if (o.Answer == metering.Success) != (o.Error == "") {
			t.Errorf("outcome %+v: an error for people is missing or too much", o)
		}
		got = append(got, o.Answer)
	}
	return got
}

func TestB14RecordsOfBothKindsReachTheirLicenses(t *testing.T) {
	w := newWorld(t)
	concurrent := w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
	legacy := w.buy(oldCode, "444455556666", `{"dimension": "basic", "value": 1}`)
	records := []metering.Record{
		recordFor(concurrent, "111122223333"),
		{
			Product: "old", License: policy.Key(oldCode + "/" + legacy.CustomerIdentifier), Customer: legacy.CustomerIdentifier, Account: "444455556666",
			Dimension: "tokens", Timestamp: lastHour(), Quantity: 5_000_000,
		},
	}
	outcomes, err := w.Usage(testProducts()).Send(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Answer != metering.Success || o.MeteringRecordID == "" {
			t.Errorf("record %d: got %+v", i, o)
		}
	}
	var bill []struct {
		License, Dimension string
		Quantity           float64
	}
	w.control("GET", "bill", "", &bill)
	got := map[string]float64{}
	for _, line := range bill {
		got[line.License+" "+line.Dimension] = line.Quantity
	}
	want := map[string]float64{concurrent.LicenseArn + " calls": 3, oldCode + "/" + legacy.CustomerIdentifier + " tokens": 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if calls := w.calls("BatchMeterUsage"); calls != 2 {
		t.Errorf("%d calls, want one for each product", calls)
	}
}

func TestB12DuplicateAndUnsubscribedAreTold(t *testing.T) {
	w := newWorld(t)
	first := w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
	suspended := w.buy(acmeCode, "444455556666", `{"dimension": "basic", "value": 1}`)
	w.control("POST", "licenses/"+suspended.ID+"/suspend", "", nil)
	r := recordFor(first, "111122223333")
	if diff := cmp.Diff([]metering.Answer{metering.Success}, answers(t, w, r)); diff != "" {
		t.Fatal(diff)
	}
	other := r
	other.Quantity = 4_000_000
	if diff := cmp.Diff([]metering.Answer{metering.Duplicate, metering.NotSubscribed}, answers(t, w, other, recordFor(suspended, "444455556666"))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]metering.Answer{metering.Success}, answers(t, w, r)); diff != "" {
		t.Error("an identical record is recorded already:", diff)
	}
}

func TestB12FaultsOfTheCall(t *testing.T) {
	tests := []struct {
		fault string
		want  metering.Answer
	}{
		{`"kind": "throttle"`, metering.NotRecorded},
		{`"kind": "unprocessed"`, metering.NotRecorded},
		{`"kind": "internal"`, metering.Ambiguous},
		{`"kind": "disconnect"`, metering.Ambiguous},
		{`"kind": "ambiguous"`, metering.Ambiguous},
		{`"kind": "disabled"`, metering.Unavailable},
		{`"kind": "error", "code": "InvalidProductCodeException"`, metering.Unavailable},
		{`"kind": "error", "code": "AccessDeniedException"`, metering.Unavailable},
		{`"kind": "error", "code": "InvalidLicenseException"`, metering.Faulty},
	}
	w := newWorld(t)
	b := w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
	for _, tt := range tests {
		t.Run(tt.fault, func(t *testing.T) {
			w.control("DELETE", "calls", "", nil)
			w.control("DELETE", "faults", "", nil)
			w.control("POST", "faults", `{"operation": "BatchMeterUsage", "count": 1, `+tt.fault+`}`, nil)
			if diff := cmp.Diff([]metering.Answer{tt.want}, answers(t, w, recordFor(b, "111122223333"))); diff != "" {
				t.Error(diff)
			}
			if calls := w.calls("BatchMeterUsage"); calls != 1 {
				t.Errorf("%d calls, want one: the ledger alone resends (B13)", calls)
			}
		})
	}
}

func TestB12ConnectionThatIsRefusedRecordsNothing(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	w := connectTo(t, url)
	r := recordFor(bought{LicenseArn: "arn:aws:license-manager::294406891311:license:l-1"}, "111122223333")
	if diff := cmp.Diff([]metering.Answer{metering.NotRecorded}, answers(t, w, r)); diff != "" {
		t.Error(diff)
	}
	if got := w.requests("BatchMeterUsage", "failed"); got != 1 {
		t.Errorf("counted %v failed requests, want 1", got)
	}
}

func TestB12MissingCredentialsMakeTheProductWait(t *testing.T) {
	w := connectWith(t, "http://127.0.0.1:1", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"})
	r := recordFor(bought{LicenseArn: "arn:aws:license-manager::294406891311:license:l-1"}, "111122223333")
	if diff := cmp.Diff([]metering.Answer{metering.Unavailable}, answers(t, w, r)); diff != "" {
		t.Error(diff)
	}
	if got := w.requests("BatchMeterUsage", "failed"); got != 1 {
		t.Errorf("counted %v failed requests, want 1", got)
	}
}

func TestB12HalvingPinsOneFaultyRecordAndSendsTheOthers(t *testing.T) {
	for _, at := range []int{0, 12, 13, 24} {
		w := newWorld(t)
		b := w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
		var records []metering.Record
		want := make([]metering.Answer, 25)
		for i := range 25 {
			r := recordFor(b, "111122223333")
			r.Timestamp = time.Now().UTC().Truncate(time.Second).Add(-time.Duration(i) * time.Minute * 30)
			records = append(records, r)
			want[i] = metering.Success
		}
		records[at].Dimension, want[at] = "nonsense", metering.Faulty
		got := answers(t, w, records...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("faulty record at %d: %s", at, diff)
		}
		if calls := w.calls("BatchMeterUsage"); calls > 11 {
			t.Errorf("faulty record at %d: %d calls, want at most 11", at, calls)
		}
	}
}

func TestB12EachPassPinsAtLeastOneOfSeveralFaultyRecords(t *testing.T) {
	w := newWorld(t)
	b := w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
	var left []metering.Record
	faulty := map[int64]bool{}
	for i := range 25 {
		r := recordFor(b, "111122223333")
		r.Timestamp = time.Now().UTC().Truncate(time.Second).Add(-time.Duration(i) * time.Minute * 30)
		if i%6 == 1 {
			r.Dimension = "nonsense"
			faulty[r.Timestamp.Unix()] = true
		}
		left = append(left, r)
	}
	accepted := 0
	for pass := 1; len(left) > 0; pass++ {
		if pass > 5 {
			t.Fatalf("%d records left after 4 passes over 4 faulty ones", len(left))
		}
		w.control("DELETE", "calls", "", nil)
		var again []metering.Record
		pinned := 0
		for i, a := range answers(t, w, left...) {
			switch a {
			case metering.Success:
				accepted++
			case metering.Faulty:
				pinned++
				if !faulty[left[i].Timestamp.Unix()] {
					t.Errorf("a good record was called faulty: %+v", left[i])
				}
			case metering.NotRecorded:
				again = append(again, left[i])
			default:
				t.Errorf("got %v", a)
			}
		}
		if calls := w.calls("BatchMeterUsage"); calls > 11 {
			t.Errorf("pass %d: %d calls, want at most 11", pass, calls)
		}
		if pinned == 0 && len(again) > 0 {
			t.Errorf("pass %d pinned nothing", pass)
		}
		left = again
	}
	if want := 25 - len(faulty); accepted != want {
		t.Errorf("%d accepted, want %d", accepted, want)
	}
}

// recorder is a BatchMeterUsage that keeps what it was asked, and answers by a function.
type recorder struct {
	mu     sync.Mutex
	asked  []request
	answer func(w http.ResponseWriter, r request)
}

// request is BatchMeterUsage on the wire.
type request struct {
	ProductCode  *string
	UsageRecords []map[string]any
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var asked request
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	rec.mu.Lock()
	rec.asked = append(rec.asked, asked)
	rec.mu.Unlock()
	rec.answer(w, asked)
}

// recorderWorld is a world in which only that is there.
func recorderWorld(t *testing.T, answer func(http.ResponseWriter, request)) (*world, *recorder) {
	rec := &recorder{answer: answer}
	server := httptest.NewServer(rec)
	t.Cleanup(server.Close)
	return connectTo(t, server.URL), rec
}

// result is one line of an answer.
func result(record map[string]any, status string) map[string]any {
	return map[string]any{"UsageRecord": record, "Status": status, "MeteringRecordId": "id-" + fmt.Sprint(record["LicenseArn"])}
}

func reply(w http.ResponseWriter, document any) { _ = json.NewEncoder(w).Encode(document) }

// arns are records of as many licenses.
func arns(n int) []metering.Record {
	var records []metering.Record
	for i := range n {
		records = append(records, recordFor(bought{LicenseArn: fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%d", i)}, "111122223333"))
	}
	return records
}

func TestB12AnswersAreMatchedByIdentityNotByPosition(t *testing.T) {
	w, _ := recorderWorld(t, func(w http.ResponseWriter, r request) {
		u := r.UsageRecords
		stranger := map[string]any{"LicenseArn": "arn:aws:license-manager::294406891311:license:l-other", "Dimension": "calls", "Timestamp": u[0]["Timestamp"]}
		reply(w, map[string]any{
			"Results": []any{
				result(u[5], "CustomerNotSubscribed"), result(stranger, "Success"), result(u[3], "Enqueued"),
				map[string]any{"Status": "Success"},
				result(u[2], "DuplicateRecord"), result(u[0], "Success"), result(u[6], "Success"), result(u[6], "DuplicateRecord"),
			},
			"UnprocessedRecords": []any{u[1]},
		})
	})
	want := []metering.Answer{
		metering.Success, metering.NotRecorded, metering.Duplicate, metering.Ambiguous /* unknown status */, metering.Ambiguous, /* in no list */
		metering.NotSubscribed, metering.Ambiguous, /* two answers */
	}
	if diff := cmp.Diff(want, answers(t, w, arns(7)...)); diff != "" {
		t.Error(diff)
	}
}

func TestB12UnreadableAnswersAreAmbiguous(t *testing.T) {
	for name, body := range map[string]struct {
		status int
		text   string
	}{
		"HTML":       {http.StatusServiceUnavailable, "<html>busy</html>"},
		"half":       {http.StatusOK, `{"Results": [`},
		"no JSON":    {http.StatusOK, "fine"},
		"empty 400":  {http.StatusBadRequest, ""},
		"empty 200":  {http.StatusOK, "{}"},
		"empty body": {http.StatusOK, ""},
	} {
		w, _ := recorderWorld(t, func(w http.ResponseWriter, _ request) {
			w.WriteHeader(body.status)
			_, _ = io.WriteString(w, body.text)
		})
		if got := answers(t, w, arns(2)...); !slices.Equal(got, []metering.Answer{metering.Ambiguous, metering.Ambiguous}) {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestB14ShapeOfCalls(t *testing.T) {
	w, rec := recorderWorld(t, func(w http.ResponseWriter, r request) {
		results := []any{}
		for _, u := range r.UsageRecords {
			results = append(results, result(u, "Success"))
		}
		reply(w, map[string]any{"Results": results})
	})
	records := arns(60)
	records[7].Quantity = 0 // a record of 0 is sent as such (B16)
	for i := range 3 {
		records = append(records, metering.Record{
			Product: "old", License: policy.Key(fmt.Sprintf("%s/c%d", oldCode, i)), Customer: fmt.Sprintf("c%d", i), Account: "111122223333",
			Dimension: "calls", Timestamp: lastHour(), Quantity: 1_000_000,
		})
	}
	for _, a := range answers(t, w, records...) {
		if a != metering.Success {
			t.Fatalf("got %v", a)
		}
	}
	sizes := []int{}
	for _, call := range rec.asked {
		sizes = append(sizes, len(call.UsageRecords))
		for _, u := range call.UsageRecords {
			_, license := u["LicenseArn"]
			_, account := u["CustomerAWSAccountId"]
			_, customer := u["CustomerIdentifier"]
			_, quantity := u["Quantity"]
			legacy := call.ProductCode != nil
			if legacy && *call.ProductCode != oldCode || license == legacy || account == legacy || customer != legacy || !quantity {
				t.Errorf("sent with product code %v: %v", legacy, u)
			}
		}
	}
	slices.Sort(sizes)
	if diff := cmp.Diff([]int{3, 10, 25, 25}, sizes); diff != "" {
		t.Error(diff)
	}
}

func TestBlockedRecordIsTriedAlone(t *testing.T) {
	w, rec := recorderWorld(t, func(w http.ResponseWriter, r request) { reply(w, map[string]any{"UnprocessedRecords": r.UsageRecords}) })
	records := arns(5)
	records[1].State, records[3].State = metering.Blocked, metering.Blocked
	answers(t, w, records...)
	sizes := []int{}
	for _, call := range rec.asked {
		sizes = append(sizes, len(call.UsageRecords))
	}
	slices.Sort(sizes)
	if diff := cmp.Diff([]int{1, 1, 3}, sizes); diff != "" {
		t.Error(diff)
	}
}

func TestRecordThatAWSWouldTakeForAnotherNeverLeaves(t *testing.T) {
	w, rec := recorderWorld(t, func(w http.ResponseWriter, r request) { http.Error(w, "", http.StatusInternalServerError) })
	records := arns(7)
	records[0].Quantity = 1_500_000
	records[1].Quantity = (1 << 31) * 1_000_000
	records[2].Quantity = -1_000_000
	records[3].Account = ""
	records[4].License = "direct:initech"
	records[5].License = oldCode + "/c"
	records[6].Product = "gone"
	want := []metering.Answer{
		metering.Faulty, metering.Faulty, metering.Faulty, metering.Faulty, metering.Faulty, metering.Faulty, metering.Unavailable,
	}
	if diff := cmp.Diff(want, answers(t, w, records...)); diff != "" {
		t.Error(diff)
	}
	if len(rec.asked) != 0 {
		t.Errorf("%d calls left", len(rec.asked))
	}
}

func TestCancelledSendSaysWhatIsCertain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make(chan struct{})
	w, _ := recorderWorld(t, func(_ http.ResponseWriter, _ request) {
		close(arrived)
		<-ctx.Done()
		time.Sleep(10 * time.Millisecond)
	})
	go func() {
		<-arrived
		cancel()
	}()
	outcomes, err := w.Usage(testProducts()).Send(ctx, arns(1))
	if err != nil || outcomes[0].Answer != metering.Ambiguous {
		t.Errorf("cancelled after the write: got %+v, %v", outcomes, err)
	}
	outcomes, err = w.Usage(testProducts()).Send(ctx, arns(1))
	if err != nil || outcomes[0].Answer != metering.NotRecorded || !strings.Contains(outcomes[0].Error, "quota") {
		t.Errorf("cancelled before: got %+v, %v", outcomes, err)
	}
}
