package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Kinds of message, as Type and the header x-amz-sns-message-type name them.
const (
	kindNotification = "Notification"
	kindConfirmation = "SubscriptionConfirmation"
	kindUnsubscribed = "UnsubscribeConfirmation"
)

// snsTime is how SNS writes a time.
const snsTime = "2006-01-02T15:04:05.000Z"

// envelope is what SNS wraps a message in, with its members in SNS's order.
type envelope struct {
	Type             string
	MessageID        string `json:"MessageId"`
	Token            string `json:",omitempty"`
	TopicArn         string
	Subject          string `json:",omitempty"`
	Message          string
	SubscribeURL     string `json:",omitempty"`
	Timestamp        string
	SignatureVersion string
	Signature        string
	SigningCertURL   string
	UnsubscribeURL   string `json:",omitempty"`
}

func newEnvelope(kind, topicARN, message string, at time.Time) *envelope {
	return &envelope{
		Type: kind, MessageID: newUUID(), TopicArn: topicARN, Message: message, Timestamp: at.UTC().Format(snsTime),
	}
}

// invitation is a message with the token that makes a subscription: one that asks to confirm, or one that tells of the
// end and how to undo it.
func (e *Emulator) invitation(s *subscription, kind string) *envelope {
	text := "You have chosen to subscribe to the topic " + s.topic.arn + ".\nTo confirm the subscription, visit the SubscribeURL included in this message."
	if kind == kindUnsubscribed {
		text = "You have chosen to deactivate subscription " + s.arn + ".\nTo cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
	}
	m := newEnvelope(kind, s.topic.arn, text, e.clock.now())
	m.Token = e.tokenOf(s)
	m.SubscribeURL = e.addressOf(s) + "/?Action=ConfirmSubscription&TopicArn=" + url.QueryEscape(s.topic.arn) + "&Token=" + m.Token
	return m
}

// canonical is what a signature covers: names and values in byte order, each with a newline. A subject is there only
// when there is one; the URLs of a notification are not covered.
func (m *envelope) canonical() string {
	fields := []string{"Message", m.Message, "MessageId", m.MessageID}
	switch {
	case m.Type != kindNotification:
		fields = append(fields, "SubscribeURL", m.SubscribeURL, "Timestamp", m.Timestamp, "Token", m.Token)
	case m.Subject != "":
		fields = append(fields, "Subject", m.Subject, "Timestamp", m.Timestamp)
	default:
		fields = append(fields, "Timestamp", m.Timestamp)
	}
	fields = append(fields, "TopicArn", m.TopicArn, "Type", m.Type)
	return strings.Join(fields, "\n") + "\n"
}

// seal signs a message, once.
func (e *Emulator) seal(m *envelope, version int) error {
	if m.Signature != "" {
		return nil
	}
	signer, err := e.signer()
	if err != nil {
		return err
	}
	m.SignatureVersion = fmt.Sprint(version)
	m.Signature, err = signer.sign(m.canonical(), version)
	return err
}

// addressed is a sealed message as one subscriber gets it, written as SNS writes it.
func (e *Emulator) addressed(m envelope, address, subscriptionARN string) (string, error) {
	signer, err := e.signer()
	if err != nil {
		return "", err
	}
	m.SigningCertURL = address + signer.path
	if m.Type == kindNotification {
		m.UnsubscribeURL = address + "/?Action=Unsubscribe&SubscriptionArn=" + subscriptionARN
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(m); err != nil {
		return "", fmt.Errorf("encode message: %w", err)
	}
	return strings.TrimSuffix(body.String(), "\n"), nil
}
