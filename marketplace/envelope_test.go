package marketplace

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/cache"
)

// FuzzPosted changes good messages in any way: what has an effect is what SNS signed, to the letter.
func FuzzPosted(f *testing.F) {
	v := readVectors(f)
	signed := make(map[string]bool)
	for _, m := range v.Messages {
		f.Add([]byte(m.Body))
		if e, err := readEnvelope([]byte(m.Body)); err == nil && m.Expect != "reject" {
			signed[string(e.signed())] = true
		}
	}
	p := newPosted(f, v.Topics)
	f.Fuzz(func(t *testing.T, body []byte) {
		p.t, p.hints, p.replays, p.internet.asked = t, nil, newReplays(), nil
		got := p.post(nil, body)
		e, err := readEnvelope(body)
		if (err != nil) != (got.status == 400) {
			t.Fatalf("got %+v for %v", got, err)
		}
		if got.status == 200 && !signed[string(e.signed())] {
			t.Errorf("taken: %q", e.signed())
		}
		if got.status != 200 && len(p.hints) != 0 {
			t.Errorf("refused with an effect: %v", p.hints)
		}
		for _, url := range p.internet.asked {
			if !strings.HasPrefix(url, "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-") {
				t.Errorf("asked for %q", url)
			}
		}
	})
}

// FuzzSigned proves that no two envelopes that are read have one signed text.
func FuzzSigned(f *testing.F) {
	f.Add("a", "b", "c", true)
	f.Add("x\nMessageId\n00000000-0000-0000-0000-000000000002", "", "Subject", false)
	f.Fuzz(func(t *testing.T, message, subject, token string, notifies bool) {
		e := &envelope{
			kind: typeNotification, id: "00000000-0000-0000-0000-000000000001", topic: ownTopic, message: message,
			timestamp: "2026-11-17T10:29:40.000Z", subject: subject, hasSubject: subject != "", token: token, subscribeURL: "https://x",
		}
		if !notifies {
			e.kind = typeSubscribe
		}
		for _, m := range e.members() {
			if m.required && !m.syntax.MatchString(*m.into) || e.hasSubject && !oneLine.MatchString(subject) {
				t.Skip("never read")
			}
		}
		got := readSigned(t, string(e.signed()))
		if got.message != e.message || got.kind != e.kind || got.id != e.id || got.timestamp != e.timestamp || got.topic != e.topic {
			t.Errorf("got %+v, want %+v", got, e)
		}
		if notifies && (got.subject != e.subject || got.hasSubject != e.hasSubject) || !notifies && got.token != e.token {
			t.Errorf("got %+v, want %+v", got, e)
		}
	})
}

// readSigned takes a signed text apart from its end, where all has one line.
func readSigned(t *testing.T, text string) *envelope {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	e := new(envelope)
	take := func(name string) string {
		n := len(lines)
		if n < 2 || lines[n-2] != name {
			t.Fatalf("no %s at the end of %q", name, lines)
		}
		value := lines[n-1]
		lines = lines[:n-2]
		return value
	}
	e.kind, e.topic = take("Type"), take("TopicArn")
	if e.kind != typeNotification {
		e.token = take("Token")
	}
	e.timestamp = take("Timestamp")
	switch n := len(lines); {
	case e.kind != typeNotification:
		e.subscribeURL = take("SubscribeURL")
	case n >= 2 && lines[n-2] == "Subject":
		e.subject, e.hasSubject = take("Subject"), true
	}
	e.id = take("MessageId")
	if len(lines) == 0 || lines[0] != "Message" {
		t.Fatalf("no Message at the beginning of %q", text)
	}
	e.message = strings.Join(lines[1:], "\n")
	return e
}

func TestTopicsBodyIsReadByOneParserOverBothWays(t *testing.T) {
	const body = `{"action":"unsubscribe-success","customer-identifier":"X","product-code":"prodnewconcurrent1"}`
	over := notification{feed: feedSNSHTTPS, topic: subscriptionTopic + "prodnewconcurrent1", body: []byte(body), at: sampleTime}
	got, err := sampleParser().notification(over)
	want := cache.Hint{Product: "sample", Customer: "X", At: sampleTime}
	if err != nil || got.feed != feedSNSHTTPS || got.hint == nil || *got.hint != want {
		t.Errorf("got %+v, %v", got, err)
	}
	over.topic = subscriptionTopic + "prodlegacy0000001"
	if got, err := sampleParser().notification(over); err != nil || got.kind != kindUnknown || got.hint != nil {
		t.Errorf("topic of another product: got %+v, %v", got, err)
	}
}
