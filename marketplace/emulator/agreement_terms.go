package emulator

import (
	"strconv"
	"strings"
)

// GetAgreementTerms: what an agreement's buyer accepted, as far as it shows in what weir and others do with it.

// Bounds of a free trial, in days (service model: FreeTrialPricingTerm, duration).
const (
	minTrialDays = 5
	maxTrialDays = 31
)

func (e *Emulator) getAgreementTerms(c *call) (object, error) {
	in := newInput(c.in)
	a, err := e.namedAgreement(in)
	if err != nil {
		return nil, err
	}
	page, next, err := readPage(in)
	if err != nil {
		return nil, err
	}
	digest, from := queryDigest("terms", a.id), int64(0)
	if next != "" {
		var ok bool
		if from, _, ok = readPageToken(digest, next); !ok {
			return nil, badToken()
		}
	}
	if c.fault.emptiesPage() {
		return object{"acceptedTerms": []object{}, "nextToken": pageToken(digest, from, 0)}, nil
	}
	terms := a.terms()
	terms = terms[min(max(int(from), 0), len(terms)):]
	out := object{"acceptedTerms": terms[:min(page, len(terms))]}
	if len(terms) > page {
		out["nextToken"] = pageToken(digest, from+int64(page), 0)
	}
	return out, nil
}

// terms are the accepted terms, each a union with one member.
func (a *agreement) terms() []object {
	terms := []object{{"legalTerm": object{"type": "LegalTerm"}}}
	if a.trial != "" {
		terms = append(terms, object{"freeTrialPricingTerm": object{"type": "FreeTrialPricingTerm", "duration": a.trial, "grants": a.grants()}})
	}
	if rates := a.license.product.rates(); len(rates) > 0 {
		terms = append(terms, object{"usageBasedPricingTerm": object{
			"type": "UsageBasedPricingTerm", "currencyCode": "USD", "rateCards": []object{{"rateCard": rates}},
		}})
	}
	if !a.ends.IsZero() {
		terms = append(terms, object{"validityTerm": object{"type": "ValidityTerm", "agreementEndDate": epoch(a.ends)}})
	}
	if a.endBehavior == endRenew {
		terms = append(terms, object{"renewalTerm": object{"type": "RenewalTerm", "configuration": object{"enableAutoRenew": true}}})
	}
	return terms
}

// grants are what a trial entitles to.
func (a *agreement) grants() []object {
	grants := []object{}
	for _, held := range a.license.entitlements {
		grants = append(grants, object{"dimensionKey": held.dimension})
	}
	return grants
}

// rates are the metered dimensions, each at a price that nobody asks for.
func (p *product) rates() []object {
	var rates []object
	for _, d := range p.Dimensions {
		if p.sells(d.Key, typeMetered) {
			rates = append(rates, object{"dimensionKey": d.Key, "price": "1.0"})
		}
	}
	return rates
}

// readTrial checks the duration of a free trial: empty, or whole days as in P14D.
func readTrial(s string) error {
	days, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(s, "P"), "D"))
	if s == "" || err == nil && s == "P"+strconv.Itoa(days)+"D" && days >= minTrialDays && days <= maxTrialDays {
		return nil
	}
	return invalid("give 5 to 31 days, such as P14D", "trial is %q", clip(s))
}
