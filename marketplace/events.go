package marketplace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// feed is where a message came from, as weir_updates_total labels it.
type feed string

const (
	feedEventBridge feed = "eventbridge"
	feedSNSQueue    feed = "sns-sqs"
	feedSNSHTTPS    feed = "sns-https"
)

// kind is what a message led to, as weir_updates_total labels it.
type kind string

const (
	kindChanged   kind = "changed"   // what was read differs from what was known
	kindUnchanged kind = "unchanged" // nothing to read, or nothing new in it
	kindUnknown   kind = "unknown"   // well-formed, but of a source, type or product that weir does not know
	kindPoison    kind = "poison"    // no message that AWS sends
)

// update is a message, understood.
type update struct {
	feed feed
	kind kind        // what it is, if no read decides that
	hint *cache.Hint // what to read; nil: nothing
	// event is what happened to the hint's license, of a listing whose buyers are known by events; nil: nothing.
	event *happening
	// advisory is what AWS says about a buyer that people should know of; nil: nothing.
	advisory *advisory
}

// parser understands messages. Its keys are product codes and product ids.
type parser map[string]known

// known is a product that messages may be about.
type known struct {
	name string // the configuration's key
	// byCustomer tells that what a customer identifier holds can be read (AWS: GetEntitlements). Agreements, of which
	// subscription listings are read, name their buyers by account.
	byCustomer bool
	// byEvents tells that nothing can be read but what was told.
	byEvents bool
}

func newParser(products map[string]policy.Product) parser {
	p := make(parser, 2*len(products))
	for name, product := range products {
		k := known{name: name, byEvents: product.ByEvents()}
		k.byCustomer = product.Model != policy.ModelSubscription || k.byEvents
		p[product.Code], p[product.ID] = k, k
	}
	delete(p, "")
	return p
}

// effect gives an update its effect: what happened is stored before the handler has it read.
func (u *update) effect(ctx context.Context, store *Subscriptions, handle Handler) (changed bool, err error) {
	hint := *u.hint
	if u.event != nil && store != nil {
		stands, err := store.note(hint.License, "", u.event)
		if err != nil {
			return false, err
		}
		if !stands.active {
			hint.Ended, hint.At = true, stands.at
		}
	}
	return handle(ctx, hint)
}

// shape is what tells the feeds' messages apart: EventBridge has a source and a detail type, SNS
// a type and a message when it is wrapped, and an action when it is raw.
type shape struct {
	Source     string          `json:"source"`
	DetailType string          `json:"detail-type"`
	Time       string          `json:"time"`
	Detail     json.RawMessage `json:"detail"`

	Type      string          `json:"Type"`
	TopicARN  string          `json:"TopicArn"`
	Timestamp string          `json:"Timestamp"`
	Message   json.RawMessage `json:"Message"`
	Action    string          `json:"action"`
}

// parse understands one message. What it can't understand is poison, and the error
// says why.
func (p parser) parse(body []byte, sent time.Time) (update, error) {
	var s shape
	if err := json.Unmarshal(body, &s); err != nil {
		return update{feed: feedEventBridge, kind: kindPoison}, fmt.Errorf("read message: %w", err)
	}
	switch {
	case s.Source != "" && s.DetailType != "":
		return p.event(s, sent)
	case s.Action != "":
		return p.notification(notification{feed: feedSNSQueue, body: body, at: sent})
	case s.Type == typeNotification && len(s.Message) > 0:
		return p.wrapped(s, sent)
	case s.Type == typeSubscribe, s.Type == typeUnsubscribe: // of a queue, whoever subscribed it has to confirm
		return update{feed: feedSNSQueue, kind: kindUnknown}, nil
	default:
		return update{feed: feedEventBridge, kind: kindPoison}, errors.New("read message: neither an EventBridge event nor an SNS message")
	}
}

// event dispatches an EventBridge event by its source.
func (p parser) event(s shape, sent time.Time) (update, error) {
	switch s.Source {
	case "aws.agreement-marketplace":
		return p.agreementEvent(s, sent)
	default:
		return update{feed: feedEventBridge, kind: kindUnknown}, nil
	}
}

// agreementEvent understands an event of the Agreement service. Only what happens to
// licenses is read again; agreements and advisories are counted.
func (p parser) agreementEvent(s shape, sent time.Time) (update, error) {
	name, _, _ := strings.Cut(s.DetailType, " - ") // "- Manufacturer" or "- Proposer" tells who is told
	switch name {
	case "License Updated", "License Deprovisioned":
		return p.licenseEvent(s, name == "License Deprovisioned", sent)
	case "Purchase Agreement Advisory Issued", "Purchase Agreement Advisory Resolved":
		return update{feed: feedEventBridge, kind: kindUnchanged, advisory: p.readAdvisory(s)}, nil
	case "Purchase Agreement Created", "Purchase Agreement Amended", "Purchase Agreement Ended",
		"Purchase Agreement Ending", "Purchase Agreement Renewal Terms Finalized", "Purchase Agreement Renewal Upcoming",
		"Agreement Cancellation Request Pending Approval", "Agreement Cancellation Request Approved",
		"Agreement Cancellation Request Rejected", "Agreement Cancellation Request Cancelled",
		"Agreement Cancellation Request Validation Failed",
		"Purchase Agreement Billing Adjustment Completed", "Purchase Agreement Billing Adjustment Failed",
		"Spend Threshold Reached", "Vet Succeeded", "Vet Failed":
		return update{feed: feedEventBridge, kind: kindUnchanged}, nil
	default:
		return update{feed: feedEventBridge, kind: kindUnknown}, nil
	}
}

// licenseDetail is the detail of a license event (AWS: Marketplace events in EventBridge).
type licenseDetail struct {
	Product struct {
		Code string `json:"code"`
		ID   string `json:"id"`
	} `json:"product"`
	License struct {
		ARN string `json:"arn"`
		ID  string `json:"id"`
	} `json:"license"`
	Acceptor struct {
		AccountID string `json:"accountId"`
	} `json:"acceptor"`
}

// licenseEvent makes a hint of a license event.
func (p parser) licenseEvent(s shape, ended bool, sent time.Time) (update, error) {
	poison := update{feed: feedEventBridge, kind: kindPoison}
	var detail licenseDetail
	if err := json.Unmarshal(s.Detail, &detail); err != nil {
		return poison, fmt.Errorf("read %s: %w", s.DetailType, err)
	}
	hint := cache.Hint{Ended: ended, At: sent}
	if at, err := time.Parse(time.RFC3339, s.Time); err == nil {
		hint.At = at.UTC()
	}
	if key, ok := licenseKey(detail.License.ARN); ok {
		hint.License = key
	} else if key, ok := licenseKey(detail.License.ID); ok {
		hint.License = key
	}
	if account.MatchString(detail.Acceptor.AccountID) {
		hint.Account = detail.Acceptor.AccountID
	}
	if hint.License == "" && hint.Account == "" {
		return poison, fmt.Errorf("read %s: it names neither a license nor a buyer", s.DetailType)
	}
	product, ok := p[detail.Product.Code]
	if !ok {
		product, ok = p[detail.Product.ID]
	}
	if !ok { // a queue may serve listings that this weir does not
		return update{feed: feedEventBridge, kind: kindUnknown}, nil
	}
	hint.Product = product.name
	return update{feed: feedEventBridge, kind: kindUnchanged, hint: &hint}, nil
}

// advisory is AWS's word that a buyer's account is closed, compromised or abused, or is so no more (AWS:
// Marketplace events, Purchase Agreement Advisory). It names neither a license nor what to do, so it changes no decision.
type advisory struct {
	resolved bool
	product  string // the configuration's key; empty: of no product here
	account  string // the buyer's
}

// readAdvisory reads what can be read: an advisory is for people.
func (p parser) readAdvisory(s shape) *advisory {
	var detail licenseDetail
	if err := json.Unmarshal(s.Detail, &detail); err != nil {
		detail = licenseDetail{}
	}
	told := &advisory{resolved: strings.HasPrefix(s.DetailType, "Purchase Agreement Advisory Resolved"), product: p[detail.Product.ID].name}
	if account.MatchString(detail.Acceptor.AccountID) {
		told.account = detail.Acceptor.AccountID
	}
	return told
}

var (
	account = regexp.MustCompile(`^[0-9]{12}$`)
	// licenseName takes the license's own id out of every spelling seen: the ARN of the APIs, the
	// form of AWS's event samples (aws:license-manager:us-east-1:<account>:l-…), and the bare id.
	licenseName = regexp.MustCompile(`^(arn:aws[a-z-]*:license-manager:[a-z0-9-]*:[0-9]*:license:|aws[a-z-]*:license-manager:[a-z0-9-]*:[0-9]*:(?:license:)?)?(l-[A-Za-z0-9]{1,128})$`)
)

// marketplaceLicenses begins the ARN of every license that AWS Marketplace issues: no
// region, and the account of the issuer (AWS: License Manager, Marketplace issuer).
const marketplaceLicenses = "arn:aws:license-manager::294406891311:license:"

// licenseKey is the license's key in the spelling of GetEntitlements. An ARN of the APIs is
// kept as it is. The samples' form has the seller's account in it, which no read would find, so of it only
// the license's own id is used. Should that guess miss once, the hint's buyer account is read.
func licenseKey(spelling string) (policy.Key, bool) {
	parts := licenseName.FindStringSubmatch(spelling)
	switch {
	case parts == nil:
		return "", false
	case strings.HasPrefix(parts[1], "arn:"):
		return policy.Key(spelling), true
	default:
		return policy.Key(marketplaceLicenses + parts[2]), true
	}
}
