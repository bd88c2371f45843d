package emulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const agreementTarget = "AWSMPCommerceService_v20200301"

// agreementView is an AgreementViewSummary, or what DescribeAgreement answers.
type agreementView struct {
	AgreementID     string                     `json:"agreementId"`
	AgreementType   string                     `json:"agreementType"`
	Acceptor        struct{ AccountID string } `json:"acceptor"`
	Proposer        struct{ AccountID string } `json:"proposer"`
	AcceptanceTime  float64                    `json:"acceptanceTime"`
	StartTime       float64                    `json:"startTime"`
	EndTime         *float64                   `json:"endTime"`
	LastUpdateTime  float64                    `json:"lastUpdateTime"`
	Status          string                     `json:"status"`
	InitialID       string                     `json:"initialAgreementId"`
	Behavior        string                     `json:"endTimeBehaviorType"`
	Reason          string                     `json:"endTimeBehaviorReasonCode"`
	EndTimeBehavior *struct {
		Type           string
		ReasonCode     string
		RenewalSummary *struct{ OfferID string }
	} `json:"endTimeBehavior"`
	Entitlements    []struct{ LicenseArn string } `json:"entitlements"`
	ProposalSummary struct {
		OfferID   string
		Resources []struct{ ID, Type string }
	} `json:"proposalSummary"`
}

// ask makes a call of the Agreement API in JSON that has to succeed.
func (w *world) ask(operation, body string, answer any) {
	w.t.Helper()
	status, got := w.post(agreementTarget+"."+operation, body)
	if status != http.StatusOK {
		w.t.Fatalf("%s %s: got status %d, %v", operation, body, status, got)
	}
	text, err := json.Marshal(got)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		w.t.Fatalf("%s: decode %s: %v", operation, text, err)
	}
}

// filters writes pairs of name and value, with those that a seller always gives.
func filters(pairs ...string) string {
	list := []map[string]any{}
	for i := range len(pairs) / 2 {
		list = append(list, map[string]any{"name": pairs[2*i], "values": []string{pairs[2*i+1]}})
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func sellers(pairs ...string) string {
	return filters(append([]string{"PartyType", "Proposer", "AgreementType", "PurchaseAgreement"}, pairs...)...)
}

// search reads every page of a seller's search, two agreements at a time.
func (w *world) search(sort string, pairs ...string) []agreementView {
	w.t.Helper()
	var all []agreementView
	token := ""
	for {
		var page struct {
			AgreementViewSummaries []agreementView
			NextToken              string
		}
		w.ask("SearchAgreements", fmt.Sprintf(`{"catalog":"AWSMarketplace","filters":%s,"maxResults":2%s%s}`, sellers(pairs...), sort, token), &page)
		if len(page.AgreementViewSummaries) > 2 {
			w.t.Errorf("a page has %d agreements, want at most 2", len(page.AgreementViewSummaries))
		}
		all = append(all, page.AgreementViewSummaries...)
		if page.NextToken == "" {
			return all
		}
		token = fmt.Sprintf(`,"nextToken":%q`, page.NextToken)
	}
}

// found is the agreements of a search, by name.
func (w *world) found(names map[string]string, sort string, pairs ...string) []string {
	w.t.Helper()
	got := []string{}
	for _, a := range w.search(sort, pairs...) {
		got = append(got, names[a.AgreementID])
	}
	return got
}

func TestASummaryTellsWhatTheSellerMustKnow(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPut, "products/acme", `{"id":"prod-acme","dimensions":[{"key":"basic","types":["Entitled"]}]}`, nil)
	l := w.buyer("acme", buyerAccount, `,"agreementId":"agmt-1","ends":"2027-01-01T00:00:00Z","endBehavior":"RENEW"`)
	got := w.search("")[0]
	offer := got.ProposalSummary.OfferID
	if !strings.HasPrefix(offer, "offer-") {
		t.Errorf("offer is %q", offer)
	}
	end := float64(at(t, "2027-01-01T00:00:00Z").Unix())
	expected := agreementView{
		AgreementID: "agmt-1", AgreementType: "PurchaseAgreement", Status: "ACTIVE", InitialID: "agmt-1", Behavior: "RENEW",
		AcceptanceTime: float64(at(t, noon).Unix()), StartTime: float64(at(t, "2026-01-01T00:00:00Z").Unix()), EndTime: &end,
		LastUpdateTime: float64(at(t, noon).Unix()), Entitlements: []struct{ LicenseArn string }{{l.LicenseArn}},
	}
	expected.Acceptor.AccountID, expected.Proposer.AccountID = buyerAccount, "294406891311"
	expected.ProposalSummary.OfferID = offer
	expected.ProposalSummary.Resources = []struct{ ID, Type string }{{"prod-acme", "SaaSProduct"}}
	want(t, "summary", got, expected)
	var described agreementView
	w.ask("DescribeAgreement", `{"agreementId":"agmt-1"}`, &described)
	if described.EndTimeBehavior == nil || described.EndTimeBehavior.RenewalSummary == nil {
		t.Fatalf("described without the renewal: %+v", described)
	}
	want(t, "behavior", described.EndTimeBehavior.Type, "RENEW")
	want(t, "offer of the renewal", described.EndTimeBehavior.RenewalSummary.OfferID, offer)
	expected.EndTimeBehavior, expected.Behavior, expected.Entitlements, expected.LastUpdateTime = described.EndTimeBehavior, "", nil, 0
	want(t, "described", described, expected)
}

func TestPayAsYouGoAgreementsHaveNoEnd(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPut, "products/payg", `{"model":"subscription","dimensions":[{"key":"calls","types":["ExternallyMetered"]}]}`, nil)
	l := w.buyer("payg", buyerAccount, "")
	got := w.search("", "LicenseArn", l.LicenseArn)
	want(t, "found", len(got), 1)
	want(t, "end", got[0].EndTime, nil)
	want(t, "behavior", got[0].Behavior+got[0].Reason, "")
	want(t, "entitlements", w.holds("payg", nil), []string{})
	want(t, "with an end", len(w.search("", "AfterEndTime", "2000-01-01T00:00:00Z")), 0)
}

func TestLegacyAgreementsNameNoLicense(t *testing.T) {
	w := standing(t)
	l := w.buyer("old", buyerAccount, "")
	want(t, "entitlements", len(w.search("")[0].Entitlements), 0)
	var entitled struct{ AgreementEntitlements []map[string]any }
	w.ask("GetAgreementEntitlements", fmt.Sprintf(`{"agreementId":%q}`, l.AgreementID), &entitled)
	want(t, "entitlement", entitled.AgreementEntitlements[0]["licenseArn"], nil)
}

func TestAChainKeepsItsFirstAgreement(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, `,"agreementId":"first","ends":"2027-01-01T00:00:00Z","endBehavior":"RENEW"`)
	var renewed, replaced license
	w.advance("1h")
	w.must(http.MethodPost, l.on("renew"), `{"expires":"2028-01-01T00:00:00Z"}`, &renewed)
	w.advance("1h")
	w.must(http.MethodPost, l.on("replace"), `{}`, &replaced)
	names := map[string]string{"first": "first", renewed.AgreementID: "second", replaced.AgreementID: "third"}
	var got []string
	for _, a := range w.search(`,"sort":{"sortBy":"LastUpdateTime"}`, "InitialAgreementId", "first") {
		got = append(got, fmt.Sprintf("%s %s %s since %s", names[a.AgreementID], a.Status, a.Entitlements[0].LicenseArn,
			time.Unix(int64(a.LastUpdateTime), 0).UTC().Format("15:04")))
	}
	want(t, "chain", got, []string{
		"first RENEWED " + l.LicenseArn + " since 13:00", "second REPLACED " + l.LicenseArn + " since 14:00",
		"third ACTIVE " + replaced.LicenseArn + " since 14:00",
	})
	want(t, "the old license", w.found(names, "", "LicenseArn", l.LicenseArn, "Status", "ACTIVE"), []string{})
	want(t, "end of the renewed", *w.search("", "Status", "REPLACED")[0].EndTime, float64(at(t, "2028-01-01T00:00:00Z").Unix()))
}

func TestEveryChangeMovesStatusAndLastUpdate(t *testing.T) {
	for _, test := range []struct{ verb, body, status, entitlement string }{
		{"entitlements", `[{"dimension":"seats","value":5}]`, "ACTIVE", "PROVISIONED"},
		{"cancel", "", "CANCELLED", "DEPROVISIONED AGREEMENT_INACTIVE"},
		{"expire", "", "EXPIRED", "DEPROVISIONED AGREEMENT_INACTIVE"},
		{"deprovision", "", "TERMINATED", "DEPROVISIONED AGREEMENT_INACTIVE"},
	} {
		t.Run(test.verb, func(t *testing.T) {
			w := standing(t)
			l := w.buyer("acme", buyerAccount, "")
			w.advance("90m")
			want(t, "changed since noon", len(w.search("", "AfterLastUpdateTime", noon)), 0)
			method := http.MethodPost
			if test.verb == "entitlements" {
				method = http.MethodPut
			}
			w.must(method, l.on(test.verb), test.body, nil)
			changed := w.search(`,"sort":{"sortBy":"LastUpdateTime"}`, "AfterLastUpdateTime", noon, "BeforeLastUpdateTime", "2026-11-15T13:30:00.001Z")
			if len(changed) != 1 {
				t.Fatalf("changed since noon: got %d, want 1", len(changed))
			}
			want(t, "status", changed[0].Status, test.status)
			want(t, "license", changed[0].Entitlements[0].LicenseArn, l.LicenseArn)
			want(t, "entitlement", w.entitlementOf(l.AgreementID), test.entitlement)
		})
	}
}

// entitlementOf is the state of what an agreement entitles to.
func (w *world) entitlementOf(agreement string) string {
	w.t.Helper()
	var answer struct {
		AgreementEntitlements []struct{ Status, StatusReasonCode string }
	}
	w.ask("GetAgreementEntitlements", fmt.Sprintf(`{"agreementId":%q}`, agreement), &answer)
	if len(answer.AgreementEntitlements) != 1 {
		w.t.Fatalf("got %d entitlements, want 1", len(answer.AgreementEntitlements))
	}
	return strings.TrimSpace(answer.AgreementEntitlements[0].Status + " " + answer.AgreementEntitlements[0].StatusReasonCode)
}

func TestAnAgreementOfTheFutureGetsItsLicenseWhenItStarts(t *testing.T) {
	w := standing(t)
	var l license
	w.must(http.MethodPost, "licenses?notify=false", `{"product":"acme","account":"111122223333","starts":"2026-11-15T13:00:00Z"}`, &l)
	want(t, "before", len(w.search("", "Status", "ACTIVE")[0].Entitlements), 0)
	want(t, "by license before", len(w.search("", "LicenseArn", l.LicenseArn)), 0)
	want(t, "state before", w.entitlementOf(l.AgreementID), "SCHEDULED FUTURE_START_DATE")
	w.advance("1h")
	want(t, "changed at the start", len(w.search("", "AfterLastUpdateTime", noon)), 1)
	want(t, "by license", len(w.search("", "LicenseArn", l.LicenseArn)), 1)
	want(t, "state", w.entitlementOf(l.AgreementID), "PROVISIONED")
}

func TestAnAgreementThatRenewsStaysActiveAfterItsDate(t *testing.T) {
	w := standing(t)
	body := `,"ends":"2026-11-15T13:00:00Z","endBehavior":%q,"agreementId":%q`
	for _, behavior := range []string{"RENEW", "REPLACE", "EXPIRE"} {
		w.buyer("acme", buyerAccount, fmt.Sprintf(body, behavior, behavior))
	}
	w.advance("2h")
	got := map[string]string{}
	for _, a := range w.search("") {
		got[a.AgreementID] = a.Behavior + " " + a.Reason + " " + a.Status
	}
	want(t, "agreements", got, map[string]string{
		"RENEW": "RENEW  ACTIVE", "REPLACE": "REPLACE NO_RENEWAL_TERM ACTIVE", "EXPIRE": "EXPIRE NO_RENEWAL_TERM EXPIRED",
	})
	var described agreementView
	w.ask("DescribeAgreement", `{"agreementId":"EXPIRE"}`, &described)
	if described.EndTimeBehavior != nil {
		t.Errorf("an ended agreement has the behavior %+v", described.EndTimeBehavior)
	}
}

func TestSearchFiltersAndSorts(t *testing.T) {
	w := standing(t)
	a := w.buyer("acme", buyerAccount, `,"agreementId":"a","ends":"2027-03-01T00:00:00Z","endReason":"ACCEPTOR_RENEW_OPTED_OUT"`)
	w.advance("1h")
	w.must(http.MethodPost, "licenses", `{"product":"acme","account":"222233334444","agreementId":"b","ends":"2027-02-01T00:00:00Z","endBehavior":"RENEW"}`, nil)
	w.advance("1h")
	c := w.buyer("old", buyerAccount, `,"agreementId":"c"`)
	names := map[string]string{"a": "a", "b": "b", "c": "c"}
	var old struct{ ID string }
	w.must(http.MethodPut, "products/old", `{"agreements":"legacy","dimensions":[]}`, &old)
	for _, test := range []struct {
		sort  string
		pairs []string
		want  string
	}{
		{"", nil, "bac"},
		{`,"sort":{"sortOrder":"DESCENDING"}`, nil, "cab"},
		{`,"sort":{"sortBy":"StartTime"}`, nil, "acb"},
		{`,"sort":{"sortBy":"StartTime","sortOrder":"DESCENDING"}`, nil, "bca"},
		{`,"sort":{"sortBy":"LastUpdateTime"}`, nil, "abc"},
		{"", []string{"AcceptorAccountId", buyerAccount}, "ac"},
		{"", []string{"AcceptorAccountId", buyerAccount, "ResourceIdentifier", old.ID}, "c"},
		{"", []string{"LicenseArn", a.LicenseArn}, "a"},
		{"", []string{"InitialAgreementId", c.AgreementID}, "c"},
		{"", []string{"InitialAgreementId", "d"}, ""},
		{"", []string{"ResourceType", "SaaSProduct"}, "bac"},
		{"", []string{"ResourceType", "AmiProduct"}, ""},
		{"", []string{"EndTimeBehaviorType", "RENEW"}, "b"},
		{"", []string{"EndTimeBehaviorReasonCode", "ACCEPTOR_RENEW_OPTED_OUT"}, "a"},
		{"", []string{"AfterEndTime", "2027-02-01T00:00:00Z"}, "a"},
		{"", []string{"BeforeEndTime", "2027-03-01T00:00:00Z"}, "b"},
		{"", []string{"AfterStartTime", "2026-01-01T00:00:00Z"}, "b"},
		{"", []string{"AfterLastUpdateTime", noon, "BeforeLastUpdateTime", "2026-11-15T14:00:00+00:00"}, "b"},
		{"", []string{"Status", "CANCELLED"}, ""},
		{"", []string{"OfferSetId", "none"}, ""},
	} {
		want(t, test.sort+strings.Join(test.pairs, " "), strings.Join(w.found(names, test.sort, test.pairs...), ""), test.want)
	}
}

func TestAgreementsAreEachReadOnceWhateverTheOrder(t *testing.T) {
	w := standing(t)
	for i := range 41 {
		w.buyer("acme", fmt.Sprintf("5555%08d", i), fmt.Sprintf(`,"agreementId":"a-%d","ends":"2027-01-%02dT00:00:00Z","notify":false`, i, 1+i*7%5))
	}
	for _, sort := range []string{"", `,"sort":{"sortOrder":"DESCENDING"}`, `,"sort":{"sortBy":"LastUpdateTime"}`} {
		seen := map[string]int{}
		ends := []float64{}
		for _, a := range w.search(sort) {
			seen[a.AgreementID]++
			ends = append(ends, *a.EndTime)
		}
		want(t, "agreements"+sort, len(seen), 41)
		want(t, "summaries"+sort, len(ends), 41)
		if sort == "" && !slices.IsSorted(ends) {
			t.Error("not sorted by end")
		}
	}
}

func TestAnAgreementIDIsTakenOnce(t *testing.T) {
	w := standing(t)
	w.buyer("acme", buyerAccount, `,"agreementId":"a"`)
	status, body := w.control(http.MethodPost, "licenses", `{"product":"acme","account":"111122223333","agreementId":"a"}`)
	if status != http.StatusConflict {
		t.Errorf("got %d %s, want 409", status, body)
	}
	for _, body := range []string{
		`"endReason":"NO_RENEWAL_TERM"`, `"ends":"2027-01-01T00:00:00Z","endReason":"BORED"`,
		`"ends":"2027-01-01T00:00:00Z","endBehavior":"RENEW","endReason":"NO_RENEWAL_TERM"`,
	} {
		status, _ := w.control(http.MethodPost, "licenses", `{"product":"acme","account":"111122223333",`+body+`}`)
		want(t, body, status, http.StatusBadRequest)
	}
}
