package emulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/weirhq/weir/marketplace/emulator"
)

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
	w.buyer("acme", buyerAccount, `,"trial":"P14D"`)
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
		`{"action":"subscribe-success","product-code":"acme","offer-identifier":"offer-x","isFreeTrialTermPresent":"true"}`,
	})
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
