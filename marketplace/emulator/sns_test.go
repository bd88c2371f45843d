package emulator_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
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

// snsCall makes a call of SNS and answers status and the texts of the elements in its answer.
func (w *world) snsCall(action string, parameters ...string) (int, map[string][]string) {
	w.t.Helper()
	form := url.Values{"Action": {action}, "Version": {"2010-03-31"}}
	for i := 0; i+1 < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	request := newRequest(w.t, http.MethodPost, w.url+"/", form.Encode(), "Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	wellSigned(request)
	status, _, body := raw(w.t, request)
	return status, elements(w.t, body)
}

func elements(t *testing.T, body string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	decoder := xml.NewDecoder(strings.NewReader(body))
	name := ""
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("decode %q: %v", body, err)
		}
		switch part := token.(type) {
		case xml.StartElement:
			name = part.Name.Local
		case xml.CharData:
			out[name] = append(out[name], string(part))
		}
	}
}

// confirm confirms the subscription of an invitation by the API.
func (w *world) confirm(d delivery) {
	w.t.Helper()
	status, answer := w.snsCall("ConfirmSubscription", "TopicArn", d.fields["TopicArn"], "Token", d.fields["Token"])
	if status != http.StatusOK || !strings.HasPrefix(answer["SubscriptionArn"][0], d.fields["TopicArn"]+":") {
		w.t.Fatalf("confirm: got %d %v", status, answer)
	}
}

// only leaves a world with the legacy listing alone, so that there are two topics.
func only(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, emulator.Config{})
	w.clock(noon)
	w.must(http.MethodPut, "products/old", `{"agreements":"legacy","dimensions":[{"key":"basic","types":["Entitled"]}]}`, nil)
	return w
}

// actions is what a queue of raw messages tells.
func (w *world) actions(queue *string) []string {
	w.t.Helper()
	got := []string{}
	for _, body := range w.bodies(queue) {
		var n struct{ Action string }
		if err := json.Unmarshal([]byte(body), &n); err != nil {
			w.t.Fatalf("decode %s: %v", body, err)
		}
		got = append(got, n.Action)
	}
	return got
}

func TestEachChangeTellsTheTopics(t *testing.T) {
	for _, test := range []struct {
		verb, body string
		want       []string
	}{
		{"renew", `{"expires":"2028-01-01T00:00:00Z"}`, []string{"entitlement-updated"}},
		{"replace", `{}`, []string{"subscribe-success", "entitlement-updated"}},
		{"cancel", ``, []string{"unsubscribe-pending"}},
		{"expire", ``, []string{"unsubscribe-pending"}},
		{"deprovision", ``, []string{}},
		{"suspend", ``, []string{}},
		{"resume", ``, []string{}},
	} {
		for _, product := range []string{"old", "acme"} {
			t.Run(product+" "+test.verb, func(t *testing.T) {
				w := standing(t)
				queue := w.topicFeed(`,"raw":true`)
				l := w.buyer(product, buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
				want(t, "create", w.actions(queue), []string{"subscribe-success", "entitlement-updated"})
				w.must(http.MethodPut, l.on("entitlements"), `[]`, nil)
				want(t, "change", w.actions(queue), []string{"entitlement-updated"})
				w.must(http.MethodPut, l.on("entitlements")+"?notify=false", `[{"dimension":"basic","value":true}]`, nil)
				w.must(http.MethodPost, l.on(test.verb), test.body, nil)
				want(t, test.verb, w.actions(queue), test.want)
			})
		}
	}
}

func TestAnHourAfterTheEndMeteringIsClosed(t *testing.T) {
	w := standing(t)
	queue := w.topicFeed("")
	l := w.buyer("old", buyerAccount, "")
	w.must(http.MethodPost, "licenses", `{"product":"old","account":"222233334444","ends":"2026-11-15T12:30:00Z"}`, nil)
	w.bodies(queue)
	w.must(http.MethodPost, l.on("cancel"), "", nil)
	w.advance("59m59s")
	w.advance("31m")
	var got []string
	for _, body := range w.bodies(queue) {
		d := deliveryOf(t, nil, body)
		var n struct{ Action string }
		if err := json.Unmarshal([]byte(d.fields["Message"]), &n); err != nil {
			t.Fatal(err)
		}
		got = append(got, d.fields["Timestamp"]+" "+n.Action)
	}
	want(t, "told", got, []string{
		"2026-11-15T12:00:00.000Z unsubscribe-pending", "2026-11-15T12:30:00.000Z unsubscribe-pending",
		"2026-11-15T13:00:00.000Z unsubscribe-success", "2026-11-15T13:30:00.000Z unsubscribe-success",
	})
}

func TestABuyerWhoComesBackIsNeverSaidToHaveLeft(t *testing.T) {
	w := standing(t)
	queue := w.topicFeed(`,"raw":true`)
	l := w.buyer("old", buyerAccount, "")
	w.must(http.MethodPost, l.on("cancel"), "", nil)
	w.advance("30m")
	w.buyer("old", buyerAccount, "")
	w.advance("2h")
	want(t, "told", w.actions(queue), []string{"subscribe-success", "unsubscribe-pending", "subscribe-success"})
}

func TestAnotherAgreementOfTheBuyerIsNoReturn(t *testing.T) {
	w := standing(t)
	queue := w.topicFeed(`,"raw":true`)
	l := w.buyer("acme", buyerAccount, "")
	other := w.buyer("acme", buyerAccount, "")
	w.advance("1h")
	w.must(http.MethodPost, l.on("cancel"), "", nil)
	w.must(http.MethodPost, other.on("renew"), `{"expires":"2028-01-01T00:00:00Z"}`, nil)
	w.advance("1h")
	want(t, "told", w.actions(queue), []string{"subscribe-success", "subscribe-success", "unsubscribe-pending", "unsubscribe-success"})
}

func TestAFutureAgreementIsToldWhenItStarts(t *testing.T) {
	w := standing(t)
	queue := w.topicFeed(`,"raw":true`)
	w.must(http.MethodPost, "licenses", `{"product":"old","account":"111122223333","starts":"2026-11-15T13:00:00Z"}`, nil)
	want(t, "before", w.actions(queue), []string{})
	w.advance("1h")
	want(t, "at the start", w.actions(queue), []string{"subscribe-success"})
}

func TestNoticesHaveTheFormThatAWSDocuments(t *testing.T) {
	w := standing(t)
	queue := w.topicFeed(`,"raw":true`)
	l := w.buyer("old", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
	w.must(http.MethodPost, l.on("cancel"), "", nil)
	w.buyer("acme", buyerAccount, "")
	got := w.bodies(queue)
	offer := regexp.MustCompile(`offer-[a-z0-9]{13}`)
	for i, body := range got {
		got[i] = offer.ReplaceAllString(body, "offer-x")
	}
	customer := `"customer-identifier":"` + l.CustomerIdentifier + `",`
	want(t, "bodies", got, []string{
		`{"action":"subscribe-success",` + customer + `"product-code":"old","offer-identifier":"offer-x","isFreeTrialTermPresent":"false"}`,
		`{"action":"entitlement-updated",` + customer + `"product-code":"old"}`,
		`{"action":"unsubscribe-pending",` + customer + `"product-code":"old","isFreeTrialTermPresent":"false"}`,
		`{"action":"subscribe-success","product-code":"acme","offer-identifier":"offer-x","isFreeTrialTermPresent":"false"}`,
	})
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
	w.buyer("old", "222233334444", `,"notify":false`)
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

func TestAConfirmationNeedsTheTokenOfItsTopicInTime(t *testing.T) {
	w := only(t)
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q}}`, e.url), nil)
	first, second := e.next(), e.next()
	for name, parameters := range map[string][]string{
		"forged token":         {"TopicArn", first.fields["TopicArn"], "Token", "2336412f37"},
		"token of another":     {"TopicArn", first.fields["TopicArn"], "Token", second.fields["Token"]},
		"no topic's ARN":       {"TopicArn", "x", "Token", first.fields["Token"]},
		"no token":             {"TopicArn", first.fields["TopicArn"]},
		"topic without a name": {"TopicArn", "arn:aws:sns:us-east-1:287250355862:", "Token", first.fields["Token"]},
	} {
		status, answer := w.snsCall("ConfirmSubscription", parameters...)
		want(t, name, fmt.Sprint(status, answer["Code"]), "400 [InvalidParameter]")
	}
	status, answer := w.snsCall("ConfirmSubscription", "TopicArn", oldSubscriptions+"x", "Token", first.fields["Token"])
	want(t, "unknown topic", fmt.Sprint(status, answer["Code"]), "404 [NotFound]")
	w.advance("48h")
	status, _ = w.snsCall("ConfirmSubscription", "TopicArn", first.fields["TopicArn"], "Token", first.fields["Token"])
	want(t, "after two days", status, http.StatusBadRequest)
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

func TestFeedsLoseAndDoubleWhatTopicsTell(t *testing.T) {
	w := only(t)
	w.must(http.MethodPut, "feeds", `{"sns":{"queue":"topics"},"drop":1}`, nil)
	w.buyer("old", buyerAccount, "")
	queue := aws.String(w.url + "/294406891311/topics")
	want(t, "all dropped", len(w.bodies(queue)), 0)
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"queue":"topics","https":%q},"duplicate":1}`, e.url), nil)
	w.confirm(e.next())
	w.confirm(e.next())
	w.buyer("old", "222233334444", "")
	bodies := w.bodies(queue)
	want(t, "in the queue", len(bodies), 2)
	want(t, "the same twice", bodies[0], bodies[1])
	first, second := e.next(), e.next()
	want(t, "the same id at the URL", second.fields["MessageId"], first.fields["MessageId"])
	w.must(http.MethodPut, "feeds", `{"sns":{"queue":"topics"},"delay":"1h"}`, nil)
	w.buyer("old", "333344445555", "")
	want(t, "on its way", w.attribute(queue, "ApproximateNumberOfMessagesDelayed"), "1")
}

func TestTheFeedFollowsItsDocument(t *testing.T) {
	w := only(t)
	e := newEndpoint(t)
	list := func() []string {
		_, answer := w.snsCall("ListSubscriptions")
		got := []string{}
		for i, endpoint := range answer["Endpoint"] {
			topic := answer["TopicArn"][i]
			got = append(got, strings.Replace(endpoint, e.url, "URL", 1)+" "+topic[strings.LastIndex(topic, "-")-12:])
		}
		slices.Sort(got)
		return got
	}
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q}}`, e.url), nil)
	want(t, "a URL", list(), []string{"URL notification-old", "URL notification-old"})
	w.must(http.MethodPut, "products/new", `{}`, nil)
	want(t, "a product more", len(list()), 4)
	tokens := map[string]bool{}
	for range 4 {
		tokens[e.next().fields["Token"]] = true
	}
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q,"queue":"topics"}}`, e.url), nil)
	want(t, "a queue more", len(list()), 8)
	want(t, "asked once each", len(tokens), 4)
	w.must(http.MethodPut, "feeds", `{"sns":{"queue":"topics"}}`, nil)
	want(t, "only the queue", len(list()), 4)
	w.must(http.MethodPut, "feeds", `{}`, nil)
	want(t, "nothing", list(), []string{})
	for _, bad := range []string{`"ftp://x/y"`, `"/sns"`, `"http:///x"`, `"http://x/#f"`} {
		status, _ := w.control(http.MethodPut, "feeds", `{"sns":{"https":`+bad+`}}`)
		want(t, bad, status, http.StatusBadRequest)
	}
	if len(e.got) != 0 {
		t.Error("a URL was asked again")
	}
}

func TestNotifySendsThroughTheSNSFeeds(t *testing.T) {
	w := only(t)
	for _, feed := range []string{"sns-sqs", "sns-https"} {
		status, body := w.control(http.MethodPost, "notify", `{"feed":"`+feed+`","body":"x"}`)
		if status != http.StatusConflict || !strings.Contains(string(body), "PUT /_control/feeds") {
			t.Errorf("%s without a feed: got %d %s, want 409 with the cure", feed, status, body)
		}
	}
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"queue":"topics","https":%q}}`, e.url), nil)
	w.confirm(e.next())
	w.confirm(e.next())
	queue := aws.String(w.url + "/294406891311/topics")
	const body = `{"action":"entitlement-updated","customer-identifier":"X","product-code":"old"}`
	var sent struct{ MessageID string }
	w.must(http.MethodPost, "notify", `{"feed":"sns-sqs","body":`+body+`}`, &sent)
	wrapped := deliveryOf(t, nil, w.bodies(queue)[0])
	want(t, "id", wrapped.fields["MessageId"], sent.MessageID)
	want(t, "topic", wrapped.fields["TopicArn"], oldEntitlements)
	want(t, "message", wrapped.fields["Message"], body)
	verify(t, wrapped)
	w.must(http.MethodPost, "notify", `{"feed":"sns-sqs","raw":true,"body":`+body+`}`, nil)
	want(t, "raw", w.bodies(queue), []string{body})
	const foreign = "arn:aws:sns:us-east-1:999999999999:aws-mp-subscription-notification-old"
	w.must(http.MethodPost, "notify", `{"feed":"sns-https","topic":"`+foreign+`","body":`+body+`}`, nil)
	d := e.next()
	want(t, "foreign topic", d.fields["TopicArn"]+" "+d.header.Get("X-Amz-Sns-Topic-Arn"), foreign+" "+foreign)
	verify(t, d)
	w.must(http.MethodPost, "notify", `{"feed":"sns-https","raw":true,"body":`+body+`}`, nil)
	d = e.raw()
	want(t, "raw at the URL", d.body+d.header.Get("X-Amz-Sns-Rawdelivery"), body+"true")
	forged := `{"Type":"Notification","MessageId":"m","TopicArn":"` + foreign + `","Message":"x"}`
	w.must(http.MethodPost, "notify", `{"feed":"sns-https","raw":true,"body":`+forged+`}`, nil)
	d = e.raw()
	want(t, "forged envelope", d.body, forged)
	want(t, "its headers", d.header.Get("X-Amz-Sns-Message-Id")+d.header.Get("X-Amz-Sns-Topic-Arn")+d.header.Get("X-Amz-Sns-Rawdelivery"), "m"+foreign)
	status, _ := w.control(http.MethodPost, "notify", `{"feed":"sns-https","topic":"a\nb","body":"x"}`)
	want(t, "a topic that is no header", status, http.StatusBadRequest)
}

func TestTopicsOfTheSellersOwnCanBePublishedTo(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	e := newEndpoint(t)
	_, answer := w.snsCall("CreateTopic", "Name", "mine", "Attributes.entry.1.key", "SignatureVersion", "Attributes.entry.1.value", "2")
	arn := answer["TopicArn"][0]
	want(t, "topic", arn, "arn:aws:sns:us-east-1:294406891311:mine")
	_, answer = w.snsCall("Subscribe", "TopicArn", arn, "Protocol", "sqs", "Endpoint", "arn:aws:sqs:us-east-1:294406891311:inbox",
		"Attributes.entry.1.key", "RawMessageDelivery", "Attributes.entry.1.value", "true")
	if !strings.HasPrefix(answer["SubscriptionArn"][0], arn+":") {
		t.Errorf("subscription of a queue: got %v, want it confirmed", answer)
	}
	_, answer = w.snsCall("Subscribe", "TopicArn", arn, "Protocol", "http", "Endpoint", e.url)
	want(t, "subscription of a URL", answer["SubscriptionArn"][0], "pending confirmation")
	_, again := w.snsCall("Subscribe", "TopicArn", arn, "Protocol", "http", "Endpoint", e.url, "ReturnSubscriptionArn", "true")
	w.confirm(e.next())
	status, answer := w.snsCall("Publish", "TopicArn", arn, "Message", "hello", "Subject", "S")
	want(t, "publish", status, http.StatusOK)
	d := e.next()
	want(t, "message", d.fields["Message"]+d.fields["Subject"]+d.fields["MessageId"], "helloS"+answer["MessageId"][0])
	want(t, "version", d.fields["SignatureVersion"], "2")
	verify(t, d)
	want(t, "in the queue", w.bodies(aws.String(w.url+"/294406891311/inbox")), []string{"hello"})
	response, err := http.Get(d.fields["UnsubscribeURL"])
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	ended := e.next()
	want(t, "told of the end", ended.fields["Type"], "UnsubscribeConfirmation")
	verify(t, ended)
	_, answer = w.snsCall("ListSubscriptionsByTopic", "TopicArn", arn)
	want(t, "left", answer["Endpoint"], []string{"arn:aws:sqs:us-east-1:294406891311:inbox"})
	w.confirm(ended)
	w.snsCall("Publish", "TopicArn", arn, "Message", "back")
	want(t, "undone", e.next().fields["Message"], "back")
	w.snsCall("Unsubscribe", "SubscriptionArn", again["SubscriptionArn"][0])
	_, answer = w.snsCall("ListSubscriptions")
	want(t, "after a signed end", len(answer["Endpoint"]), 1)
}

func TestASubscriptionCanBeGuarded(t *testing.T) {
	w := only(t)
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q}}`, e.url), nil)
	d := e.next()
	_, answer := w.snsCall("ConfirmSubscription", "TopicArn", d.fields["TopicArn"], "Token", d.fields["Token"], "AuthenticateOnUnsubscribe", "true")
	arn := answer["SubscriptionArn"][0]
	status, _, body := raw(t, newRequest(t, http.MethodGet, w.url+"/?Action=Unsubscribe&SubscriptionArn="+arn, ""))
	if status != http.StatusForbidden || !strings.Contains(body, "AuthorizationError") {
		t.Errorf("unsigned: got %d %s, want 403", status, body)
	}
	status, _ = w.snsCall("Unsubscribe", "SubscriptionArn", arn)
	want(t, "signed", status, http.StatusOK)
}

func TestSubscriptionsAreListedAHundredAtATime(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	w.topicFeed("")
	for i := range 105 {
		w.must(http.MethodPut, fmt.Sprintf("products/p-%d", i), `{}`, nil)
	}
	w.must(http.MethodPost, "faults", `{"operation":"ListSubscriptions","kind":"empty"}`, nil)
	var sizes []int
	seen := map[string]bool{}
	token := []string{}
	for range 10 {
		_, answer := w.snsCall("ListSubscriptions", token...)
		sizes = append(sizes, len(answer["SubscriptionArn"]))
		for _, arn := range answer["SubscriptionArn"] {
			seen[arn] = true
		}
		if answer["NextToken"] == nil {
			break
		}
		token = []string{"NextToken", answer["NextToken"][0]}
	}
	want(t, "pages", sizes, []int{0, 100, 100, 10})
	want(t, "subscriptions", len(seen), 210)
}

func TestWhatSNSDoesNotTakeIsRefused(t *testing.T) {
	w := only(t)
	w.snsCall("CreateTopic", "Name", "mine")
	const mine = "arn:aws:sns:us-east-1:294406891311:mine"
	for _, test := range []struct {
		name       string
		want       string
		action     string
		parameters []string
	}{
		{"a topic without a name", "400 [InvalidParameter]", "CreateTopic", nil},
		{"a bad name", "400 [InvalidParameter]", "CreateTopic", []string{"Name", "a.b"}},
		{"a bad version", "400 [InvalidParameter]", "CreateTopic", []string{"Name", "a", "Attributes.entry.1.key", "SignatureVersion", "Attributes.entry.1.value", "3"}},
		{"a foreign queue", "400 [InvalidParameter]", "Subscribe", []string{"TopicArn", mine, "Protocol", "sqs", "Endpoint", "arn:aws:sqs:us-east-1:1:q"}},
		{"another scheme", "400 [InvalidParameter]", "Subscribe", []string{"TopicArn", mine, "Protocol", "https", "Endpoint", "http://x/"}},
		{"mail", "400 [InvalidParameter]", "Subscribe", []string{"TopicArn", mine, "Protocol", "email", "Endpoint", "a@b"}},
		{"a filter", "400 [InvalidParameter]", "Subscribe", []string{"TopicArn", mine, "Protocol", "http", "Endpoint", "http://x/", "Attributes.entry.1.key", "FilterPolicy", "Attributes.entry.1.value", "{}"}},
		{"no topic", "404 [NotFound]", "Subscribe", []string{"TopicArn", mine + "x", "Protocol", "http", "Endpoint", "http://x/"}},
		{"AWS's topic", "403 [AuthorizationError]", "Publish", []string{"TopicArn", oldSubscriptions, "Message", "x"}},
		{"an empty message", "400 [InvalidParameter]", "Publish", []string{"TopicArn", mine}},
		{"a long message", "400 [InvalidParameter]", "Publish", []string{"TopicArn", mine, "Message", strings.Repeat("x", 256<<10+1)}},
		{"a subject of two lines", "400 [InvalidParameter]", "Publish", []string{"TopicArn", mine, "Message", "x", "Subject", "a\nb"}},
		{"attributes", "400 [InvalidParameter]", "Publish", []string{"TopicArn", mine, "Message", "x", "MessageAttributes.entry.1.Name", "a"}},
		{"a forged page", "400 [InvalidParameter]", "ListSubscriptions", []string{"NextToken", "x"}},
		{"no subscription's ARN", "400 [InvalidParameter]", "Unsubscribe", []string{"SubscriptionArn", mine}},
	} {
		status, answer := w.snsCall(test.action, test.parameters...)
		want(t, test.name, fmt.Sprint(status, answer["Code"]), test.want)
	}
	w.must(http.MethodPost, "faults", `{"operation":"CreateTopic","kind":"throttle"}`, nil)
	status, answer := w.snsCall("CreateTopic", "Name", "a")
	want(t, "throttled", fmt.Sprint(status, answer["Code"]), "429 [Throttled]")
	status, _, body := raw(t, newRequest(t, http.MethodGet, w.url+"/?Action=ListSubscriptions", ""))
	if status != http.StatusForbidden || !strings.Contains(body, "MissingAuthenticationToken") {
		t.Errorf("unsigned: got %d %s, want 403", status, body)
	}
}
