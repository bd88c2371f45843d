package emulator_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"
)

func TestGosSDKReadsTheTermsOfAFreeTrial(t *testing.T) {
	w := standing(t)
	paid := w.buyer("acme", buyerAccount, "")
	tried := w.buyer("acme", buyerAccount, `,"trial":"P14D","ends":"2027-01-01T00:00:00Z","endBehavior":"RENEW","entitlements":[{"dimension":"basic","value":true}]`)
	w.must(http.MethodPost, "faults", `{"operation":"GetAgreementTerms","kind":"empty"}`, nil) // an empty page, with a token
	for id, want := range map[string]string{paid.AgreementID: "", tried.AgreementID: "P14D"} {
		got, pages := "", 0
		in := &marketplaceagreement.GetAgreementTermsInput{AgreementId: aws.String(id), MaxResults: aws.Int32(1)}
		for {
			page, err := w.agreements.GetAgreementTerms(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, term := range page.AcceptedTerms {
				if trial, ok := term.(*types.AcceptedTermMemberFreeTrialPricingTerm); ok {
					got = aws.ToString(trial.Value.Duration)
					if key := aws.ToString(trial.Value.Grants[0].DimensionKey); key != "basic" {
						t.Errorf("the trial grants %s, want basic", key)
					}
				}
			}
			if in.NextToken = page.NextToken; in.NextToken == nil {
				break
			}
		}
		if got != want || pages < 2 {
			t.Errorf("%s: a trial of %q on %d pages, want %q on several", id, got, pages, want)
		}
	}
}

func TestAFreeTrialIsWholeDaysAsAWSAllowsThem(t *testing.T) {
	w := standing(t)
	for trial, want := range map[string]int{
		"P5D": http.StatusOK, "P31D": http.StatusOK, "P4D": http.StatusBadRequest, "P32D": http.StatusBadRequest, "P1M": http.StatusBadRequest, "14": http.StatusBadRequest,
		"P+9D": http.StatusBadRequest,
	} {
		body := fmt.Sprintf(`{"product":"acme","account":%q,"trial":%q}`, buyerAccount, trial)
		if got, _ := w.control(http.MethodPost, "licenses", body); got != want {
			t.Errorf("%s: status %d, want %d", trial, got, want)
		}
	}
}
