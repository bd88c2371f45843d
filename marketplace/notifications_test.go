package marketplace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/cache"
)

// ownTopic is the topic of the vectors, in a message that the test signs.
const ownTopic = "arn:aws:sns:us-east-1:287250355862:aws-mp-subscription-notification-prodlegacy0000001"

// updatedBody is what AWS Marketplace says when something changed.
const updatedBody = `{"action":"entitlement-updated","customer-identifier":"CustIdLegacy1","product-code":"prodlegacy0000001"}`

// ownMessage is a notification of now, unsigned.
func (p *posted) ownMessage() map[string]string {
	return map[string]string{
		"Type": "Notification", "MessageId": "00000000-0000-0000-0000-000000000001", "TopicArn": ownTopic, "Message": updatedBody,
		"Timestamp":        p.clock.Now().Format("2006-01-02T15:04:05.000Z"),
		"SignatureVersion": "2", "SigningCertURL": certificateURL, "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
	}
}

// with is a message with other members; an empty one is left out.
func with(message map[string]string, members ...string) map[string]string {
	message = maps.Clone(message)
	for i := 0; i < len(members); i += 2 {
		message[members[i]] = members[i+1]
		if members[i+1] == "" {
			delete(message, members[i])
		}
	}
	return message
}

// newSigned is POST /sns with a certificate of the test's own behind certificateURL.
func newSigned(t *testing.T, topics ...string) (*posted, *signer) {
	t.Helper()
	p := newPosted(t, append(topics, ownTopic))
	s := newSigner(t, p, leafOf("sns.amazonaws.com"))
	p.internet.files[certificateURL] = servedFile{Body: s.file}
	return p, s
}

func TestNotificationIsAnsweredAfterItsEffect(t *testing.T) {
	p, s := newSigned(t)
	for _, version := range []string{"1", "2"} {
		for _, subject := range []string{"", "a subject"} {
			message := with(p.ownMessage(), "SignatureVersion", version, "Subject", subject, "MessageId", "00000000-0000-0000-0000-00000000000"+version)
			p.hints, p.replays = nil, newReplays()
			if got := p.post(nil, s.sign(message)); got.status != 200 {
				t.Fatalf("got %+v\n%s", got, p.log)
			}
			at, err := time.Parse(time.RFC3339, message["Timestamp"])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]cache.Hint{{Product: "legacy", Customer: "CustIdLegacy1", At: at}}, p.hints); diff != "" {
				t.Error(diff)
			}
		}
	}
}

func TestEmptySubjectIsSigned(t *testing.T) {
	p, s := newSigned(t)
	message := p.ownMessage()
	message["Subject"] = ""
	if got := p.post(nil, marshal(t, with(message, "Signature", s.signature(with(message, "Subject", ""))))); got.status != 403 {
		t.Errorf("signed without it: got %+v", got)
	}
	message["Signature"] = s.signature(message)
	if got := p.post(nil, marshal(t, message)); got.status != 200 {
		t.Errorf("signed with it: got %+v", got)
	}
}

func TestNotificationsAreCountedByWhatTheyLedTo(t *testing.T) {
	p, s := newSigned(t)
	post := func(body string) {
		p.replays = newReplays()
		if got := p.post(nil, s.sign(with(p.ownMessage(), "Message", body))); got.status != 200 {
			t.Errorf("%s: got %+v", body, got)
		}
	}
	post(updatedBody)
	post(`{"action":"entitlement-teleported"}`)
	post(strings.Replace(updatedBody, "prodlegacy0000001", "other", 1)) // not the topic's product
	post("hello")
	p.post(nil, []byte("hello"))
	p.post(nil, s.sign(with(p.ownMessage(), "TopicArn", ownTopic+"2")))
	for kind, want := range map[string]float64{"changed": 1, "unknown": 2, "poison": 3, "unchanged": 0} {
		if got := p.counted(kind); got != want {
			t.Errorf("%v %s, want %v", got, kind, want)
		}
	}
	if len(p.hints) != 1 {
		t.Errorf("effects %v", p.hints)
	}
}

func TestFailedEffectIsTriedAgain(t *testing.T) {
	p, s := newSigned(t)
	message := s.sign(p.ownMessage())
	p.fail = errors.New("AWS is away")
	if got, want := p.post(nil, message), (answer{503, "unavailable"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	p.fail = nil
	if got := p.post(nil, message); got.status != 200 || len(p.hints) != 2 {
		t.Errorf("got %+v, effects %v", got, p.hints)
	}
}

func TestReplayHasNoEffect(t *testing.T) {
	p, s := newSigned(t)
	message := p.ownMessage()
	for range 3 {
		if got := p.post(nil, s.sign(message)); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	}
	other := with(message, "Message", strings.Replace(updatedBody, "CustIdLegacy1", "CustIdLegacy2", 1))
	if got, want := p.post(nil, s.sign(other)), (answer{403, "replayed"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(p.hints) != 1 {
		t.Errorf("effects %v", p.hints)
	}
}

func TestMessageThatIsBeingWorkedOnIsNotTakenTwice(t *testing.T) {
	p, s := newSigned(t)
	message := s.sign(p.ownMessage())
	p.handle = func(context.Context, cache.Hint) (bool, error) {
		if got, want := p.post(nil, message), (answer{503, "unavailable"}); got != want {
			t.Errorf("meanwhile: got %+v, want %+v", got, want)
		}
		return true, nil
	}
	if got := p.post(nil, message); got.status != 200 {
		t.Errorf("got %+v", got)
	}
}

func TestReplaysAreRememberedWithinBounds(t *testing.T) {
	r, now := newReplays(), time.Now()
	for i := range maxReplays {
		r.begin(fmt.Sprint(i), nil, now, now)
		r.end(fmt.Sprint(i), true)
	}
	if got := r.begin("one more", nil, now, now); got != verdictBusy {
		t.Errorf("full, but got %v", got)
	}
	if got := r.begin("one more", nil, now, now.Add(time.Second)); got != verdictNew || len(r.seen) != 1 {
		t.Errorf("got %v, and remember %d", got, len(r.seen))
	}
}

func TestFreshnessIsMeasuredInAWSTime(t *testing.T) {
	p, s := newSigned(t)
	for name, tt := range map[string]struct {
		age  time.Duration
		want answer
	}{
		"an hour old, almost":      {time.Hour - 10*time.Second, answer{200, ""}},
		"older than an hour":       {time.Hour + 10*time.Second, answer{403, "stale"}},
		"15 minutes ahead, almost": {-15*time.Minute + 10*time.Second, answer{200, ""}},
		"further ahead":            {-15*time.Minute - 10*time.Second, answer{403, "stale"}},
		"of another century":       {-100 * 365 * 24 * time.Hour, answer{403, "stale"}},
	} {
		p.replays = newReplays()
		at := p.clock.Now().Add(-tt.age).Format("2006-01-02T15:04:05.000Z")
		if got := p.post(nil, s.sign(with(p.ownMessage(), "Timestamp", at))); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestSubscriptionIsConfirmedByTheAPIAlone(t *testing.T) {
	const elsewhere = "arn:aws:sns:ap-southeast-2:287250355862:aws-mp-entitlement-notification-prodlegacy0000001"
	p, s := newSigned(t, elsewhere)
	url := strings.Replace(certificateURL, "us-east-1", "ap-southeast-2", 1)
	p.internet.files[url] = servedFile{Body: s.file}
	confirmation := with(p.ownMessage(), "Type", "SubscriptionConfirmation", "TopicArn", elsewhere, "SigningCertURL", url,
		"Token", "2336412f37abababab", "SubscribeURL", "http://169.254.169.254/latest/meta-data")
	p.internet.broken = errors.New("no route to 2336412f37abababab")
	if got, want := p.post(nil, s.sign(confirmation)), (answer{503, "unavailable"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	p.internet.broken, p.internet.called = nil, nil
	if got := p.post(nil, s.sign(confirmation)); got.status != 200 {
		t.Fatalf("got %+v\n%s", got, p.log)
	}
	if len(p.internet.called) != 1 || !strings.HasPrefix(p.internet.called[0], "https://sns.ap-southeast-2.amazonaws.com/ ") ||
		!strings.Contains(p.internet.called[0], "Action=ConfirmSubscription") || !strings.Contains(p.internet.called[0], "Token=2336412f37abababab") ||
		!strings.Contains(p.internet.called[0], "aws-mp-entitlement-notification-prodlegacy0000001") {
		t.Errorf("called %q", p.internet.called)
	}
	if diff := cmp.Diff([]string{url}, p.internet.asked); diff != "" {
		t.Errorf("fetched: %s", diff)
	}
	if strings.Contains(p.log.String(), "2336412f37abababab") {
		t.Errorf("the token is in the log:\n%s", p.log)
	}
}

func TestEndOfASubscriptionIsLogged(t *testing.T) {
	p, s := newSigned(t)
	message := with(p.ownMessage(), "Type", "UnsubscribeConfirmation", "Token", "23", "SubscribeURL", "https://sns.us-east-1.amazonaws.com/")
	if got := p.post(nil, s.sign(message)); got.status != 200 || !strings.Contains(p.log.String(), "topic sends no more messages here") {
		t.Errorf("got %+v\n%s", got, p.log)
	}
	if len(p.internet.called) != 0 {
		t.Errorf("called %q", p.internet.called)
	}
}

func TestMessagesWithTwoReadingsAreRefusedUnfetched(t *testing.T) {
	p, s := newSigned(t)
	message := p.ownMessage()
	good := string(s.sign(message))
	plus := func(members string) string { return "{" + members + "," + good[1:] }
	many := strings.Builder{}
	for i := range maxMembers {
		fmt.Fprintf(&many, `"m%d":0,`, i)
	}
	hostile := map[string]string{
		"two TopicArn, the evil first":  plus(`"TopicArn":"arn:aws:sns:us-east-1:666666666666:evil"`),
		"two TopicArn, the evil last":   good[:len(good)-1] + `,"TopicArn":"arn:aws:sns:us-east-1:666666666666:evil"}`,
		"two TopicArn, in lower case":   plus(`"topicarn":"arn:aws:sns:us-east-1:666666666666:evil"`),
		"two TopicArn, one escaped":     plus(`"\u0054opicArn":"arn:aws:sns:us-east-1:666666666666:evil"`),
		"two Message":                   plus(`"Message":"evil"`),
		"two SigningCertURL":            plus(`"SigningCertURL":"https://evil.example/SimpleNotificationService-1.pem"`),
		"two of no meaning":             plus(`"x":1,"x":2`),
		"many members":                  plus(many.String() + `"last":0`),
		"byte order mark":               "\ufeff" + good,
		"in a list":                     "[" + good + "]",
		"in a text":                     string(quoted(t, good)),
		"two messages":                  good + good,
		"something after it":            good + "x",
		"no end":                        good[:len(good)-1],
		"not UTF-8":                     plus("\"x\":\"\xff\""),
		"nothing":                       "",
		"endless nesting":               plus(`"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)),
		"line break in the id":          string(s.sign(with(message, "MessageId", message["MessageId"]+"\n"))),
		"line break in the time":        string(s.sign(with(message, "Timestamp", message["Timestamp"]+"\nx"))),
		"line break in the subject":     string(s.sign(with(message, "Subject", "a\nTimestamp\nb"))),
		"time of another zone":          string(s.sign(with(message, "Timestamp", "2026-11-17T12:29:40.000+02:00"))),
		"time that is none":             string(s.sign(with(message, "Timestamp", "2026-02-30T10:29:40.000Z"))),
		"no time":                       string(s.sign(with(message, "Timestamp", ""))),
		"no topic":                      string(s.sign(with(message, "TopicArn", ""))),
		"confirmation without a token":  string(s.sign(with(message, "Type", "SubscriptionConfirmation", "SubscribeURL", "https://x"))),
		"confirmation, line in its URL": string(s.sign(with(message, "Type", "SubscriptionConfirmation", "Token", "1", "SubscribeURL", "https://x\nToken"))),
		"type in lower case":            string(s.sign(with(message, "Type", "notification"))),
	}
	for _, name := range []string{"Type", "MessageId", "TopicArn", "Message", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL"} {
		var members map[string]any
		if err := json.Unmarshal([]byte(good), &members); err != nil {
			t.Fatal(err)
		}
		for what, value := range map[string]any{"null": nil, "number": 1, "list": []any{members[name]}, "object": map[string]any{"a": members[name]}} {
			members[name] = value
			body, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			hostile[what+" as "+name] = string(body)
		}
	}
	for name, body := range hostile {
		if got, want := p.post(nil, []byte(body)), (answer{400, "unreadable"}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	if p.internet.requests() != 0 || len(p.hints) != 0 {
		t.Errorf("asked for %v, effects %v", p.internet.asked, p.hints)
	}
	if got := p.post(nil, []byte(good)); got.status != 200 {
		t.Errorf("what all came of: got %+v", got)
	}
}

func quoted(t *testing.T, text string) []byte {
	t.Helper()
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOtherTopicsAreRefusedUnfetched(t *testing.T) {
	p, s := newSigned(t)
	for _, topic := range []string{
		"arn:aws:sns:us-east-1:666666666666:aws-mp-subscription-notification-prodlegacy0000001",
		"arn:aws:sns:eu-west-1:287250355862:aws-mp-subscription-notification-prodlegacy0000001",
		"ARN:aws:sns:us-east-1:287250355862:aws-mp-subscription-notification-prodlegacy0000001",
		ownTopic + "x", ownTopic[:len(ownTopic)-1], ownTopic + ":2bcfbf39-05c3-41de-beaa-fcfcc21c8f55", "*",
	} {
		// The header says what is taken, and is signed by nobody.
		got := p.post(map[string]string{"x-amz-sns-topic-arn": ownTopic}, s.sign(with(p.ownMessage(), "TopicArn", topic)))
		if want := (answer{403, "topic"}); got != want {
			t.Errorf("%s: got %+v, want %+v", topic, got, want)
		}
	}
	if p.internet.requests() != 0 {
		t.Errorf("asked for %v", p.internet.asked)
	}
}

func TestHeadersThatSayOtherThanTheBodyAreRefusedUnfetched(t *testing.T) {
	p, s := newSigned(t)
	message := p.ownMessage()
	for name, value := range map[string]string{
		"x-amz-sns-message-type": "SubscriptionConfirmation", "x-amz-sns-message-id": "00000000-0000-0000-0000-000000000002",
		"x-amz-sns-topic-arn": ownTopic + "x",
	} {
		if got, want := p.post(map[string]string{name: value}, s.sign(message)), (answer{400, "unreadable"}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/sns", bytes.NewReader(s.sign(message)))
	r.Header["X-Amz-Sns-Topic-Arn"] = []string{ownTopic, ownTopic + "x"}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != 400 || p.internet.requests() != 0 {
		t.Errorf("got %d, asked for %v", w.Code, p.internet.asked)
	}
}

func TestSignaturesThatCanNotBeAreRefusedUnfetched(t *testing.T) {
	p, s := newSigned(t)
	message := p.ownMessage()
	signature := s.signature(message)
	for name, body := range map[string]map[string]string{
		"no version":      with(message, "Signature", signature, "SignatureVersion", ""),
		"version 3":       with(message, "Signature", signature, "SignatureVersion", "3"),
		"version 01":      with(message, "Signature", signature, "SignatureVersion", "01"),
		"none":            message,
		"not base64":      with(message, "Signature", "!"+signature[1:]),
		"URL-safe base64": with(message, "Signature", "-_"+signature[2:]),
		"line breaks":     with(message, "Signature", signature[:64]+"\n"+signature[64:]),
	} {
		if got, want := p.post(nil, marshal(t, body)), (answer{403, "signature"}); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	if p.internet.requests() != 0 {
		t.Errorf("asked for %v", p.internet.asked)
	}
}

func TestSignatureOfTheOtherVersionIsNone(t *testing.T) {
	p, s := newSigned(t)
	one, two := with(p.ownMessage(), "SignatureVersion", "1"), p.ownMessage()
	for _, body := range []map[string]string{
		with(one, "Signature", s.signature(two)), with(two, "Signature", s.signature(one)),
		with(two, "Signature", s.signature(two)[:100]), with(two, "Signature", s.signature(with(two, "Message", "other"))),
	} {
		if got, want := p.post(nil, marshal(t, body)), (answer{403, "signature"}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	p, s := newSigned(t)
	tooLarge := answer{413, "too_large"}
	if got := p.post(nil, make([]byte, maxPosted+1)); got != tooLarge {
		t.Errorf("got %+v", got)
	}
	unsized := httptest.NewRequest(http.MethodPost, "/sns", io.LimitReader(zeroes{}, maxPosted+1))
	unsized.ContentLength = -1
	w := httptest.NewRecorder()
	p.ServeHTTP(w, unsized)
	if w.Code != 413 {
		t.Errorf("without a length: got %d", w.Code)
	}
	long := with(p.ownMessage(), "Message", strings.Repeat("x", 300<<10))
	if got := p.post(nil, s.sign(long)); got.status != 200 {
		t.Errorf("300 KiB: got %+v", got)
	}
	for range largeAtOnce {
		p.large <- struct{}{}
	}
	if got := p.post(nil, s.sign(with(long, "MessageId", "00000000-0000-0000-0000-000000000002"))); got != (answer{503, "unavailable"}) {
		t.Errorf("one long body too many: got %+v", got)
	}
	if got := p.post(nil, s.sign(with(p.ownMessage(), "MessageId", "00000000-0000-0000-0000-000000000003"))); got.status != 200 {
		t.Errorf("a short body beside long ones: got %+v", got)
	}
}

// zeroes is a body without an end.
type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestOnlyPostIsTaken(t *testing.T) {
	p, s := newSigned(t)
	r := httptest.NewRequest(http.MethodGet, "/sns", bytes.NewReader(s.sign(p.ownMessage())))
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" || len(p.hints) != 0 {
		t.Errorf("got %d, %v", w.Code, p.hints)
	}
}

// counted is weir_updates_total of this feed.
func (p *posted) counted(kind string) float64 {
	return testutil.ToFloat64(p.updates.WithLabelValues("sns-https", kind))
}
