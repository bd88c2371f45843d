package emulator

import (
	"encoding/json"
	"strconv"
	"time"
)

// What AWS Marketplace tells the two SNS topics of a listing (seller guide, "SaaS notifications"). Its messages name a
// buyer by CustomerIdentifier, which only legacy agreements have, and never a license.

const (
	actionSubscribed   = "subscribe-success"
	actionLeaving      = "unsubscribe-pending"
	actionUnsubscribed = "unsubscribe-success"
	actionEntitlements = "entitlement-updated"
)

// notice is the body of a message to a topic.
type notice struct {
	Action    string `json:"action"`
	Customer  string `json:"customer-identifier,omitempty"`
	Product   string `json:"product-code"`
	Offer     string `json:"offer-identifier,omitempty"`
	FreeTrial string `json:"isFreeTrialTermPresent,omitempty"` // "true" or "false"; only to the subscription topic
}

// topic is where a notice belongs.
func (n notice) topic() string {
	if n.Action == actionEntitlements {
		return entitlementTopic(n.Product)
	}
	return subscriptionTopic(n.Product)
}

// noticeSubscribed tells of a new agreement, and of what it entitles to.
func (e *Emulator) noticeSubscribed(l *license, at time.Time) {
	e.tell(l, at, notice{Action: actionSubscribed, Offer: l.agreement.offer})
	if len(l.entitlements) > 0 {
		e.noticeEntitlements(l, at)
	}
}

// noticeEntitlements tells that what a buyer holds has changed.
func (e *Emulator) noticeEntitlements(l *license, at time.Time) {
	e.tell(l, at, notice{Action: actionEntitlements})
}

// noticeUnsubscribed tells of an end, and an hour later that metering is closed, unless the buyer has come back.
func (e *Emulator) noticeUnsubscribed(l *license, at time.Time) {
	e.tell(l, at, notice{Action: actionLeaving})
	e.schedule(at.Add(finalHour), func(at time.Time) {
		if !e.cameBack(l) {
			e.tell(l, at, notice{Action: actionUnsubscribed})
		}
	})
}

// cameBack is true when the buyer of an ended license has since accepted another agreement for the same product.
func (e *Emulator) cameBack(l *license) bool {
	list := e.licenses.byAccount[l.product.Code+"/"+l.account]
	last := list[len(list)-1]
	return last != l && !e.agreements.byID[last.agreement.initial].accepted.Before(l.ended)
}

// tell publishes a notice to the topic where its action belongs.
func (e *Emulator) tell(l *license, at time.Time, n notice) {
	n.Customer, n.Product = l.customer, l.product.Code
	if n.Action != actionEntitlements {
		n.FreeTrial = strconv.FormatBool(l.agreement.trial != "")
	}
	t := e.topics.byARN[n.topic()]
	if t == nil || len(t.subscriptions) == 0 {
		return
	}
	body, err := json.Marshal(n)
	if err != nil {
		e.log.Error("notice_not_encoded", "action", n.Action, "error", err)
		return
	}
	e.log.Info("notice_emitted", "action", n.Action, "license", l.key())
	e.publish(t, newEnvelope(kindNotification, t.arn, string(body), at), at)
}
