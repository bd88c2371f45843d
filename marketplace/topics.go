package marketplace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// The topics of AWS Marketplace (AWS: SNS notifications for SaaS products). Each listing of old has two: one about
// subscriptions, one about entitlements.

// marketplaceTopic takes the product code out of the ARN of such a topic.
var marketplaceTopic = regexp.MustCompile(`^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:aws-mp-(?:subscription|entitlement)-notification-(.+)$`)

// customer is what is taken for a legacy customer identifier; AWS only bounds its length.
var customer = regexp.MustCompile(`^[A-Za-z0-9._:@/+=-]{1,255}$`)

// topicBody is what both topics say.
type topicBody struct {
	Action   string `json:"action"`
	Customer string `json:"customer-identifier"`
	Product  string `json:"product-code"`
	Offer    string `json:"offer-identifier"`
	// Trial is a text in what AWS sends; anything else says nothing.
	Trial json.RawMessage `json:"isFreeTrialTermPresent"`
}

// trial is what the message says of a free trial: that the offer accepted has one, has none, or, empty, nothing.
func (b *topicBody) trial() string {
	var text string
	if b.Action != subscribed || json.Unmarshal(b.Trial, &text) != nil {
		return ""
	}
	switch text = strings.TrimSpace(text); text {
	case inTrial, noTrial:
		return text
	default:
		return ""
	}
}

// trim takes blanks away: the samples in AWS's documentation have some around values.
func (b *topicBody) trim() {
	for _, text := range []*string{&b.Action, &b.Customer, &b.Product, &b.Offer} {
		*text = strings.TrimSpace(*text)
	}
}

// notification is a message as SNS passes it on: wrapped, or, where the topic is empty, raw.
type notification struct {
	feed  feed
	topic string
	body  []byte
	at    time.Time
}

// wrapped takes an SNS message out of its envelope. Through SQS nothing is signed that could be trusted more than
// the queue itself: whom its policy lets send. What came over HTTPS has been verified by [Notifications].
func (p parser) wrapped(s shape, sent time.Time) (update, error) {
	n := notification{feed: feedSNSQueue, topic: s.TopicARN, body: s.Message, at: sent}
	if at, err := time.Parse(time.RFC3339, s.Timestamp); err == nil {
		n.at = at.UTC()
	}
	var text string
	if err := json.Unmarshal(s.Message, &text); err == nil { // AWS sends a text; test fixtures have been seen with an object
		n.body = []byte(text)
	}
	return p.notification(n)
}

// notification makes a hint of a message. No message ends a license by itself: AWS tells of no license; the read of the
// customer says what is left. Where nothing can be read, what the message tells is stored, and that is read.
func (p parser) notification(n notification) (update, error) {
	poison := update{feed: n.feed, kind: kindPoison}
	var body topicBody
	if err := json.Unmarshal(bytes.TrimSpace(n.body), &body); err != nil {
		return poison, fmt.Errorf("read notification: %w", err)
	}
	body.trim()
	unknown := update{feed: n.feed, kind: kindUnknown}
	switch body.Action {
	case subscribed, refused, leaving, left, updated:
	default:
		return unknown, nil
	}
	if of := marketplaceTopic.FindStringSubmatch(n.topic); of != nil && of[1] != body.Product {
		return unknown, nil // whoever may send to the topic of one product says nothing about another
	}
	product, ok := p[body.Product]
	if !ok { // a queue may serve listings that this weir does not
		return unknown, nil
	}
	if body.Customer != "" && !customer.MatchString(body.Customer) {
		return poison, errors.New("read notification: the customer identifier is none")
	}
	return product.update(&n, &body), nil
}

// update is what a message about the product leads to.
func (k known) update(n *notification, body *topicBody) update {
	hint := &cache.Hint{Product: k.name, At: n.at}
	if k.byCustomer { // else the whole product is read
		hint.Customer = body.Customer
	}
	understood := update{feed: n.feed, kind: kindUnchanged, hint: hint}
	trial := body.trial()
	if trial != "" && hint.Customer != "" {
		hint.Trial = &policy.Trial{Free: trial == inTrial, Told: n.at}
	}
	if k.byEvents && body.Customer != "" && body.Action != updated {
		hint.License = legacyKey(body.Product, body.Customer)
		understood.event = &happening{At: n.at, What: body.Action, Offer: body.Offer[:min(len(body.Offer), maxOffer)], Trial: trial}
	}
	return understood
}

// maxOffer is what is kept of an offer's id, in bytes. AWS's have some 20.
const maxOffer = 128
