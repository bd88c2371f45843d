package emulator

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Operations of SNS, as far as subscribers and their tests need them: standard topics, queues and URLs.

const (
	snsInvalid   = "InvalidParameter"
	snsForbidden = "AuthorizationError"
	snsMissing   = "NotFound"
	// maxListedSubscriptions is the page of the operations that list (AWS: 100).
	maxListedSubscriptions = 100
	// maxPublished is the largest message, in bytes (AWS: 256 KiB).
	maxPublished = 256 << 10
	maxSubject   = 100
)

func badSNS(format string, args ...any) *apiError {
	return refuse(snsInvalid, "Invalid parameter: "+format, args...)
}

// topicOf is the topic that a request names.
func (e *Emulator) topicOf(in input, member string) (*topic, error) {
	arn := in.text(member)
	if parts := strings.Split(arn, ":"); len(parts) != 6 || !strings.HasPrefix(arn, "arn:aws:sns:") || parts[5] == "" {
		return nil, badSNS("%s Reason: it is no topic's ARN", member)
	}
	if t, ok := e.topics.byARN[arn]; ok {
		return t, nil
	}
	return nil, refuse(snsMissing, "Topic does not exist")
}

func (e *Emulator) createTopic(c *call) (object, error) {
	in := newInput(c.in)
	name := in.text("Name")
	if name == "" || len(name) > maxTopicName || !consists(name, "_-") {
		return nil, badSNS("Topic Name")
	}
	version := 1
	for attribute, value := range formMap(in, "Attributes") {
		if attribute != "SignatureVersion" || value != "1" && value != "2" {
			return nil, badSNS("Attributes Reason: the emulator takes SignatureVersion 1 or 2, not %s", clip(attribute))
		}
		version = int(value[0] - '0')
	}
	arn := topicARN(sellerAccount, name)
	if _, exists := e.topics.byARN[arn]; !exists && len(e.topics.all) >= maxTopics {
		return nil, refuse("TopicLimitExceeded", "The emulator holds %d topics: POST /_control/reset", maxTopics)
	}
	return object{"TopicArn": e.topics.add(arn, version).arn}, nil
}

func (e *Emulator) subscribeOperation(c *call) (object, error) {
	in := newInput(c.in)
	t, err := e.topicOf(in, "TopicArn")
	if err != nil {
		return nil, err
	}
	s := &subscription{protocol: in.text("Protocol"), endpoint: in.text("Endpoint"), address: c.endpoint}
	if err := s.check(); err != nil {
		return nil, err
	}
	for attribute, value := range formMap(in, "Attributes") {
		if attribute != "RawMessageDelivery" || value != "true" && value != "false" {
			return nil, badSNS("Attributes Reason: the emulator takes RawMessageDelivery true or false, not %s", clip(attribute))
		}
		s.raw = value == "true"
	}
	if old := t.find(s.protocol, s.endpoint); old != nil {
		return object{"SubscriptionArn": old.shownARN(in.text("ReturnSubscriptionArn") == "true", "pending confirmation")}, nil
	}
	if len(e.topics.subscriptions) >= maxSubscriptions {
		return nil, refuse("SubscriptionLimitExceeded", "The emulator holds %d subscriptions: POST /_control/reset", maxSubscriptions)
	}
	e.subscribe(t, s)
	return object{"SubscriptionArn": s.shownARN(in.text("ReturnSubscriptionArn") == "true", "pending confirmation")}, nil
}

// check is nil for an endpoint that fits its protocol.
func (s *subscription) check() error {
	switch s.protocol {
	case deliverSQS:
		if _, ok := queueOfARN(s.endpoint); !ok {
			return badSNS("SQS endpoint ARN")
		}
		return nil
	case deliverHTTP, deliverHTTPS:
		u, err := url.Parse(s.endpoint)
		if err != nil || u.Scheme != s.protocol || u.Host == "" {
			return badSNS("Endpoint must match the specified protocol")
		}
		return nil
	}
	return badSNS("Protocol Reason: the emulator delivers to sqs, http and https")
}

// shownARN is a subscription's ARN, or the words in its place until it is confirmed.
func (s *subscription) shownARN(always bool, pending string) string {
	if always || s.confirmed() {
		return s.arn
	}
	return pending
}

func (e *Emulator) confirmSubscription(c *call) (object, error) {
	in := newInput(c.in)
	t, err := e.topicOf(in, "TopicArn")
	if err != nil {
		return nil, err
	}
	s, known := e.topics.byToken[in.text("Token")]
	if !known || s.topic != t || !e.clock.now().Before(s.expires) {
		return nil, badSNS("Token")
	}
	s.guarded = c.signed && in.text("AuthenticateOnUnsubscribe") == "true"
	e.confirm(s)
	return object{"SubscriptionArn": s.arn}, nil
}

// unsubscribe ends a subscription. The owner of a URL whose subscription ends by a call that nobody signed is told how
// to undo it.
func (e *Emulator) unsubscribe(c *call) (object, error) {
	arn := newInput(c.in).text("SubscriptionArn")
	if strings.Count(arn, ":") != 6 {
		return nil, badSNS("SubscriptionArn Reason: it is no subscription's ARN")
	}
	at := slices.IndexFunc(e.topics.subscriptions, func(s *subscription) bool { return s.arn == arn })
	if at < 0 {
		return object{}, nil
	}
	s := e.topics.subscriptions[at]
	if s.guarded && !c.signed {
		return nil, refuse(snsForbidden, "Not authorized: the subscription can be ended by a signed call only")
	}
	e.topics.unlist(s)
	if s.lane == nil || c.signed {
		return object{}, nil
	}
	p, err := e.pack(s, e.invitation(s, kindUnsubscribed), 0)
	if err != nil {
		return nil, err
	}
	e.topics.passBy(p)
	e.nudge()
	return object{}, nil
}

func (e *Emulator) publishOperation(c *call) (object, error) {
	in := newInput(c.in)
	member := "TopicArn"
	if in.has("TargetArn") {
		member = "TargetArn"
	}
	t, err := e.topicOf(in, member)
	if err != nil {
		return nil, err
	}
	message, subject := in.text("Message"), in.text("Subject")
	switch {
	case t.version == 0:
		return nil, refuse(snsForbidden, "User is not authorized to perform: SNS:Publish on resource: %s", t.arn)
	case message == "":
		return nil, badSNS("Empty message")
	case len(message) > maxPublished:
		return nil, badSNS("Message too long")
	case len(subject) > maxSubject || strings.ContainsAny(subject, "\r\n"):
		return nil, badSNS("Subject")
	case in.has("MessageStructure") || in.has("MessageAttributes.entry.1.Name"):
		return nil, badSNS("the emulator takes neither MessageStructure nor MessageAttributes")
	}
	now := e.clock.now()
	m := newEnvelope(kindNotification, t.arn, message, now)
	m.Subject = subject
	e.publish(t, m, now)
	return object{"MessageId": m.MessageID}, nil
}

func (e *Emulator) listSubscriptions(c *call) (object, error) {
	return e.subscriptionPage(c, "", e.topics.subscriptions)
}

func (e *Emulator) listSubscriptionsByTopic(c *call) (object, error) {
	t, err := e.topicOf(newInput(c.in), "TopicArn")
	if err != nil {
		return nil, err
	}
	return e.subscriptionPage(c, t.arn, t.subscriptions)
}

// subscriptionPage lists subscriptions in order of creation, a page at a time.
func (e *Emulator) subscriptionPage(c *call, arn string, list []*subscription) (object, error) {
	digest := queryDigest("subscriptions", arn)
	after := int64(0)
	if next := newInput(c.in).text("NextToken"); next != "" {
		var ok bool
		if after, _, ok = readPageToken(digest, next); !ok {
			return nil, badSNS("NextToken")
		}
	}
	shown := []object{}
	if c.fault.emptiesPage() {
		return object{"Subscriptions": shown, "NextToken": pageToken(digest, after, 0)}, nil
	}
	for _, s := range list {
		if int64(s.number) <= after {
			continue
		}
		if len(shown) == maxListedSubscriptions {
			return object{"Subscriptions": shown, "NextToken": pageToken(digest, after, 0)}, nil
		}
		shown = append(shown, object{
			"SubscriptionArn": s.shownARN(false, "PendingConfirmation"), "Owner": sellerAccount,
			"Protocol": s.protocol, "Endpoint": s.endpoint, "TopicArn": s.topic.arn,
		})
		after = int64(s.number)
	}
	return object{"Subscriptions": shown}, nil
}

// formMap is a map in awsQuery: <name>.entry.<n>.key and .value, from 1.
func formMap(in input, name string) map[string]string {
	out := map[string]string{}
	for n := 1; ; n++ {
		entry := fmt.Sprintf("%s.entry.%d.", name, n)
		if !in.has(entry + "key") {
			return out
		}
		out[in.text(entry+"key")] = in.text(entry + "value")
	}
}
