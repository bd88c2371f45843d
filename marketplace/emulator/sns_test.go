package emulator_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/weirhq/weir/marketplace/emulator"
)

const (
	oldSubscriptions = "arn:aws:sns:us-east-1:287250355862:aws-mp-subscription-notification-old"
	oldEntitlements  = "arn:aws:sns:us-east-1:287250355862:aws-mp-entitlement-notification-old"
)

// delivery is what an endpoint got from SNS.
type delivery struct {
	header http.Header
	body   string
	fields map[string]string
}

// deliveryOf takes an envelope apart.
func deliveryOf(t *testing.T, header http.Header, body string) delivery {
	t.Helper()
	d := delivery{header: header, body: body}
	if err := json.Unmarshal([]byte(body), &d.fields); err != nil {
		t.Fatalf("decode %s: %v", body, err)
	}
	return d
}

// endpoint is a server that keeps what is posted to it, and answers statuses in turn, 200 once they are used up.
type endpoint struct {
	t        *testing.T
	url      string
	got      chan delivery
	statuses chan int
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{t: t, got: make(chan delivery, 1000), statuses: make(chan int, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e.got <- delivery{header: r.Header, body: string(body)}
		select {
		case status := <-e.statuses:
			w.WriteHeader(status)
		default:
		}
	}))
	t.Cleanup(server.Close)
	e.url = server.URL + "/sns"
	return e
}

// raw waits for the next delivery.
func (e *endpoint) raw() delivery {
	e.t.Helper()
	select {
	case d := <-e.got:
		return d
	case <-time.After(20 * time.Second):
		e.t.Fatal("nothing was delivered within 20s")
		return delivery{}
	}
}

func (e *endpoint) next() delivery {
	e.t.Helper()
	d := e.raw()
	return deliveryOf(e.t, d.header, d.body)
}

// topicFeed subscribes a queue to the topics, and answers its URL.
func (w *world) topicFeed(more string) *string {
	w.t.Helper()
	var document struct{ SNS struct{ Queue string } }
	w.must(http.MethodPut, "feeds", `{"sns":{"queue":"topics"`+more+`}}`, &document)
	return aws.String(document.SNS.Queue)
}

// bodies takes what is in a queue.
func (w *world) bodies(queue *string) []string {
	w.t.Helper()
	got := []string{}
	for {
		messages := w.receive(queue, 0)
		if len(messages) == 0 {
			return got
		}
		for _, m := range messages {
			got = append(got, aws.ToString(m.Body))
		}
	}
}

// verify checks a signature as a receiver does, with the certificate that the message names, and nothing of the
// emulator's own code.
func verify(t *testing.T, d delivery) *x509.Certificate {
	t.Helper()
	response, err := http.Get(d.fields["SigningCertURL"])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || len(rest) != 0 {
		t.Fatalf("%s is %q, want one certificate", d.fields["SigningCertURL"], text)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type"}
	var signed strings.Builder
	for _, name := range names {
		if value, there := d.fields[name]; there {
			signed.WriteString(name + "\n" + value + "\n")
		}
	}
	signature, err := base64.StdEncoding.DecodeString(d.fields["Signature"])
	if err != nil {
		t.Fatal(err)
	}
	algorithm := map[string]x509.SignatureAlgorithm{"1": x509.SHA1WithRSA, "2": x509.SHA256WithRSA}[d.fields["SignatureVersion"]]
	if err := certificate.CheckSignature(algorithm, []byte(signed.String()), signature); err != nil {
		t.Errorf("signature of version %s: %v", d.fields["SignatureVersion"], err)
	}
	return certificate
}

func TestEnvelopesAreSignedInBothVersions(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		w := standing(t)
		queue := w.topicFeed(`,"version":` + version)
		w.buyer("old", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
		w.must(http.MethodPost, "notify", `{"feed":"sns-sqs","subject":"řeka <&>","body":"line1\nline2\u2028 \"q\" </script>"}`, nil)
		bodies := w.bodies(queue)
		want(t, "messages", len(bodies), 3)
		topics := []string{}
		for _, body := range bodies {
			d := deliveryOf(t, nil, body)
			want(t, "version", d.fields["SignatureVersion"], version)
			want(t, "type", d.fields["Type"], "Notification")
			want(t, "time", d.fields["Timestamp"], "2026-11-15T12:00:00.000Z")
			if !regexp.MustCompile(`^` + w.url + `/SimpleNotificationService-[0-9a-f]{32}\.pem$`).MatchString(d.fields["SigningCertURL"]) {
				t.Errorf("certificate is at %s", d.fields["SigningCertURL"])
			}
			certificate := verify(t, d)
			want(t, "name", certificate.Subject.CommonName, "sns.amazonaws.com")
			if certificate.NotBefore.Year() > 1970 || certificate.NotAfter.Year() < 9000 {
				t.Errorf("good from %v to %v, want whatever the clock can show", certificate.NotBefore, certificate.NotAfter)
			}
			topics = append(topics, d.fields["TopicArn"])
		}
		want(t, "topics", topics, []string{oldSubscriptions, oldEntitlements, strings.Replace(oldSubscriptions, "-old", "-unknown", 1)})
		want(t, "subject", deliveryOf(t, nil, bodies[2]).fields["Subject"], "řeka <&>")
	}
}

func TestOnlyTheCertificateIsThere(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	status, _, _ := raw(t, newRequest(t, http.MethodGet, w.url+"/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem", ""))
	want(t, "another", status, http.StatusNotFound)
	_, _, calls := raw(t, newRequest(t, http.MethodGet, w.url+"/_control/calls", ""))
	want(t, "calls", calls, "[]")
}

func TestAURLIsAskedToConfirmBeforeItGetsAnything(t *testing.T) {
	w := only(t)
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q,"version":2}}`, e.url), nil)
	l := w.buyer("old", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
	invited := map[string]delivery{}
	for range 2 {
		d := e.next()
		want(t, "kind", d.fields["Type"], "SubscriptionConfirmation")
		invited[d.fields["TopicArn"]] = d
		verify(t, d)
		for name, expected := range map[string]string{
			"X-Amz-Sns-Message-Type": "SubscriptionConfirmation", "X-Amz-Sns-Message-Id": d.fields["MessageId"],
			"X-Amz-Sns-Topic-Arn": d.fields["TopicArn"], "Content-Type": "text/plain; charset=UTF-8",
			"User-Agent": "Amazon Simple Notification Service Agent", "X-Amz-Sns-Subscription-Arn": "",
		} {
			want(t, name, d.header.Get(name), expected)
		}
	}
	w.buyer("old", "222233334444", "") // asks nobody again
	if len(e.got) != 0 {
		t.Errorf("%d more before the confirmation", len(e.got))
	}
	w.confirm(invited[oldEntitlements])
	d := e.next()
	want(t, "message", d.fields["Message"], `{"action":"entitlement-updated","customer-identifier":"`+l.CustomerIdentifier+`","product-code":"old"}`)
	want(t, "kind", d.header.Get("X-Amz-Sns-Message-Type"), "Notification")
	if !strings.HasPrefix(d.header.Get("X-Amz-Sns-Subscription-Arn"), oldEntitlements+":") {
		t.Errorf("subscription is %s", d.header.Get("X-Amz-Sns-Subscription-Arn"))
	}
	verify(t, d)
	response, err := http.Get(invited[oldSubscriptions].fields["SubscribeURL"])
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	want(t, "visited SubscribeURL", response.StatusCode, http.StatusOK)
	want(t, "topic", e.next().fields["TopicArn"], oldSubscriptions)
}

func TestAFailedDeliveryIsTriedAgain(t *testing.T) {
	w := only(t)
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q}}`, e.url), nil)
	w.confirm(e.next())
	w.confirm(e.next())
	e.statuses <- http.StatusServiceUnavailable
	w.buyer("old", buyerAccount, "")
	first, again := e.next(), e.next()
	want(t, "the same message again", again.body, first.body)
	e.statuses <- http.StatusForbidden
	w.buyer("old", "222233334444", "")
	w.buyer("old", "333344445555", "")
	refused, next := e.next(), e.next()
	if refused.fields["MessageId"] == next.fields["MessageId"] {
		t.Error("a message that was refused came again")
	}
}

func TestRawMessagesToAURLSaySo(t *testing.T) {
	w := only(t)
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q,"raw":true}}`, e.url), nil)
	w.confirm(e.next())
	w.confirm(e.next())
	w.buyer("old", buyerAccount, "")
	d := e.next()
	want(t, "header", d.header.Get("X-Amz-Sns-Rawdelivery"), "true")
	want(t, "action", d.fields["action"], "subscribe-success")
}
