package emulator_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"
	"github.com/aws/smithy-go/encoding/cbor"
)

func TestWhatTheAgreementAPIDoesNotTakeSaysWhy(t *testing.T) {
	w := standing(t)
	w.buyer("acme", buyerAccount, `,"agreementId":"a"`)
	w.buyer("acme", buyerAccount, `,"agreementId":"b"`)
	var first struct{ NextToken string }
	w.ask("SearchAgreements", `{"filters":`+sellers()+`,"maxResults":1}`, &first)
	search := func(more string) string { return `{"filters":` + sellers() + more + `}` }
	for _, test := range []struct {
		operation, body string
		status          int
		code, reason    string
	}{
		{"SearchAgreements", `{}`, 400, "ValidationException", "MISSING_PARTY_TYPE"},
		{"SearchAgreements", `{"filters":[]}`, 400, "ValidationException", "INVALID_FILTERS"},
		{"SearchAgreements", `{"filters":` + filters("AgreementType", "PurchaseAgreement") + `}`, 400, "ValidationException", "MISSING_PARTY_TYPE"},
		{"SearchAgreements", `{"filters":` + filters("PartyType", "Proposer") + `}`, 400, "ValidationException", "UNSUPPORTED_FILTERS"},
		{"SearchAgreements", `{"filters":` + filters("PartyType", "Buyer", "AgreementType", "PurchaseAgreement") + `}`, 400, "ValidationException", "INVALID_PARTY_TYPE"},
		{"SearchAgreements", `{"filters":` + sellers("Status", "ACTIVE", "Status", "EXPIRED") + `}`, 400, "ValidationException", "INVALID_FILTERS"},
		{"SearchAgreements", `{"filters":` + sellers("Status", "ARCHIVED") + `}`, 400, "ValidationException", "INVALID_FILTER_VALUES"},
		{"SearchAgreements", `{"filters":` + sellers("LicenseArn", "a b") + `}`, 400, "ValidationException", "INVALID_FILTER_VALUES"},
		{"SearchAgreements", `{"filters":` + sellers("AfterEndTime", "yesterday") + `}`, 400, "ValidationException", "INVALID_FILTER_VALUES"},
		{"SearchAgreements", `{"filters":` + sellers("Colour", "red") + `}`, 400, "ValidationException", "INVALID_FILTER_NAME"},
		{"SearchAgreements", `{"filters":[{"values":["x"]}]}`, 400, "ValidationException", "MISSING_FILTER_NAME"},
		{"SearchAgreements", `{"filters":[{"name":"Status"}]}`, 400, "ValidationException", "MISSING_FILTER_VALUES"},
		{"SearchAgreements", `{"filters":[{"name":"Status","values":["ACTIVE","EXPIRED"]}]}`, 400, "ValidationException", "INVALID_FILTER_VALUES"},
		{"SearchAgreements", search(`,"catalog":"Mine"`), 400, "ValidationException", "INVALID_CATALOG"},
		{"SearchAgreements", search(`,"sort":{"sortBy":"Size"}`), 400, "ValidationException", "INVALID_SORT_BY"},
		{"SearchAgreements", search(`,"sort":{"sortOrder":"UP"}`), 400, "ValidationException", "INVALID_SORT_ORDER"},
		{"SearchAgreements", search(`,"maxResults":51`), 400, "ValidationException", "INVALID_MAX_RESULTS"},
		{"SearchAgreements", search(`,"maxResults":0`), 400, "ValidationException", "INVALID_MAX_RESULTS"},
		{"SearchAgreements", search(`,"nextToken":"Zm9yZ2Vk"`), 400, "ValidationException", "INVALID_NEXT_TOKEN"},
		{"SearchAgreements", search(`,"sort":{"sortBy":"StartTime"},"nextToken":"` + first.NextToken + `"`), 400, "ValidationException", "INVALID_NEXT_TOKEN"},
		{"SearchAgreements", search(`,"maxResults":"1"`), 400, "SerializationException", ""},
		{"SearchAgreements", `{"filters":` + filters("PartyType", "Acceptor", "AgreementType", "PurchaseAgreement", "LicenseArn", "x") + `}`, 400, "ValidationException", "UNSUPPORTED_FILTERS"},
		{"DescribeAgreement", `{}`, 400, "ValidationException", "MISSING_AGREEMENT_ID"},
		{"DescribeAgreement", `{"agreementId":"a b"}`, 400, "ValidationException", "INVALID_AGREEMENT_ID"},
		{"DescribeAgreement", `{"agreementId":"nobody"}`, 404, "ResourceNotFoundException", ""},
		{"GetAgreementEntitlements", `{"agreementId":"nobody"}`, 404, "ResourceNotFoundException", ""},
		{"GetAgreementEntitlements", `{"agreementId":"a","nextToken":"x"}`, 400, "ValidationException", "INVALID_NEXT_TOKEN"},
		{"GetAgreementEntitlements", `{"agreementId":"a","maxResults":0}`, 400, "ValidationException", "INVALID_MAX_RESULTS"},
	} {
		status, got := w.post(agreementTarget+"."+test.operation, test.body)
		reason, _ := got["reason"].(string)
		want(t, test.operation+" "+test.body, fmt.Sprint(status, got["__type"], reason), fmt.Sprint(test.status, test.code, test.reason))
	}
}

func TestTheSellerHasAcceptedNothing(t *testing.T) {
	w := standing(t)
	w.buyer("acme", buyerAccount, "")
	var page struct{ AgreementViewSummaries []agreementView }
	w.ask("SearchAgreements", `{"filters":`+filters("PartyType", "Acceptor", "AgreementType", "PurchaseAgreement", "Status", "ACTIVE")+`}`, &page)
	want(t, "agreements", len(page.AgreementViewSummaries), 0)
}

func TestFaultsOfTheAgreementAPIHaveItsStatuses(t *testing.T) {
	w := standing(t)
	w.buyer("acme", buyerAccount, "")
	for _, test := range []struct {
		fault  string
		status int
		code   string
	}{
		{`{"kind":"throttle"}`, 429, "ThrottlingException"},
		{`{"kind":"internal"}`, 500, "InternalServerException"},
		{`{"kind":"error","code":"AccessDeniedException"}`, 403, "AccessDeniedException"},
		{`{"operation":"SearchAgreements","kind":"error","code":"ServiceQuotaExceededException"}`, 402, "ServiceQuotaExceededException"},
	} {
		w.must(http.MethodPost, "faults", test.fault, nil)
		status, got := w.post(agreementTarget+".SearchAgreements", `{"filters":`+sellers()+`}`)
		want(t, test.fault, fmt.Sprint(status, got["__type"]), fmt.Sprint(test.status, test.code))
	}
}

func TestEmptyPagesOfTheAgreementAPICarryAToken(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, "")
	for operation, members := range map[string][2]string{
		"SearchAgreements":         {`"filters":` + sellers(), "agreementViewSummaries"},
		"GetAgreementEntitlements": {fmt.Sprintf(`"agreementId":%q`, l.AgreementID), "agreementEntitlements"},
	} {
		w.must(http.MethodPost, "faults", fmt.Sprintf(`{"operation":%q,"kind":"empty"}`, operation), nil)
		var empty, full map[string]any
		w.ask(operation, "{"+members[0]+"}", &empty)
		want(t, operation+" empty", len(empty[members[1]].([]any)), 0)
		w.ask(operation, fmt.Sprintf(`{%s,"nextToken":%q}`, members[0], empty["nextToken"]), &full)
		want(t, operation, len(full[members[1]].([]any)), 1)
		want(t, operation+" token", full["nextToken"], nil)
	}
}

// cbor makes a call of the Agreement API as Go's SDK does.
func (w *world) cbor(operation string, in cbor.Map) (int, cbor.Map) {
	w.t.Helper()
	request := newRequest(w.t, http.MethodPost, w.url+"/service/"+agreementTarget+"/operation/"+operation, string(cbor.Encode(in)),
		"Smithy-Protocol", "rpc-v2-cbor", "Content-Type", "application/cbor", "Accept", "application/cbor")
	wellSigned(request)
	status, header, answer := raw(w.t, request)
	want(w.t, "protocol", header.Get("Smithy-Protocol"), "rpc-v2-cbor")
	value, err := cbor.Decode([]byte(answer))
	if err != nil {
		w.t.Fatalf("%s: decode %q: %v", operation, answer, err)
	}
	return status, value.(cbor.Map)
}

func TestTheAgreementAPISpeaksCBOR(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, `,"ends":"2027-01-01T00:00:00Z"`)
	filter := func(name, value string) cbor.Map {
		return cbor.Map{"name": cbor.String(name), "values": cbor.List{cbor.String(value)}}
	}
	search := cbor.Map{
		"filters":    cbor.List{filter("PartyType", "Proposer"), filter("AgreementType", "PurchaseAgreement"), filter("LicenseArn", l.LicenseArn)},
		"maxResults": cbor.Uint(50), "sort": cbor.Map{"sortBy": cbor.String("LastUpdateTime"), "sortOrder": cbor.String("ASCENDING")},
	}
	status, out := w.cbor("SearchAgreements", search)
	want(t, "status", status, http.StatusOK)
	one := out["agreementViewSummaries"].(cbor.List)[0].(cbor.Map)
	want(t, "license", one["entitlements"].(cbor.List)[0].(cbor.Map)["licenseArn"], cbor.Value(cbor.String(l.LicenseArn)))
	for _, member := range []string{"startTime", "endTime", "acceptanceTime", "lastUpdateTime"} {
		if tag, ok := one[member].(*cbor.Tag); !ok || tag.ID != 1 {
			t.Errorf("%s is %v, want tag 1", member, one[member])
		}
	}
	_, out = w.cbor("DescribeAgreement", cbor.Map{"agreementId": cbor.String(l.AgreementID)})
	want(t, "described", out["status"], cbor.Value(cbor.String("ACTIVE")))
	_, out = w.cbor("GetAgreementEntitlements", cbor.Map{"agreementId": cbor.String(l.AgreementID)})
	want(t, "entitled", out["agreementEntitlements"].(cbor.List)[0].(cbor.Map)["status"], cbor.Value(cbor.String("PROVISIONED")))
	status, out = w.cbor("DescribeAgreement", cbor.Map{"agreementId": cbor.String("nobody")})
	want(t, "unknown", status, http.StatusNotFound)
	want(t, "unknown", out["__type"], cbor.Value(cbor.String("ResourceNotFoundException")))
	delete(search, "filters")
	status, out = w.cbor("SearchAgreements", search)
	want(t, "refused", status, http.StatusBadRequest)
	want(t, "reason", out["reason"], cbor.Value(cbor.String("MISSING_PARTY_TYPE")))
}

func TestGosSDKReadsAgreements(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, `,"ends":"2027-01-01T00:00:00Z"`)
	filter := func(name, value string) types.Filter {
		return types.Filter{Name: aws.String(name), Values: []string{value}}
	}
	pages := marketplaceagreement.NewSearchAgreementsPaginator(w.agreements, &marketplaceagreement.SearchAgreementsInput{
		Filters:    []types.Filter{filter("PartyType", "Proposer"), filter("AgreementType", "PurchaseAgreement"), filter("LicenseArn", l.LicenseArn)},
		Sort:       &types.Sort{SortBy: aws.String("LastUpdateTime"), SortOrder: types.SortOrderAscending},
		MaxResults: aws.Int32(1),
	})
	out, err := pages.NextPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one := out.AgreementViewSummaries[0]
	want(t, "more pages", pages.HasMorePages(), false)
	want(t, "id", aws.ToString(one.AgreementId), l.AgreementID)
	want(t, "license", aws.ToString(one.Entitlements[0].LicenseArn), l.LicenseArn)
	want(t, "end", one.EndTime.UTC(), at(t, "2027-01-01T00:00:00Z"))
	want(t, "last update", one.LastUpdateTime.UTC(), at(t, noon))
	want(t, "reason", one.EndTimeBehaviorReasonCode, types.EndTimeBehaviorReasonCodeNoRenewalTerm)
	described, err := w.agreements.DescribeAgreement(t.Context(), &marketplaceagreement.DescribeAgreementInput{AgreementId: one.AgreementId})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "behavior", described.EndTimeBehavior.Type, types.EndTimeBehaviorTypeExpire)
	entitled, err := w.agreements.GetAgreementEntitlements(t.Context(), &marketplaceagreement.GetAgreementEntitlementsInput{AgreementId: one.AgreementId})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "entitlement", entitled.AgreementEntitlements[0].Status, types.AgreementEntitlementStatusProvisioned)
}

func TestGosSDKReadsTheErrorsOfTheAgreementAPI(t *testing.T) {
	w := standing(t)
	_, err := w.agreements.DescribeAgreement(t.Context(), &marketplaceagreement.DescribeAgreementInput{AgreementId: aws.String("nobody")})
	var unknown *types.ResourceNotFoundException
	if !errors.As(err, &unknown) || aws.ToString(unknown.ResourceId) != "nobody" {
		t.Errorf("got %v, want ResourceNotFoundException of nobody", err)
	}
	_, err = w.agreements.SearchAgreements(t.Context(), &marketplaceagreement.SearchAgreementsInput{})
	var unacceptable *types.ValidationException
	if !errors.As(err, &unacceptable) || unacceptable.Reason != types.ValidationExceptionReasonMissingPartyType || len(unacceptable.Fields) != 1 {
		t.Errorf("got %v, want ValidationException MISSING_PARTY_TYPE", err)
	}
	w.must(http.MethodPost, "faults", `{"kind":"error","code":"AccessDeniedException"}`, nil)
	_, err = w.agreements.SearchAgreements(t.Context(), &marketplaceagreement.SearchAgreementsInput{})
	var denied *types.AccessDeniedException
	if !errors.As(err, &denied) {
		t.Errorf("got %v, want AccessDeniedException", err)
	}
}
