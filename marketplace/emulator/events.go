package emulator

import (
	"encoding/json"
	"time"
)

// The events that AWS Marketplace puts on the seller's default bus (seller guide, "notifications-eventbridge"). The
// emulated seller is manufacturer and proposer, so agreement events come in their Proposer variant; license and
// advisory events exist as Manufacturer only.

const (
	eventCreated        = "Purchase Agreement Created - Proposer"
	eventAmended        = "Purchase Agreement Amended - Proposer"
	eventEnded          = "Purchase Agreement Ended - Proposer"
	eventLicenseUpdated = "License Updated - Manufacturer"
	eventDeprovisioned  = "License Deprovisioned - Manufacturer"
	eventAdvisoryOpen   = "Purchase Agreement Advisory Issued - Manufacturer"
	eventAdvisoryClosed = "Purchase Agreement Advisory Resolved - Manufacturer"
)

// Intents of an agreement.
const (
	intentNew     = "NEW"
	intentRenew   = "RENEW"
	intentReplace = "REPLACE"
	intentAmend   = "AMEND"
)

// sellerName is the proposer's name in renewal events.
const sellerName = "Seller Inc"

// event is an EventBridge event.
type event struct {
	Version    string   `json:"version"`
	ID         string   `json:"id"`
	DetailType string   `json:"detail-type"`
	Source     string   `json:"source"`
	Account    string   `json:"account"`
	Time       string   `json:"time"`
	Region     string   `json:"region"`
	Resources  []string `json:"resources"`
	Detail     object   `json:"detail"`
}

// emitEvent sends an event about a license, with the members that every detail has and those given.
func (e *Emulator) emitEvent(l *license, at time.Time, detailType string, members object) {
	detail := object{
		"requestId": newUUID(),
		"catalog":   "AWSMarketplace",
		"agreement": object{"id": l.agreement.id},
		"acceptor":  object{"accountId": l.account},
		"proposer":  object{"accountId": sellerAccount},
		"offer":     object{"id": l.agreement.offer},
	}
	for name, value := range members {
		detail[name] = value
	}
	body, err := json.Marshal(event{
		Version: "0", ID: newUUID(), DetailType: detailType, Source: "aws.agreement-marketplace", Account: sellerAccount,
		Time: eventTime(at), Region: region, Detail: detail,
		Resources: []string{"arn:aws:aws-marketplace::aws:agreement:" + l.agreement.id},
	})
	if err != nil {
		e.log.Error("event_not_encoded", "detail_type", detailType, "error", err)
		return
	}
	e.log.Info("event_emitted", "detail_type", detailType, "license", l.key())
	e.toBus(string(body), at)
}

func eventTime(t time.Time) string { return wholeSecond(t).Format(time.RFC3339) }

// agreementShape is the agreement in events that tell its dates. A pay-as-you-go agreement has no end.
func agreementShape(l *license, intent string) object {
	a := l.agreement
	shape := object{
		"id": a.id, "intent": intent, "status": statusActive,
		"acceptanceTime": eventTime(a.accepted), "startTime": eventTime(a.starts),
	}
	if !a.ends.IsZero() {
		shape["endTime"] = eventTime(a.ends)
	}
	return shape
}

func (e *Emulator) emitCreated(l *license, at time.Time, intent string) {
	agreement := agreementShape(l, intent)
	members := object{"agreement": agreement}
	if intent == intentNew {
		members["resaleAuthorization"] = nil // AWS: null unless a channel partner resells
	}
	if intent == intentRenew {
		agreement["previousAgreementId"] = l.agreement.previous
		members["product"] = productTitle(l.product)
		members["proposer"] = object{"name": sellerName, "accountId": sellerAccount}
	}
	e.emitEvent(l, at, eventCreated, members)
}

func (e *Emulator) emitAmended(l *license, at time.Time) {
	agreement := agreementShape(l, intentAmend)
	agreement["autoRenewalEnabled"] = l.agreement.endBehavior == endRenew
	e.emitEvent(l, at, eventAmended, object{
		"agreement":      agreement,
		"product":        productTitle(l.product),
		"renewalSummary": object{"lockoutStartTime": nil, "disabledBy": nil},
	})
}

func (e *Emulator) emitEnded(l *license, at time.Time, status string) {
	e.emitEvent(l, at, eventEnded, object{"agreement": object{"id": l.agreement.id, "status": status}})
}

// emitLicense sends one of the two events that name a license. A legacy agreement has none to name.
func (e *Emulator) emitLicense(l *license, at time.Time, detailType string) {
	members := object{"product": object{"code": l.product.Code, "id": l.product.ID}}
	if l.arn != "" {
		members["license"] = object{"arn": e.feeds.spell(l)}
	}
	e.emitEvent(l, at, detailType, members)
}

func (e *Emulator) emitAdvisory(l *license, at time.Time, detailType, member string) {
	e.emitEvent(l, at, detailType, object{
		"product":  object{"id": l.product.ID},
		"advisory": object{member: eventTime(at)},
	})
}

func productTitle(p *product) object { return object{"id": p.ID, "title": p.Code} }
