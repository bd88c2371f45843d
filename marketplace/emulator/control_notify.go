package emulator

import (
	"bytes"
	"encoding/json"
	"strings"
)

// POST /_control/notify: a message of the caller's own making, through one feed.

// maxTopicARN bounds a topic's ARN, in bytes; it goes into a header.
const maxTopicARN = 1024

// notifyDocument is its body.
type notifyDocument struct {
	Feed    string          `json:"feed"`
	Body    json.RawMessage `json:"body"`
	Raw     bool            `json:"raw"`     // of SNS: the body is what arrives, without envelope and signature
	Topic   string          `json:"topic"`   // of SNS: the ARN; default: where the product and action that the body names belong
	Subject string          `json:"subject"` // of SNS
}

func (e *Emulator) postNotify(c *controlCall) (any, error) {
	var document notifyDocument
	if err := c.read(&document); err != nil {
		return nil, err
	}
	if err := oneOf("feed", document.Feed, "eventbridge", "sns-sqs", "sns-https"); err != nil {
		return nil, err
	}
	if len(document.Body) == 0 {
		return nil, invalid("give the message as JSON, or as text", "body is missing")
	}
	if err := e.feeds.leadTo(document.Feed); err != nil {
		return nil, err
	}
	text := messageText(document.Body)
	if document.Feed != "eventbridge" {
		return e.notifySNS(c, &document, text)
	}
	e.deliver(e.feeds.document.EventBridge.Queue, text, c.now, 0)
	return object{}, nil
}

// leadTo is nil when a feed leads somewhere.
func (f *feeds) leadTo(name string) error {
	bridge, sns := f.document.EventBridge, f.document.SNS
	switch {
	case name == "eventbridge" && bridge == nil:
		return conflict("PUT /_control/feeds with eventbridge.queue first", "the eventbridge feed has no queue")
	case name == "sns-sqs" && (sns == nil || sns.Queue == ""):
		return conflict("PUT /_control/feeds with sns.queue first", "the sns feed has no queue")
	case name == "sns-https" && (sns == nil || sns.HTTPS == ""):
		return conflict("PUT /_control/feeds with sns.https first", "the sns feed has no URL")
	}
	return nil
}

// notifySNS sends a message as the feed's subscription would, but waits for no confirmation.
func (e *Emulator) notifySNS(c *controlCall, d *notifyDocument, text string) (any, error) {
	t, err := e.notifiedTopic(d.Topic, text)
	if err != nil {
		return nil, err
	}
	s := &subscription{topic: t, arn: t.arn + ":" + newUUID(), address: e.feeds.address, raw: d.Raw}
	m := newEnvelope(kindNotification, t.arn, text, c.now)
	m.Subject = d.Subject
	if d.Feed == "sns-sqs" {
		s.endpoint = queueARN(e.feeds.document.SNS.Queue)
		e.dispatch(s, m, c.now, 0)
		return object{"messageId": m.MessageID}, nil
	}
	s.endpoint = e.feeds.document.SNS.HTTPS
	p, err := e.pack(s, m, 0)
	if err != nil {
		return nil, err
	}
	if d.Raw {
		p.labelAsItself()
	}
	e.topics.passBy(p)
	e.nudge()
	return object{"messageId": m.MessageID}, nil
}

// notifiedTopic is the topic that a message shall come from. It need not exist: that of a forged one does not.
func (e *Emulator) notifiedTopic(arn, text string) (*topic, error) {
	if arn == "" {
		var n notice
		if json.Unmarshal([]byte(text), &n) != nil || n.Product == "" {
			n.Product = "unknown"
		}
		arn = n.topic()
	}
	if len(arn) > maxTopicARN || headerText(arn) != arn {
		return nil, invalid("give a topic's ARN", "topic is %q", clip(arn))
	}
	if t, ok := e.topics.byARN[arn]; ok {
		return t, nil
	}
	return &topic{arn: arn}, nil
}

// labelAsItself gives a raw message that is an envelope the headers that SNS would have sent with it.
func (p *parcel) labelAsItself() {
	var m envelope
	if json.Unmarshal([]byte(p.body), &m) == nil && m.Type != "" {
		p.kind, p.id, p.topic, p.raw = headerText(m.Type), headerText(m.MessageID), headerText(m.TopicArn), false
	}
}

// headerText is what a header can carry of a text.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}

// messageText is a message as it shall be delivered: a JSON text is what it says, anything else is itself.
func messageText(body json.RawMessage) string {
	var text string
	if json.Unmarshal(body, &text) == nil {
		return text
	}
	var compact bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return string(body)
	}
	return compact.String()
}
