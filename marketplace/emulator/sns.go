package emulator

import (
	"fmt"
	"slices"
	"time"
)

// SNS: topics and who is subscribed to them. What the topics of AWS Marketplace tell is in notices.go.

const (
	// marketplaceAccount owns the topics of AWS Marketplace.
	marketplaceAccount = "287250355862"
	// confirmationLifetime is how long a token confirms a subscription (AWS: two days), on the emulator's clock.
	confirmationLifetime = 48 * time.Hour
	// maxSubscriptions and maxTopics bound what is kept; a reset begins anew.
	maxSubscriptions = 20_000
	maxTopics        = 10_000
	maxTopicName     = 256
)

// Protocols of a subscription.
const (
	deliverSQS   = "sqs"
	deliverHTTP  = "http"
	deliverHTTPS = "https"
)

// topic is a standard topic.
type topic struct {
	arn           string
	version       int // of signatures; 0: as the feed says
	subscriptions []*subscription
}

// subscription sends what is published to a topic to a queue or a URL.
type subscription struct {
	number   int // in order of creation
	arn      string
	topic    *topic
	protocol string
	endpoint string // the queue's ARN, or the URL
	address  string // how the subscriber reaches the emulator, for the URLs in messages
	raw      bool   // messages come without an envelope
	ofFeed   bool   // made by PUT /_control/feeds
	guarded  bool   // only a signed call ends it
	token    string // confirms it
	expires  time.Time
	lane     *lane // of a URL; it is open once the subscription is confirmed
}

func (s *subscription) confirmed() bool { return s.lane == nil || s.lane.open }

// topics is every topic and subscription there is.
type topics struct {
	all           []*topic
	byARN         map[string]*topic
	subscriptions []*subscription
	byToken       map[string]*subscription
	last          int // number of subscriptions ever made
	lanes         []*lane
}

func newTopics() topics {
	return topics{byARN: map[string]*topic{}, byToken: map[string]*subscription{}}
}

func topicARN(account, name string) string {
	return fmt.Sprintf("arn:aws:sns:%s:%s:%s", region, account, name)
}

func subscriptionTopic(code string) string {
	return topicARN(marketplaceAccount, "aws-mp-subscription-notification-"+code)
}

func entitlementTopic(code string) string {
	return topicARN(marketplaceAccount, "aws-mp-entitlement-notification-"+code)
}

// add makes a topic, or finds it.
func (s *topics) add(arn string, version int) *topic {
	if t, ok := s.byARN[arn]; ok {
		return t
	}
	t := &topic{arn: arn, version: version}
	s.byARN[arn] = t
	s.all = append(s.all, t)
	return t
}

// openTopics gives a product its two topics, and subscribes the feed to them.
func (e *Emulator) openTopics(code string) {
	for _, arn := range []string{subscriptionTopic(code), entitlementTopic(code)} {
		e.subscribeFeed(e.topics.add(arn, 0))
	}
}

// subscribe makes a subscription. One to a URL waits until its owner confirms it.
func (e *Emulator) subscribe(t *topic, s *subscription) {
	e.topics.last++
	s.number, s.topic = e.topics.last, t
	s.arn = t.arn + ":" + newUUID()
	if s.protocol != deliverSQS {
		s.lane = &lane{}
	}
	e.topics.list(s)
	if s.lane != nil {
		e.requestConfirmation(s)
	}
}

// list lets a subscription have what is published from now on.
func (s *topics) list(sub *subscription) {
	sub.topic.subscriptions = append(sub.topic.subscriptions, sub)
	s.subscriptions = append(s.subscriptions, sub)
	if sub.lane != nil {
		s.lanes = append(s.lanes, sub.lane)
	}
}

// unlist ends a subscription, with what waits for it.
func (s *topics) unlist(sub *subscription) {
	same := func(other *subscription) bool { return other == sub }
	sub.topic.subscriptions = slices.DeleteFunc(sub.topic.subscriptions, same)
	s.subscriptions = slices.DeleteFunc(s.subscriptions, same)
	if sub.lane != nil {
		s.lanes = slices.DeleteFunc(s.lanes, func(l *lane) bool { return l == sub.lane })
		sub.lane = &lane{}
	}
}

// passBy puts a parcel on its way that is no subscription's.
func (s *topics) passBy(p *parcel) {
	s.lanes = append(s.lanes, &lane{open: true, passing: true, waiting: []*parcel{p}})
}

// find is a topic's subscription of that endpoint.
func (t *topic) find(protocol, endpoint string) *subscription {
	for _, s := range t.subscriptions {
		if s.protocol == protocol && s.endpoint == endpoint {
			return s
		}
	}
	return nil
}

// requestConfirmation asks the owner of a URL to confirm, unless that has been done.
func (e *Emulator) requestConfirmation(s *subscription) {
	if !s.lane.inviting() {
		e.post(s, e.invitation(s, kindConfirmation), 0)
	}
}

// confirm lets a subscription have what waits for it. One that was ended is there again.
func (e *Emulator) confirm(s *subscription) {
	if !slices.Contains(s.topic.subscriptions, s) {
		e.topics.list(s)
	}
	s.lane.open = true
	e.nudge()
}

// tokenOf is the token that confirms a subscription, the same until it has expired.
func (e *Emulator) tokenOf(s *subscription) string {
	now := e.clock.now()
	if s.token == "" || !now.Before(s.expires) {
		delete(e.topics.byToken, s.token)
		s.token, s.expires = "2336412f37"+randomHex(100), now.Add(confirmationLifetime)
		e.topics.byToken[s.token] = s
	}
	return s.token
}

// addressOf is the emulator's URL as a subscriber reaches it.
func (e *Emulator) addressOf(s *subscription) string {
	if e.endpoint != "" {
		return e.endpoint
	}
	return s.address
}

// versionOf is the version of a topic's signatures; AWS's topics have the first unless the feed says otherwise.
func (e *Emulator) versionOf(t *topic) int {
	feed := e.feeds.document.SNS
	switch {
	case t.version != 0:
		return t.version
	case feed != nil && feed.Version != 0:
		return feed.Version
	}
	return 1
}
