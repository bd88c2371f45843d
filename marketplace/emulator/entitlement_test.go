package emulator_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice/types"
)

type filter = map[string][]string

func (w *world) page(in *marketplaceentitlementservice.GetEntitlementsInput) (*marketplaceentitlementservice.GetEntitlementsOutput, error) {
	return w.entitlements.GetEntitlements(w.t.Context(), in)
}

// holds reads every page and answers "license dimension" of each entitlement, by the last characters of the license.
func (w *world) holds(product string, f filter) []string {
	w.t.Helper()
	got := []string{}
	pages := marketplaceentitlementservice.NewGetEntitlementsPaginator(w.entitlements, &marketplaceentitlementservice.GetEntitlementsInput{
		ProductCode: aws.String(product), Filter: f, MaxResults: aws.Int32(2),
	})
	for pages.HasMorePages() {
		out, err := pages.NextPage(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, held := range out.Entitlements {
			got = append(got, aws.ToString(held.LicenseArn)+aws.ToString(held.CustomerIdentifier)+" "+aws.ToString(held.Dimension))
		}
	}
	return got
}

func TestEntitlementsCarryEveryKindOfValueOverCBOR(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPut, "products/values", `{"dimensions":[{"key":"i","types":["Entitled"]},{"key":"d","types":["Entitled"]},
		{"key":"whole","types":["Entitled"]},{"key":"b","types":["Entitled"]},{"key":"s","types":["Entitled"]}]}`, nil)
	l := w.buyer("values", buyerAccount, `,"ends":"2027-01-01T00:00:00Z","entitlements":[{"dimension":"i","value":-3},{"dimension":"d","value":2.5},
		{"dimension":"whole","value":10.0},{"dimension":"b","value":true},{"dimension":"s","value":"gold","expires":"2026-12-01T00:00:00Z"}]`)
	out, err := w.page(&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("values")})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]types.Entitlement{}
	for _, held := range out.Entitlements {
		byName[aws.ToString(held.Dimension)] = held
	}
	want(t, "integer", aws.ToInt32(byName["i"].Value.IntegerValue), -3)
	want(t, "fraction", aws.ToFloat64(byName["d"].Value.DoubleValue), 2.5)
	want(t, "fraction without decimals", aws.ToFloat64(byName["whole"].Value.DoubleValue), 10)
	want(t, "boolean", aws.ToBool(byName["b"].Value.BooleanValue), true)
	want(t, "text", aws.ToString(byName["s"].Value.StringValue), "gold")
	want(t, "own date", byName["s"].ExpirationDate.UTC(), at(t, "2026-12-01T00:00:00Z"))
	want(t, "date of the agreement", byName["i"].ExpirationDate.UTC(), at(t, "2027-01-01T00:00:00Z"))
	want(t, "license", aws.ToString(byName["i"].LicenseArn), l.LicenseArn)
	want(t, "account", aws.ToString(byName["i"].CustomerAWSAccountId), buyerAccount)
	want(t, "product", aws.ToString(byName["i"].ProductCode), "values")
	want(t, "customer identifier of a concurrent license", byName["i"].CustomerIdentifier, nil)
}

func TestFiltersAreAlternativesInsideAndAllHoldTogether(t *testing.T) {
	w := standing(t)
	two := `,"entitlements":[{"dimension":"basic","value":true},{"dimension":"seats","value":5}]`
	a, b := w.buyer("acme", buyerAccount, two), w.buyer("acme", buyerAccount, two)
	c := w.buyer("acme", "222233334444", two)
	w.buyer("acme", "333344445555", "") // holds nothing
	all := []string{}
	for _, l := range []license{a, b, c} {
		all = append(all, l.LicenseArn+" basic", l.LicenseArn+" seats")
	}
	want(t, "no filter", w.holds("acme", nil), all)
	want(t, "account", w.holds("acme", filter{"CUSTOMER_AWS_ACCOUNT_ID": {buyerAccount}}), all[:4])
	want(t, "accounts", w.holds("acme", filter{"CUSTOMER_AWS_ACCOUNT_ID": {"222233334444", buyerAccount}}), all)
	want(t, "license", w.holds("acme", filter{"LICENSE_ARN": {b.LicenseArn}}), all[2:4])
	want(t, "licenses and dimension", w.holds("acme", filter{"LICENSE_ARN": {c.LicenseArn, a.LicenseArn}, "DIMENSION": {"seats"}}),
		[]string{all[1], all[5]})
	want(t, "license of another account", w.holds("acme", filter{"LICENSE_ARN": {a.LicenseArn}, "CUSTOMER_AWS_ACCOUNT_ID": {"222233334444"}}), []string{})
	want(t, "unknown license", w.holds("acme", filter{"LICENSE_ARN": {"arn:none"}}), []string{})
	want(t, "another product", w.holds("old", filter{"LICENSE_ARN": {a.LicenseArn}}), []string{})
}

func TestLegacyEntitlementsNameTheCustomer(t *testing.T) {
	w := standing(t)
	l := w.buyer("old", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
	want(t, "by customer", w.holds("old", filter{"CUSTOMER_IDENTIFIER": {l.CustomerIdentifier}}), []string{l.CustomerIdentifier + " basic"})
	want(t, "by account", w.holds("old", filter{"CUSTOMER_AWS_ACCOUNT_ID": {buyerAccount}}), []string{l.CustomerIdentifier + " basic"})
}

func TestWhatGetEntitlementsDoesNotTakeIsInvalidParameter(t *testing.T) {
	w := standing(t)
	long := make([]byte, 256)
	for name, in := range map[string]*marketplaceentitlementservice.GetEntitlementsInput{
		"two kinds of customer": {ProductCode: aws.String("acme"), Filter: filter{"CUSTOMER_IDENTIFIER": {"a"}, "CUSTOMER_AWS_ACCOUNT_ID": {"1"}}},
		"unknown filter":        {ProductCode: aws.String("acme"), Filter: filter{"COLOUR": {"red"}}},
		"filter without values": {ProductCode: aws.String("acme"), Filter: filter{"DIMENSION": {}}},
		"no results":            {ProductCode: aws.String("acme"), MaxResults: aws.Int32(0)},
		"26 results":            {ProductCode: aws.String("acme"), MaxResults: aws.Int32(26)},
		"forged token":          {ProductCode: aws.String("acme"), NextToken: aws.String("Zm9yZ2Vk")},
		"unknown product":       {ProductCode: aws.String("nobody")},
		"empty product":         {ProductCode: aws.String("")},
		"long product":          {ProductCode: aws.String(string(long))},
	} {
		_, err := w.page(in)
		if code(err) != "InvalidParameterException" {
			t.Errorf("%s: got %v, want InvalidParameterException", name, err)
		}
	}
}

func TestPagesAreTwentyFiveAtMostAndStayInOrderWhileLicensesCome(t *testing.T) {
	w := standing(t)
	var arns []string
	for i := range 60 {
		arns = append(arns, w.buyer("acme", fmt.Sprintf("4444%08d", i), `,"entitlements":[{"dimension":"basic","value":true}],"notify":false`).LicenseArn)
	}
	var got []string
	var token *string
	for page := 0; ; page++ {
		out, err := w.page(&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("acme"), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Entitlements) > 25 {
			t.Errorf("page %d has %d entitlements, want at most 25", page, len(out.Entitlements))
		}
		for _, held := range out.Entitlements {
			got = append(got, aws.ToString(held.LicenseArn))
		}
		if page == 0 {
			arns = append(arns, w.buyer("acme", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`).LicenseArn)
		}
		if token = out.NextToken; token == nil {
			break
		}
	}
	want(t, "licenses", got, arns)
	_, err := w.page(&marketplaceentitlementservice.GetEntitlementsInput{
		ProductCode: aws.String("acme"), NextToken: token,
		Filter: filter{"DIMENSION": {"basic"}},
	})
	want(t, "first page of another query", code(err), "")
}

func TestATokenIsGoodForItsOwnQueryOnly(t *testing.T) {
	w := standing(t)
	w.buyer("acme", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true},{"dimension":"seats","value":5}]`)
	out, err := w.page(&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("acme"), MaxResults: aws.Int32(1)})
	if err != nil || out.NextToken == nil {
		t.Fatalf("first page: %v, token %v", err, out.NextToken)
	}
	_, err = w.page(&marketplaceentitlementservice.GetEntitlementsInput{
		ProductCode: aws.String("acme"), NextToken: out.NextToken,
		Filter: filter{"DIMENSION": {"basic"}},
	})
	want(t, "token of another query", code(err), "InvalidParameterException")
}

func TestAFaultMakesEmptyPagesThatCarryAToken(t *testing.T) {
	w := standing(t)
	w.buyer("acme", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
	w.must(http.MethodPost, "faults", `{"operation":"GetEntitlements","kind":"empty","count":2}`, nil)
	var tokens, found []string
	pages := marketplaceentitlementservice.NewGetEntitlementsPaginator(w.entitlements,
		&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("acme")})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, aws.ToString(out.NextToken))
		for _, held := range out.Entitlements {
			found = append(found, aws.ToString(held.Dimension))
		}
	}
	want(t, "found", found, []string{"basic"})
	if len(tokens) != 3 || tokens[0] == tokens[1] || tokens[2] != "" {
		t.Errorf("tokens: got %q, want two different ones and none", tokens)
	}
}

func TestAnEndEmptiesGetEntitlementsAndAPassedDateDoesNot(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true,"expires":"2026-11-15T13:00:00Z"}]`)
	w.advance("2h")
	want(t, "after the date", w.holds("acme", nil), []string{l.LicenseArn + " basic"})
	w.must(http.MethodPost, l.on("cancel"), "", nil)
	want(t, "after the end", w.holds("acme", nil), []string{})
}

func TestALicenseOfTheFutureIsShownWhenItStarts(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPost, "licenses", `{"product":"acme","account":"111122223333","starts":"2026-11-15T13:00:00Z",
		"entitlements":[{"dimension":"basic","value":true}]}`, nil)
	want(t, "before", len(w.holds("acme", nil)), 0)
	w.advance("1h")
	want(t, "at its start", len(w.holds("acme", nil)), 1)
}

func TestAnAgreementEndsByItselfUnlessItRenews(t *testing.T) {
	w := standing(t)
	body := `,"ends":"2026-11-15T13:00:00Z","entitlements":[{"dimension":"basic","value":true}],"endBehavior":"%s"`
	expires := w.buyer("acme", buyerAccount, fmt.Sprintf(body, "EXPIRE"))
	renews := w.buyer("acme", buyerAccount, fmt.Sprintf(body, "RENEW"))
	w.advance("59m59s")
	want(t, "before", len(w.holds("acme", nil)), 2)
	w.advance("1s")
	want(t, "at the end", w.holds("acme", nil), []string{renews.LicenseArn + " basic"})
	want(t, "last usage", w.meterAt(expires, "2026-11-15T13:00:00Z"), []string{"Success"})
	w.must(http.MethodPost, renews.on("renew"), `{"expires":"2027-11-15T13:00:00Z"}`, nil)
	out, err := w.page(&marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("acme")})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "renewed", out.Entitlements[0].ExpirationDate.UTC(), at(t, "2027-11-15T13:00:00Z"))
	want(t, "same license", aws.ToString(out.Entitlements[0].LicenseArn), renews.LicenseArn)
}

func TestARenewalMovesTheEnd(t *testing.T) {
	w := standing(t)
	l := w.buyer("acme", buyerAccount, `,"ends":"2026-11-15T13:00:00Z","entitlements":[{"dimension":"basic","value":true}]`)
	w.must(http.MethodPost, l.on("renew"), `{"expires":"2026-11-15T15:00:00Z"}`, nil)
	w.advance("2h")
	want(t, "at the old end", len(w.holds("acme", nil)), 1)
	w.advance("1h")
	want(t, "at the new end", len(w.holds("acme", nil)), 0)
}

func (w *world) meterAt(l license, timestamp string) []string {
	w.t.Helper()
	return w.statuses(usage(l, "calls", at(w.t, timestamp), 1))
}

func TestAReplacedLicenseGivesWayToANewOne(t *testing.T) {
	w := standing(t)
	old := w.buyer("acme", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
	var fresh license
	w.must(http.MethodPost, old.on("replace"), `{"entitlements":[{"dimension":"seats","value":9}]}`, &fresh)
	if fresh.LicenseArn == old.LicenseArn || fresh.AgreementID == old.AgreementID {
		t.Errorf("got the old license %+v again", fresh)
	}
	want(t, "held", w.holds("acme", nil), []string{fresh.LicenseArn + " seats"})
	var kept license
	w.must(http.MethodPost, fresh.on("replace"), "", &kept)
	want(t, "kept", w.holds("acme", nil), []string{kept.LicenseArn + " seats"})
}

func TestEveryEntitlementIsReadOnceAmongManyLicenses(t *testing.T) {
	w := standing(t)
	var arns []string
	for i := range 500 {
		arns = append(arns, w.buyer("acme", fmt.Sprintf("5555%08d", i), `,"entitlements":[{"dimension":"basic","value":true}],"notify":false`).LicenseArn+" basic")
	}
	want(t, "held", w.holds("acme", nil), arns)
}
