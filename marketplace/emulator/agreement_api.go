package emulator

import "time"

// The Agreement API beside SearchAgreements: one agreement, and what it entitles to; its terms are in agreement_terms.go.

const (
	// maxResourceID and resourceIDCharacters are the model's ResourceId: 1 to 64 letters, digits and these.
	maxResourceID        = 64
	resourceIDCharacters = "_/-"
)

// unacceptable is the Agreement API's ValidationException.
func unacceptable(reason, field, format string, args ...any) *apiError {
	err := refuse(validationFailed, format, args...)
	err.members = object{"reason": reason, "fields": []object{{"name": field, "message": err.message}}}
	return err
}

func (e *Emulator) describeAgreement(c *call) (object, error) {
	a, err := e.namedAgreement(newInput(c.in))
	if err != nil {
		return nil, err
	}
	out := a.common()
	if a.status == statusActive && a.endBehavior != "" {
		out["endTimeBehavior"] = a.behavior()
	}
	return out, nil
}

func (e *Emulator) getAgreementEntitlements(c *call) (object, error) {
	in := newInput(c.in)
	a, err := e.namedAgreement(in)
	if err != nil {
		return nil, err
	}
	_, next, err := readPage(in)
	if err != nil {
		return nil, err
	}
	digest := queryDigest("entitlements", a.id)
	if _, _, ok := readPageToken(digest, next); next != "" && !ok {
		return nil, badToken()
	}
	if c.fault.emptiesPage() {
		return object{"agreementEntitlements": []object{}, "nextToken": pageToken(digest, 0, 0)}, nil
	}
	return object{"agreementEntitlements": []object{a.license.agreementEntitlement(e.clock.now())}}, nil
}

// namedAgreement is the agreement that a request names.
func (e *Emulator) namedAgreement(in input) (*agreement, error) {
	id := in.text("agreementId")
	if err := in.err(); err != nil {
		return nil, err
	}
	switch {
	case !in.has("agreementId"):
		return nil, unacceptable("MISSING_AGREEMENT_ID", "agreementId", "The agreementId is required.")
	case id == "" || len(id) > maxResourceID || !consists(id, resourceIDCharacters):
		return nil, unacceptable("INVALID_AGREEMENT_ID", "agreementId", "The agreementId %s is invalid.", clip(id))
	}
	if a, ok := e.agreements.byID[id]; ok {
		return a, nil
	}
	err := refuse("ResourceNotFoundException", "The agreement %s does not exist.", id)
	err.members = object{"resourceId": id, "resourceType": "Agreement"}
	return nil, err
}

// common is what every operation tells about an agreement.
func (a *agreement) common() object {
	out := object{
		"agreementId": a.id, "agreementType": agreementType, "status": a.status, "initialAgreementId": a.initial,
		"acceptor":       object{"accountId": a.license.account},
		"proposer":       object{"accountId": sellerAccount},
		"acceptanceTime": epoch(a.accepted), "startTime": epoch(a.starts),
		"proposalSummary": object{"offerId": a.offer, "resources": []object{a.license.product.resource()}},
	}
	if !a.ends.IsZero() {
		out["endTime"] = epoch(a.ends)
	}
	return out
}

// summary is an AgreementViewSummary.
func (a *agreement) summary() object {
	out := a.common()
	out["lastUpdateTime"] = epoch(a.updated)
	addIfSet(out, "endTimeBehaviorType", a.endBehavior)
	addIfSet(out, "endTimeBehaviorReasonCode", a.endReason)
	entitlements := []object{}
	if a.arn != "" {
		entitlements = append(entitlements, object{"licenseArn": a.arn})
	}
	out["entitlements"] = entitlements
	return out
}

// behavior is an EndTimeBehavior. The offer of a renewal is told unless there never was to be one.
func (a *agreement) behavior() object {
	out := object{"type": a.endBehavior}
	addIfSet(out, "reasonCode", a.endReason)
	switch a.endReason {
	case "", reasonProposer, reasonAcceptor:
		out["renewalSummary"] = object{"offerId": a.offer}
	}
	return out
}

func (p *product) resource() object { return object{"id": p.ID, "type": resourceType} }

// agreementEntitlement is the state of a license as the Agreement API tells it: that of the latest agreement, whichever
// of the chain is asked for. AWS makes the ARN when it provisions.
func (l *license) agreementEntitlement(now time.Time) object {
	out := object{"resource": l.product.resource()}
	switch {
	case !l.alive():
		out["status"], out["statusReasonCode"] = "DEPROVISIONED", "AGREEMENT_INACTIVE"
	case now.Before(l.starts):
		out["status"], out["statusReasonCode"] = "SCHEDULED", "FUTURE_START_DATE"
		return out
	default:
		out["status"] = "PROVISIONED"
	}
	addIfSet(out, "licenseArn", l.arn)
	return out
}
