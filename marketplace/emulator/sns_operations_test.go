package emulator_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/weirhq/weir/marketplace/emulator"
)

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

func TestGosSDKConfirmsASubscription(t *testing.T) {
	w := only(t)
	e := newEndpoint(t)
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"sns":{"https":%q}}`, e.url), nil)
	d := e.next()
	out, err := w.topics.ConfirmSubscription(t.Context(), &sns.ConfirmSubscriptionInput{
		TopicArn: aws.String(d.fields["TopicArn"]), Token: aws.String(d.fields["Token"]),
	})
	if err != nil || !strings.HasPrefix(aws.ToString(out.SubscriptionArn), d.fields["TopicArn"]+":") {
		t.Fatalf("got %+v, %v; want the subscription", out, err)
	}
	_, err = w.topics.ConfirmSubscription(t.Context(), &sns.ConfirmSubscriptionInput{
		TopicArn: aws.String(d.fields["TopicArn"]), Token: aws.String("forged"),
	})
	want(t, "forged token", code(err), "InvalidParameter")
	_, err = w.topics.ConfirmSubscription(t.Context(), &sns.ConfirmSubscriptionInput{
		TopicArn: aws.String(d.fields["TopicArn"] + "x"), Token: aws.String(d.fields["Token"]),
	})
	want(t, "unknown topic", code(err), "NotFound")
}
