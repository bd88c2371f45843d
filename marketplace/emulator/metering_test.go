package emulator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

const buyerAccount = "111122223333"

// usage is a record of a concurrent license.
func usage(l license, dimension string, timestamp time.Time, quantity int32) types.UsageRecord {
	return types.UsageRecord{
		LicenseArn: aws.String(l.LicenseArn), CustomerAWSAccountId: aws.String(buyerAccount),
		Dimension: aws.String(dimension), Timestamp: aws.Time(timestamp), Quantity: aws.Int32(quantity),
	}
}

func (w *world) meter(records ...types.UsageRecord) (*marketplacemetering.BatchMeterUsageOutput, error) {
	return w.metering.BatchMeterUsage(w.t.Context(), &marketplacemetering.BatchMeterUsageInput{UsageRecords: records})
}

// statuses meters a batch that has to be processed, and answers each record's status.
func (w *world) statuses(records ...types.UsageRecord) []string {
	w.t.Helper()
	out, err := w.meter(records...)
	if err != nil {
		w.t.Fatalf("BatchMeterUsage: %v", err)
	}
	var got []string
	for _, result := range out.Results {
		got = append(got, string(result.Status))
	}
	return got
}

// code is the name of the error that AWS answered, or "".
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", what, diff)
	}
}

func TestAnIdenticalRecordAgainIsSuccessWithTheSameID(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	eleven := at(t, "2026-11-15T11:00:00Z")
	first, err := w.meter(usage(l, "calls", eleven, 17))
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.meter(usage(l, "calls", eleven.Add(30*time.Minute), 17))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "status", again.Results[0].Status, types.UsageRecordResultStatusSuccess)
	want(t, "id", aws.ToString(again.Results[0].MeteringRecordId), aws.ToString(first.Results[0].MeteringRecordId))
	want(t, "timestamp", aws.ToTime(first.Results[0].UsageRecord.Timestamp).UTC(), eleven)
	want(t, "bill", w.bill(), []billLine{{l.LicenseArn, "calls", "2026-11-15T11:00:00Z", "17"}})
}

func TestTheFirstRecordOfAnHourWins(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	ten, eleven := at(t, "2026-11-15T10:59:59Z"), at(t, "2026-11-15T11:00:00Z")
	got := w.statuses(usage(l, "calls", eleven, 1), usage(l, "calls", eleven, 2), usage(l, "bytes", eleven, 2), usage(l, "calls", ten, 2))
	want(t, "statuses", got, []string{"Success", "DuplicateRecord", "Success", "Success"})
	want(t, "bill", w.bill(), []billLine{
		{l.LicenseArn, "bytes", "2026-11-15T11:00:00Z", "2"},
		{l.LicenseArn, "calls", "2026-11-15T10:00:00Z", "2"},
		{l.LicenseArn, "calls", "2026-11-15T11:00:00Z", "1"},
	})
}

func TestLicensesOfOneBuyerHaveHoursOfTheirOwn(t *testing.T) {
	w := standing(t)
	one, two := w.buyer("acme", buyerAccount, ""), w.buyer("acme", buyerAccount, "")
	eleven := at(t, "2026-11-15T11:00:00Z")
	want(t, "statuses", w.statuses(usage(one, "calls", eleven, 1), usage(two, "calls", eleven, 2)), []string{"Success", "Success"})
}

func TestTimestampsAreHeldToTheWindowAndTheMonth(t *testing.T) {
	for _, test := range []struct{ name, now, timestamp, code string }{
		{"now", noon, noon, ""},
		{"a second ahead", noon, "2026-11-15T12:00:01Z", "TimestampOutOfBoundsException"},
		{"just inside 24 hours", noon, "2026-11-14T12:00:01Z", ""},
		{"exactly 24 hours", noon, "2026-11-14T12:00:00Z", "TimestampOutOfBoundsException"},
		{"last month before 06:00 on the 1st", "2026-12-01T05:59:59Z", "2026-11-30T23:00:00Z", ""},
		{"last month at 06:00 on the 1st", "2026-12-01T06:00:00Z", "2026-11-30T23:00:00Z", "TimestampOutOfBoundsException"},
		{"this month at 06:00 on the 1st", "2026-12-01T06:00:00Z", "2026-12-01T00:00:00Z", ""},
		{"last year before 06:00 on 1 January", "2027-01-01T05:00:00Z", "2026-12-31T23:00:00Z", ""},
		{"last year after 06:00 on 1 January", "2027-01-01T07:00:00Z", "2026-12-31T23:00:00Z", "TimestampOutOfBoundsException"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := standing(t)
			l := w.buyer("acme", buyerAccount, "")
			w.clock(test.now)
			_, err := w.meter(usage(l, "calls", at(t, test.timestamp), 1))
			want(t, "error", code(err), test.code)
		})
	}
}

// spoiled is a record that AWS does not take, and the error by which it refuses the whole batch.
type spoiled struct {
	name, code string
	spoil      func(w *world, good license) types.UsageRecord
}

func spoiledRecords(eleven time.Time) []spoiled {
	return []spoiled{
		{"unknown license", "InvalidLicenseException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 1)
			r.LicenseArn = aws.String("arn:aws:license-manager::294406891311:license:l-none")
			return r
		}},
		{"another buyer's license", "InvalidLicenseException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 1)
			r.CustomerAWSAccountId = aws.String("999900001111")
			return r
		}},
		{"another product's license", "InvalidLicenseException", func(w *world, _ license) types.UsageRecord {
			w.must(http.MethodPut, "products/second", `{"dimensions":[{"key":"calls","types":["ExternallyMetered"]}]}`, nil)
			return usage(w.buyer("second", buyerAccount, ""), "calls", eleven, 1)
		}},
		{"before the license began", "InvalidLicenseException", func(w *world, _ license) types.UsageRecord {
			var l license
			w.must(http.MethodPost, "licenses", `{"product":"acme","account":"111122223333","starts":"2026-11-15T11:30:00Z"}`, &l)
			return usage(l, "calls", eleven, 1)
		}},
		{"after the license ended", "InvalidLicenseException", func(w *world, _ license) types.UsageRecord {
			l := w.buyer("acme", buyerAccount, "")
			w.must(http.MethodPost, l.on("cancel"), "", nil)
			w.advance("10m")
			return usage(l, "calls", at(w.t, "2026-11-15T12:05:00Z"), 1)
		}},
		{"dimension that is not metered", "InvalidUsageDimensionException", func(_ *world, l license) types.UsageRecord {
			return usage(l, "basic", eleven, 1)
		}},
		{"too old", "TimestampOutOfBoundsException", func(_ *world, l license) types.UsageRecord {
			return usage(l, "calls", eleven.Add(-25*time.Hour), 1)
		}},
		{"no customer", "InvalidCustomerIdentifierException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 1)
			r.CustomerAWSAccountId = nil
			return r
		}},
		{"two customers", "InvalidCustomerIdentifierException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 1)
			r.CustomerIdentifier = aws.String("X01EXAMPLEX")
			return r
		}},
		{"negative quantity", "ValidationException", func(_ *world, l license) types.UsageRecord {
			return usage(l, "calls", eleven, -1)
		}},
		{"neither license nor product", "InvalidProductCodeException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 1)
			r.LicenseArn = nil
			return r
		}},
		{"allocations that do not add up", "InvalidUsageAllocationsException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 2)
			r.UsageAllocations = []types.UsageAllocation{allocation(1, "a", "1")}
			return r
		}},
		{"two allocations with one tag set", "InvalidUsageAllocationsException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 2)
			r.UsageAllocations = []types.UsageAllocation{allocation(1, "a", "1", "b", "2"), allocation(1, "b", "2", "a", "1")}
			return r
		}},
		{"six tags", "InvalidTagException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 1)
			r.UsageAllocations = []types.UsageAllocation{allocation(1, "a", "1", "b", "1", "c", "1", "d", "1", "e", "1", "f", "1")}
			return r
		}},
		{"a tag with a character outside the set", "InvalidTagException", func(_ *world, l license) types.UsageRecord {
			r := usage(l, "calls", eleven, 1)
			r.UsageAllocations = []types.UsageAllocation{allocation(1, "a", "~")}
			return r
		}},
	}
}

func TestOneBadRecordRefusesTheWholeBatch(t *testing.T) {
	eleven := at(t, "2026-11-15T11:00:00Z")
	for _, test := range spoiledRecords(eleven) {
		t.Run(test.name, func(t *testing.T) {
			w := standing(t)
			good := w.buyer("acme", buyerAccount, "")
			bad := test.spoil(w, good)
			_, err := w.meter(usage(good, "bytes", eleven, 5), bad)
			want(t, "error", code(err), test.code)
			want(t, "bill", len(w.bill()), 0)
			records := w.records()
			want(t, "records", len(records), 2)
			for _, r := range records {
				want(t, "error of the record", r.Error, test.code)
			}
			want(t, "the good one alone", w.statuses(usage(good, "bytes", eleven, 5)), []string{"Success"})
		})
	}
}

func allocation(quantity int32, tags ...string) types.UsageAllocation {
	a := types.UsageAllocation{AllocatedUsageQuantity: aws.Int32(quantity)}
	for i := 0; i < len(tags); i += 2 {
		a.Tags = append(a.Tags, types.Tag{Key: aws.String(tags[i]), Value: aws.String(tags[i+1])})
	}
	return a
}

func TestAllocationsThatAddUpAreTaken(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	r := usage(l, "calls", at(t, "2026-11-15T11:00:00Z"), 3)
	r.UsageAllocations = []types.UsageAllocation{allocation(1, "user", "john"), allocation(2, "user", "jane"), allocation(0)}
	want(t, "statuses", w.statuses(r), []string{"Success"})
}

func TestProductCodeTogetherWithLicenseArnIsRefused(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	_, err := w.metering.BatchMeterUsage(t.Context(), &marketplacemetering.BatchMeterUsageInput{
		ProductCode:  aws.String("acme"),
		UsageRecords: []types.UsageRecord{usage(l, "calls", at(t, noon), 1)},
	})
	want(t, "error", code(err), "InvalidProductCodeException")
}

func TestABatchHasAtMostTwentyFiveRecords(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	var records []types.UsageRecord
	for i := range 26 {
		records = append(records, usage(l, "calls", at(t, noon).Add(time.Duration(-i%23)*time.Hour), 1))
	}
	_, err := w.meter(records...)
	want(t, "26 records", code(err), "ValidationException")
	want(t, "25 records", len(w.statuses(records[:25]...)), 25)
	want(t, "none", len(w.statuses([]types.UsageRecord{}...)), 0)
}

func TestUsageOfAnEndedLicenseIsTakenForOneHour(t *testing.T) {
	for _, verb := range []string{"cancel", "expire", "deprovision", "replace"} {
		t.Run(verb, func(t *testing.T) {
			w := standing(t)
			l := w.buyer("acme", buyerAccount, "")
			w.must(http.MethodPost, l.on(verb), "", nil)
			w.advance("59m59s")
			want(t, "within the hour", w.statuses(usage(l, "calls", at(t, noon), 4)), []string{"Success"})
			w.advance("1s")
			want(t, "after it", w.statuses(usage(l, "bytes", at(t, noon), 4)), []string{"CustomerNotSubscribed"})
			w.advance("1h")
			want(t, "usage of later, too", w.statuses(usage(l, "bytes", at(t, "2026-11-15T13:30:00Z"), 4)), []string{"CustomerNotSubscribed"})
			want(t, "bill", len(w.bill()), 1)
		})
	}
}

func TestASuspendedBuyerIsNotSubscribed(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	w.must(http.MethodPost, l.on("suspend"), "", nil)
	want(t, "suspended", w.statuses(usage(l, "calls", at(t, noon), 4)), []string{"CustomerNotSubscribed"})
	w.must(http.MethodPost, l.on("resume"), "", nil)
	want(t, "resumed", w.statuses(usage(l, "calls", at(t, noon), 4)), []string{"Success"})
}

func TestLegacyListingsMeterByProductAndCustomer(t *testing.T) {
	w := standing(t)
	l := w.buyer("old", buyerAccount, `,"customerIdentifier":"X01EXAMPLEX"`)
	want(t, "license", l.LicenseArn, "")
	eleven := at(t, "2026-11-15T11:00:00Z")
	send := func(customer, account string) (*marketplacemetering.BatchMeterUsageOutput, error) {
		r := types.UsageRecord{Dimension: aws.String("calls"), Timestamp: aws.Time(eleven), Quantity: aws.Int32(9)}
		if customer != "" {
			r.CustomerIdentifier = aws.String(customer)
		}
		if account != "" {
			r.CustomerAWSAccountId = aws.String(account)
		}
		return w.metering.BatchMeterUsage(t.Context(), &marketplacemetering.BatchMeterUsageInput{
			ProductCode: aws.String("old"), UsageRecords: []types.UsageRecord{r},
		})
	}
	byCustomer, err := send("X01EXAMPLEX", "")
	if err != nil {
		t.Fatal(err)
	}
	byAccount, err := send("", buyerAccount)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "one hour, one id", aws.ToString(byAccount.Results[0].MeteringRecordId), aws.ToString(byCustomer.Results[0].MeteringRecordId))
	want(t, "bill", w.bill(), []billLine{{"old/X01EXAMPLEX", "calls", "2026-11-15T11:00:00Z", "9"}})

	_, err = send("X99NOBODYXX", "")
	want(t, "a customer that does not exist", code(err), "InvalidCustomerIdentifierException")
	stranger, err := send("", "999900001111")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "an account without subscription", stranger.Results[0].Status, types.UsageRecordResultStatusCustomerNotSubscribed)
}

// post sends a request as it is written here, with any well-formed signature.
func (w *world) post(target, body string) (int, map[string]any) {
	w.t.Helper()
	request, err := http.NewRequest(http.MethodPost, w.url+"/", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", target)
	wellSigned(request)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	answer := map[string]any{}
	if err := json.Unmarshal(text, &answer); err != nil {
		w.t.Fatalf("decode %q: %v", text, err)
	}
	return response.StatusCode, answer
}

// wellSigned adds a signature that has the right form.
func wellSigned(request *http.Request) {
	now := time.Now().UTC()
	request.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/"+now.Format("20060102")+
		"/us-east-1/aws-marketplace/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0a", 32))
}

func TestDecimalQuantitiesAreComparedByValue(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	send := func(quantity string) (int, string) {
		status, answer := w.post("AWSMPMeteringService.BatchMeterUsage", fmt.Sprintf(
			`{"UsageRecords":[{"LicenseArn":%q,"CustomerAWSAccountId":%q,"Dimension":"calls","Timestamp":1794740400%s}]}`,
			l.LicenseArn, buyerAccount, quantity))
		results, _ := answer["Results"].([]any)
		if len(results) == 0 {
			return status, fmt.Sprint(answer["__type"])
		}
		return status, fmt.Sprint(results[0].(map[string]any)["Status"])
	}
	for _, test := range []struct {
		quantity, answer string
		status           int
	}{
		{`,"QuantityAsDecimal":"17.00"`, "Success", 200},
		{`,"Quantity":17`, "Success", 200},
		{`,"QuantityAsDecimal":"17.0"`, "Success", 200},
		{`,"QuantityAsDecimal":"17.000001"`, "DuplicateRecord", 200},
		{``, "DuplicateRecord", 200},
		{`,"Quantity":17,"QuantityAsDecimal":"17"`, "ValidationException", 400},
		{`,"QuantityAsDecimal":"017"`, "ValidationException", 400},
		{`,"QuantityAsDecimal":"17.0000001"`, "ValidationException", 400},
		{`,"QuantityAsDecimal":"-1"`, "ValidationException", 400},
		{`,"QuantityAsDecimal":17`, "SerializationException", 400},
		{`,"Quantity":2147483648`, "SerializationException", 400},
		{`,"QuantityAsDecimal":"17","UsageAllocations":[{"AllocatedUsageQuantity":17}]`, "InvalidUsageAllocationsException", 400},
		{`,"Quantity":17,"UsageAllocations":[{"AllocatedUsageQuantityAsDecimal":"17"}]`, "InvalidUsageAllocationsException", 400},
		{`,"Quantity":17,"UsageAllocations":[{"Tags":[{"Key":"a","Value":"b"}]}]`, "InvalidUsageAllocationsException", 400},
		{`,"Quantity":17,"UsageAllocations":[]`, "ValidationException", 400},
		{`,"QuantityAsDecimal":"17","UsageAllocations":[{"AllocatedUsageQuantityAsDecimal":"16.5"},` +
			`{"AllocatedUsageQuantityAsDecimal":"0.5","Tags":[{"Key":"a","Value":"b"}]}]`, "Success", 200},
	} {
		status, answer := send(test.quantity)
		if status != test.status || answer != test.answer {
			t.Errorf("%s: got %d %s, want %d %s", test.quantity, status, answer, test.status, test.answer)
		}
	}
	want(t, "bill", w.bill(), []billLine{{l.LicenseArn, "calls", "2026-11-15T11:00:00Z", "17"}})
}

func TestARequestOfOneMegabyteIsRefused(t *testing.T) {
	w := standing(t)
	padded := func(size int) string {
		body := `{"UsageRecords":[],"Padding":"`
		return body + strings.Repeat("x", size-len(body)-2) + `"}`
	}
	status, answer := w.post("AWSMPMeteringService.BatchMeterUsage", padded(1<<20))
	want(t, "status", status, http.StatusRequestEntityTooLarge)
	want(t, "error", answer["__type"].(string), "RequestEntityTooLargeException")
	status, _ = w.post("AWSMPMeteringService.BatchMeterUsage", padded(1<<20-1))
	want(t, "one byte less", status, http.StatusOK)
}

func TestResolveCustomerNamesBuyerLicenseAndAgreement(t *testing.T) {
	w := standing(t)
	concurrent := w.buyer("acme", buyerAccount, "")
	legacy := w.buyer("old", buyerAccount, "")
	resolve := func(l license) *marketplacemetering.ResolveCustomerOutput {
		var made struct{ Token string }
		w.must(http.MethodPost, "tokens", fmt.Sprintf(`{"license":%q}`, l.ID), &made)
		out, err := w.metering.ResolveCustomer(t.Context(), &marketplacemetering.ResolveCustomerInput{RegistrationToken: aws.String(made.Token)})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := resolve(concurrent)
	want(t, "account", aws.ToString(out.CustomerAWSAccountId), buyerAccount)
	want(t, "license", aws.ToString(out.LicenseArn), concurrent.LicenseArn)
	want(t, "customer", out.CustomerIdentifier, nil)
	want(t, "product", aws.ToString(out.ProductCode), "acme")
	out = resolve(legacy)
	want(t, "legacy license", out.LicenseArn, nil)
	want(t, "legacy customer", aws.ToString(out.CustomerIdentifier), legacy.CustomerIdentifier)

	w.must(http.MethodPost, "tokens", fmt.Sprintf(`{"token":"t1","license":%q,"expires":"2026-11-15T13:00:00Z"}`, concurrent.ID), nil)
	_, answer := w.post("AWSMPMeteringService.ResolveCustomer", `{"RegistrationToken":"t1"}`)
	want(t, "agreement", answer["Metadata"].(map[string]any)["AgreementId"].(string), concurrent.AgreementID)
	w.clock("2026-11-15T13:00:00Z")
	_, answer = w.post("AWSMPMeteringService.ResolveCustomer", `{"RegistrationToken":"t1"}`)
	want(t, "expired", answer["__type"].(string), "ExpiredTokenException")
	_, answer = w.post("AWSMPMeteringService.ResolveCustomer", `{"RegistrationToken":"forged"}`)
	want(t, "forged", answer["__type"].(string), "InvalidTokenException")
	_, answer = w.post("AWSMPMeteringService.ResolveCustomer", `{}`)
	want(t, "missing", answer["__type"].(string), "ValidationException")
}

func TestRecordsShowWhatArrived(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	eleven := at(t, "2026-11-15T11:00:00Z")
	w.statuses(usage(l, "calls", eleven, 3))
	w.statuses(usage(l, "calls", eleven, 4))
	got := w.records()
	want(t, "records", len(got), 2)
	if got[0].ID == "" || got[1].ID != "" {
		t.Errorf("ids: got %q and %q, want one and none", got[0].ID, got[1].ID)
	}
	got[0].ID = ""
	base := record{License: l.LicenseArn, Customer: buyerAccount, Product: "acme", Dimension: "calls", Timestamp: eleven, ReceivedAt: at(t, noon)}
	first, second := base, base
	first.Quantity, first.Status = "3", "Success"
	second.Quantity, second.Status = "4", "DuplicateRecord"
	want(t, "records", got, []record{first, second})
}

func TestBodiesThatAreNoJSONAreRefused(t *testing.T) {
	w := standing(t)
	for _, body := range []string{`{`, `[]`, `{} {}`, `null`, "\xef\xbb\xbf{}"} {
		status, answer := w.post("AWSMPMeteringService.BatchMeterUsage", body)
		if status != http.StatusBadRequest || answer["__type"] != "SerializationException" {
			t.Errorf("%q: got %d %v, want SerializationException", body, status, answer)
		}
	}
}
