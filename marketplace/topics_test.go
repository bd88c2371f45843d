package marketplace

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	subscriptionTopic = "arn:aws:sns:us-east-1:287250355862:aws-mp-subscription-notification-"
	entitlementTopic  = "arn:aws:sns:us-east-1:287250355862:aws-mp-entitlement-notification-"
)

// topicSamples are the bodies that AWS's documentation has, and those that came of them.
func topicSamples() map[string]string {
	const rest = `","customer-identifier":"X01EXAMPLEX","product-code":"prodnewconcurrent1"}`
	return map[string]string{
		"entitlement-updated": `{"action":"entitlement-updated` + rest,
		"subscribe-success": `{"action":"subscribe-success","customer-identifier":"X01EXAMPLEX","product-code":"prodnewconcurrent1",
			"offer-identifier":"offer-abcexample123","isFreeTrialTermPresent":"true"}`,
		"subscribe-fail":      `{"action":"subscribe-fail` + rest,
		"unsubscribe-pending": `{"action":"unsubscribe-pending` + rest,
		"unsubscribe-success": `{"action":"unsubscribe-success` + rest,
		"documentation's blanks": ` {"action": "entitlement-updated", "customer-identifier": " X01EXAMPLEX",
			"product-code": " prodnewconcurrent1 "} `,
	}
}

// wrap puts a body into an envelope, as a text.
func wrap(topic, body string) []byte {
	return fmt.Appendf(nil, `{"Type":"Notification","MessageId":"00000000-0000-0000-0000-000000000001","TopicArn":%q,"Message":%q,
		"Timestamp":"2026-11-17T10:20:00.250Z","SignatureVersion":"1"}`, topic, body)
}

func TestEveryTopicMessageHasTheCustomerRead(t *testing.T) {
	sent := time.Date(2026, 11, 17, 10, 21, 0, 0, time.UTC)
	for name, body := range topicSamples() {
		hint := cache.Hint{Product: "sample", Customer: "X01EXAMPLEX", At: sent}
		told := hint
		told.At = time.Date(2026, 11, 17, 10, 20, 0, 250e6, time.UTC)
		if name == "subscribe-success" { // which says "true"
			hint.Trial, told.Trial = &policy.Trial{Free: true, Told: hint.At}, &policy.Trial{Free: true, Told: told.At}
		}
		for how, message := range map[string]struct {
			body []byte
			hint cache.Hint
		}{
			"raw":               {[]byte(body), hint},
			"wrapped":           {wrap(subscriptionTopic+"prodnewconcurrent1", body), told},
			"of another topic":  {wrap("arn:aws:sns:us-east-1:999911112222:forwarded", body), told},
			"wrapped as object": {fmt.Appendf(nil, `{"Type":"Notification","Message":%s}`, body), hint},
		} {
			got, err := sampleParser().parse(message.body, sent)
			if err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
				continue
			}
			want := update{feed: feedSNSQueue, kind: kindUnchanged, hint: &message.hint}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(update{})); diff != "" {
				t.Errorf("%s, %s: %s", name, how, diff)
			}
		}
	}
}

func TestOddTopicMessages(t *testing.T) {
	updated := topicSamples()["entitlement-updated"]
	without := func(old, replacement string) string {
		if !strings.Contains(updated, old) {
			t.Fatalf("no %s", old)
		}
		return strings.Replace(updated, old, replacement, 1)
	}
	whole := &cache.Hint{Product: "sample", At: sampleTime}
	tests := []struct {
		name string
		body []byte
		kind kind
		hint *cache.Hint
	}{
		{"unknown action", []byte(without("entitlement-updated", "entitlement-teleported")), kindUnknown, nil},
		{"unknown product", []byte(without("prodnewconcurrent1", "other")), kindUnknown, nil},
		{"no product", []byte(without(`,"product-code":"prodnewconcurrent1"`, "")), kindUnknown, nil},
		{"no customer", []byte(without("X01EXAMPLEX", " ")), kindUnchanged, whole},
		{"topic of another product", wrap(entitlementTopic+"other", updated), kindUnknown, nil},
		{"topic of a product whose code begins alike", wrap(entitlementTopic+"prodnewconcurrent12", updated), kindUnknown, nil},
		{"wrapped, unknown action", wrap(subscriptionTopic+"prodnewconcurrent1", `{"action":"x"}`), kindUnknown, nil},
		{"wrapped, no action", wrap(subscriptionTopic+"prodnewconcurrent1", `{}`), kindUnknown, nil},
		{"confirmation", []byte(`{"Type":"SubscriptionConfirmation","Message":"You have chosen","Token":"1"}`), kindUnknown, nil},
		{"end of a subscription", []byte(`{"Type":"UnsubscribeConfirmation","Message":"You have chosen","Token":"1"}`), kindUnknown, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sampleParser().parse(tt.body, sampleTime)
			if err != nil {
				t.Fatal(err)
			}
			want := update{feed: feedSNSQueue, kind: tt.kind, hint: tt.hint}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(update{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCustomersOfSubscriptionListingsAreSwept(t *testing.T) {
	products := map[string]policy.Product{"payg": {Code: "prodnewconcurrent1", Model: policy.ModelSubscription}}
	got, err := newParser(products).parse([]byte(topicSamples()["subscribe-success"]), sampleTime)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&cache.Hint{Product: "payg", At: sampleTime}, got.hint); diff != "" {
		t.Error(diff)
	}
}

func TestPoisonOfTopics(t *testing.T) {
	for name, body := range map[string][]byte{
		"text":                  wrap(subscriptionTopic+"prodnewconcurrent1", "hello"),
		"nothing":               wrap(subscriptionTopic+"prodnewconcurrent1", ""),
		"list":                  wrap(subscriptionTopic+"prodnewconcurrent1", "[]"),
		"trailing comma":        wrap(subscriptionTopic+"prodnewconcurrent1", `{"action":"subscribe-success",}`),
		"customer that is none": []byte(strings.Replace(topicSamples()["subscribe-fail"], "X01EXAMPLEX", "a b", 1)),
		"endless customer":      []byte(strings.Replace(topicSamples()["subscribe-fail"], "X01EXAMPLEX", strings.Repeat("x", 256), 1)),
		"number for a text":     []byte(`{"action":"subscribe-success","customer-identifier":5,"product-code":"prodnewconcurrent1"}`),
	} {
		got, err := sampleParser().parse(body, sampleTime)
		if err == nil || got.kind != kindPoison || got.hint != nil || got.feed != feedSNSQueue {
			t.Errorf("%s: got %+v, %v; want poison", name, got, err)
		}
	}
}

func TestTopicMessagesReachTheHandlerThroughAQueue(t *testing.T) {
	w := newWorld(t)
	url := w.feed("full")
	hints := make(chan cache.Hint, 2)
	run(t, w.Queue(url, testProducts(), t.TempDir(), func(_ context.Context, h cache.Hint) (bool, error) {
		hints <- h
		return true, nil
	}).Run)
	body := `{"action":"entitlement-updated","customer-identifier":"CustIdLegacy1","product-code":"` + oldCode + `"}`
	for _, message := range []string{body, string(wrap(entitlementTopic+oldCode, body))} {
		quoted, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		w.control("POST", "notify", `{"feed": "eventbridge", "body": `+string(quoted)+`}`, nil)
		if got := within(t, hints); got.Product != "old" || got.Customer != "CustIdLegacy1" || got.Ended || got.At.IsZero() {
			t.Errorf("got %+v", got)
		}
	}
	eventually(t, "counted both", func() bool {
		return w.counter("weir_updates_total", map[string]string{"feed": "sns-sqs", "kind": "changed"}) == 2
	})
}
