package emulator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
)

func TestFaultsAnswerAsTheServiceWould(t *testing.T) {
	for kind, codes := range map[string]map[string]string{
		"throttle": {"json": "ThrottlingException", "cbor": "ThrottlingException", "sqs": "RequestThrottled", "query": "Throttling"},
		"internal": {"json": "InternalServiceErrorException", "cbor": "InternalServiceErrorException", "sqs": "InternalFailure", "query": "InternalFailure"},
		"disabled": {"json": "DisabledApiException", "cbor": "DisabledApiException", "sqs": "DisabledApiException", "query": "DisabledApiException"},
	} {
		w := standing(t)
		w.must(http.MethodPost, "faults", fmt.Sprintf(`{"kind":%q,"count":-1}`, kind), nil)
		want(t, kind, w.everyProtocol(), codes)
		w.must(http.MethodDelete, "faults", "", nil)
		want(t, "deleted", w.everyProtocol()["sqs"], "")
	}
}

func TestOneFaultEndsAndTheOthersStay(t *testing.T) {
	w := standing(t)
	var reads, tokens struct{ ID string }
	w.must(http.MethodPost, "faults", `{"operation":"GetEntitlements","kind":"throttle","count":-1}`, &reads)
	w.must(http.MethodPost, "faults", `{"operation":"GetCallerIdentity","kind":"throttle","count":-1}`, &tokens)
	w.must(http.MethodDelete, "faults/"+reads.ID, "", nil)
	codes := w.everyProtocol()
	want(t, "mended", codes["cbor"], "InvalidParameterException")
	want(t, "left", codes["query"], "Throttling")
	status, _ := w.control(http.MethodDelete, "faults/"+reads.ID, "")
	want(t, "again", status, http.StatusNotFound)
}

func TestAFaultIsForItsOperationAndCount(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPost, "faults", `{"operation":"GetEntitlements","kind":"error","code":"AccessDeniedException","count":2}`, nil)
	ask := func() string {
		_, err := w.page(&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("acme")})
		return code(err)
	}
	want(t, "another operation", w.everyProtocol()["sqs"], "")
	w.must(http.MethodPost, "faults", `{"operation":"GetEntitlements","kind":"throttle"}`, nil)
	// everyProtocol has used up the first of the two already.
	want(t, "answers", []string{ask(), ask(), ask()}, []string{"AccessDeniedException", "ThrottlingException", ""})
}

func TestAmbiguousIsCarriedOutButNotAnswered(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	w.must(http.MethodPost, "faults", `{"operation":"BatchMeterUsage","kind":"ambiguous"}`, nil)
	eleven := at(t, "2026-11-15T11:00:00Z")
	if _, err := w.meter(usage(l, "calls", eleven, 17)); err == nil {
		t.Error("the lost answer arrived")
	}
	want(t, "bill", len(w.bill()), 1)
	want(t, "again", w.statuses(usage(l, "calls", eleven, 17)), []string{"Success"})
}

func TestAmbiguousCanCarryOutSomeRecords(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	w.must(http.MethodPost, "faults", `{"operation":"BatchMeterUsage","kind":"ambiguous","indexes":[1]}`, nil)
	eleven := at(t, "2026-11-15T11:00:00Z")
	if _, err := w.meter(usage(l, "calls", eleven, 1), usage(l, "bytes", eleven, 2)); err == nil {
		t.Error("the lost answer arrived")
	}
	want(t, "bill", w.bill(), []billLine{{l.LicenseArn, "bytes", "2026-11-15T11:00:00Z", "2"}})
}

func TestDuplicateDeniesAnIdenticalRecordOnly(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	w.must(http.MethodPost, "faults", `{"operation":"BatchMeterUsage","kind":"duplicate"}`, nil)
	r := usage(l, "calls", at(t, "2026-11-15T11:00:00Z"), 17)
	other := usage(l, "calls", at(t, "2026-11-15T11:00:00Z"), 18) // a duplicate by itself: the fault waits on
	got := [][]string{w.statuses(r), w.statuses(other), w.statuses(r), w.statuses(r)}
	want(t, "statuses", got, [][]string{{"Success"}, {"DuplicateRecord"}, {"DuplicateRecord"}, {"Success"}})
}

func TestUnprocessedRecordsComeBack(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	eleven := at(t, "2026-11-15T11:00:00Z")
	for _, fault := range []string{`"indexes":[0]`, `"match":"\"calls\""`} {
		w.must(http.MethodPost, "faults", fmt.Sprintf(`{"operation":"BatchMeterUsage","kind":"unprocessed",%s}`, fault), nil)
		out, err := w.meter(usage(l, "calls", eleven, 17), usage(l, "bytes", eleven, 3))
		if err != nil {
			t.Fatal(err)
		}
		want(t, "unprocessed", len(out.UnprocessedRecords), 1)
		want(t, "dimension", aws.ToString(out.UnprocessedRecords[0].Dimension), "calls")
		want(t, "processed", aws.ToString(out.Results[0].UsageRecord.Dimension), "bytes")
	}
	want(t, "bill", len(w.bill()), 1)
	want(t, "all of them", w.statuses(usage(l, "calls", eleven, 17)), []string{"Success"})
}

func TestMatchChoosesTheCall(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPost, "faults", `{"kind":"throttle","match":"acme"}`, nil)
	_, err := w.page(&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("old")})
	want(t, "without the text", code(err), "")
	_, err = w.page(&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("acme")})
	want(t, "with it", code(err), "ThrottlingException")
}

func TestSlowAnswersComeLateAndTimeoutsNever(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	w.must(http.MethodPost, "faults", `{"operation":"BatchMeterUsage","kind":"slow","delay":"100ms"}`, nil)
	began := time.Now()
	want(t, "slow", w.statuses(usage(l, "calls", at(t, noon), 1)), []string{"Success"})
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("took %v, want at least 100ms", took)
	}
	w.must(http.MethodPost, "faults", `{"operation":"GetEntitlements","kind":"timeout"}`, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := w.entitlements.GetEntitlements(ctx, &marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("acme")})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timeout: got %v, want the deadline", err)
	}
}

func TestFaultsThatCannotHappenAreRefused(t *testing.T) {
	w := standing(t)
	for _, body := range []string{
		`{}`, `{"kind":"earthquake"}`, `{"kind":"error"}`, `{"kind":"throttle","code":"X"}`, `{"kind":"throttle","count":0}`,
		`{"kind":"throttle","count":-2}`, `{"kind":"throttle","indexes":[0]}`, `{"kind":"unprocessed","indexes":[25]}`,
		`{"kind":"throttle","delay":"1s"}`, `{"kind":"slow","delay":"2h"}`, `{"kind":"slow","delay":5}`, `{"kind":"slow","operation":"a b"}`,
		`{"kind":"throttle","id":"x"}`, `{"kind":"throttle","colour":"red"}`,
	} {
		status, _ := w.control(http.MethodPost, "faults", body)
		if status != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", body, status)
		}
	}
}
