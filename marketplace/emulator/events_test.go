package emulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// event is an EventBridge event as a queue delivers it.
type event struct {
	DetailType string         `json:"detail-type"`
	Time       string         `json:"time"`
	Resources  []string       `json:"resources"`
	Detail     map[string]any `json:"detail"`
	text       string
}

// feed sends the events to a queue, and answers its URL.
func (w *world) feed(more string) *string {
	w.t.Helper()
	var document struct{ EventBridge struct{ Queue string } }
	w.must(http.MethodPut, "feeds", fmt.Sprintf(`{"eventbridge":{"queue":"weir"%s}}`, more), &document)
	return aws.String(document.EventBridge.Queue)
}

// events takes what is in the queue.
func (w *world) events(url *string) []event {
	w.t.Helper()
	var got []event
	for {
		messages := w.receive(url, 0)
		if len(messages) == 0 {
			return got
		}
		for _, m := range messages {
			e := event{text: aws.ToString(m.Body)}
			if err := json.Unmarshal([]byte(e.text), &e); err != nil {
				w.t.Fatalf("decode %s: %v", e.text, err)
			}
			got = append(got, e)
		}
	}
}

// kinds is each event's kind in short, with the intent or status of its agreement.
func kinds(events []event) []string {
	got := []string{}
	for _, e := range events {
		kind, _, _ := strings.Cut(e.DetailType, " - ")
		kind = strings.TrimPrefix(kind, "Purchase Agreement ")
		agreement := e.Detail["agreement"].(map[string]any)
		for _, member := range []string{"intent", "status"} {
			if text, ok := agreement[member].(string); ok && text != "ACTIVE" {
				kind += " " + text
			}
		}
		got = append(got, kind)
	}
	return got
}

func TestEachChangeEmitsItsEvents(t *testing.T) {
	for _, test := range []struct {
		verb, body string
		want       []string
	}{
		{"renew", `{"expires":"2028-01-01T00:00:00Z"}`, []string{"Created RENEW", "License Updated"}},
		{"replace", `{}`, []string{"Created REPLACE", "License Updated", "License Deprovisioned"}},
		{"cancel", ``, []string{"Ended CANCELLED", "License Deprovisioned"}},
		{"expire", ``, []string{"Ended EXPIRED", "License Deprovisioned"}},
		{"deprovision", ``, []string{"License Deprovisioned"}},
		{"suspend", ``, []string{"Advisory Issued"}},
		{"resume", ``, []string{"Advisory Resolved"}},
	} {
		t.Run(test.verb, func(t *testing.T) {
			w := standing(t)
			url := w.feed("")
			l := w.buyer("acme", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
			want(t, "create", kinds(w.events(url)), []string{"Created NEW", "License Updated"})
			w.must(http.MethodPost, l.on(test.verb), test.body, nil)
			want(t, test.verb, kinds(w.events(url)), test.want)
		})
	}
}

func TestChangedEntitlementsEmitAmendedAndUpdated(t *testing.T) {
	w := standing(t)
	url := w.feed("")
	l := w.buyer("acme", buyerAccount, "")
	w.events(url)
	w.must(http.MethodPut, l.on("entitlements"), `[{"dimension":"seats","value":5}]`, nil)
	want(t, "changed", kinds(w.events(url)), []string{"Amended AMEND", "License Updated"})
}

func TestQuietChangesEmitNothing(t *testing.T) {
	w := standing(t)
	url := w.feed("")
	l := w.buyer("acme", buyerAccount, `,"notify":false`)
	w.must(http.MethodPost, "licenses?notify=false", `{"product":"acme","account":"111122223333"}`, nil)
	w.must(http.MethodPut, l.on("entitlements")+"?notify=false", `[{"dimension":"seats","value":5}]`, nil)
	for _, verb := range []string{"suspend", "resume", "renew", "cancel"} {
		body := ""
		if verb == "renew" {
			body = `{"expires":"2028-01-01T00:00:00Z"}`
		}
		w.must(http.MethodPost, l.on(verb)+"?notify=false", body, nil)
	}
	want(t, "events", kinds(w.events(url)), []string{})
}

// sample is an event that AWS documents.
func sample(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// shape is every path of a document with the kind of its value.
func shape(prefix string, value any) []string {
	switch v := value.(type) {
	case map[string]any:
		paths := []string{}
		for name, member := range v {
			paths = append(paths, shape(prefix+"."+name, member)...)
		}
		slices.Sort(paths)
		return paths
	case []any:
		return []string{prefix + "[]"}
	case nil:
		return []string{prefix + " null"}
	}
	return []string{prefix + " " + reflect.TypeOf(value).Kind().String()}
}

func TestEventsHaveTheShapeThatAWSDocuments(t *testing.T) {
	w := standing(t)
	url := w.feed("")
	seen := map[string]string{}
	take := func(name string, index int) {
		events := w.events(url)
		if index >= len(events) {
			t.Fatalf("%s: %d events", name, len(events))
		}
		seen[name] = events[index].text
	}
	create := func(more string) license { return w.buyer("acme", buyerAccount, more) }
	l := create(`,"ends":"2027-01-01T00:00:00Z"`)
	take("created-new-proposer", 0)
	create("")
	take("created-payg-no-endtime", 0)
	w.must(http.MethodPut, l.on("entitlements"), `[]`, nil)
	take("license-updated-canonical", 1)
	w.must(http.MethodPut, l.on("entitlements"), `[]`, nil)
	take("amended-proposer", 0)
	w.must(http.MethodPost, l.on("renew"), `{"expires":"2028-01-01T00:00:00Z"}`, nil)
	take("created-renew-proposer", 0)
	w.must(http.MethodPost, l.on("suspend"), ``, nil)
	take("advisory-issued", 0)
	w.must(http.MethodPost, l.on("resume"), ``, nil)
	take("advisory-resolved", 0)
	w.must(http.MethodPost, l.on("replace"), ``, &l)
	take("created-replace-proposer", 0)
	w.must(http.MethodPost, l.on("cancel"), ``, nil)
	take("ended-cancelled-proposer", 0)
	l = create("")
	w.events(url)
	w.must(http.MethodPost, l.on("expire"), ``, nil)
	take("ended-expired-proposer", 0)
	l = create("")
	w.events(url)
	w.must(http.MethodPost, l.on("deprovision"), ``, nil)
	take("license-deprovisioned-canonical", 0)
	for name, text := range seen {
		var got map[string]any
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		documented := sample(t, name)
		want(t, name+" detail-type", got["detail-type"], documented["detail-type"])
		want(t, name, withoutOptional(shape("", got)), withoutOptional(shape("", documented)))
	}
}

// withoutOptional leaves out what depends on the agreement and not on the event: a reseller, and the renewal's lockout.
func withoutOptional(paths []string) []string {
	return slices.DeleteFunc(paths, func(path string) bool {
		return strings.Contains(path, "resaleAuthorization") || strings.Contains(path, "lockoutStartTime")
	})
}

func TestTheLicenseArnIsSpelledAsTheFeedSays(t *testing.T) {
	w := standing(t)
	url := w.feed(`,"arn":"bare"`)
	l := w.buyer("acme", buyerAccount, "")
	arn := w.events(url)[1].Detail["license"].(map[string]any)["arn"]
	want(t, "bare", arn, any("aws:license-manager:us-east-1:294406891311:"+strings.TrimPrefix(l.LicenseArn, "arn:aws:license-manager::294406891311:license:")))
	w.feed(`,"arn":"full"`)
	w.must(http.MethodPost, l.on("deprovision"), "", nil)
	arn = w.events(url)[0].Detail["license"].(map[string]any)["arn"]
	want(t, "full", arn, any(l.LicenseArn))
}

func TestEndsThatTheClockPassesAreEmittedInOrderWithTheirOwnTime(t *testing.T) {
	w := standing(t)
	url := w.feed("")
	w.buyer("acme", buyerAccount, `,"ends":"2026-11-15T15:00:00Z"`)
	w.buyer("acme", "222233334444", `,"ends":"2026-11-15T14:00:00Z"`)
	w.must(http.MethodPost, "licenses", `{"product":"acme","account":"333344445555","starts":"2026-11-15T14:30:00Z"}`, nil)
	w.events(url)
	w.advance("24h")
	var got []string
	for _, e := range w.events(url) {
		got = append(got, e.Time+" "+kinds([]event{e})[0]+" "+e.Detail["acceptor"].(map[string]any)["accountId"].(string))
	}
	want(t, "events", got, []string{
		"2026-11-15T14:00:00Z Ended EXPIRED 222233334444", "2026-11-15T14:00:00Z License Deprovisioned 222233334444",
		"2026-11-15T14:30:00Z License Updated 333344445555",
		"2026-11-15T15:00:00Z Ended EXPIRED 111122223333", "2026-11-15T15:00:00Z License Deprovisioned 111122223333",
	})
}

func TestAFeedDropsDuplicatesAndShufflesRepeatably(t *testing.T) {
	run := func(feeds string) []string {
		w := standing(t)
		w.must(http.MethodPut, "feeds", feeds, nil)
		for i := range 20 {
			w.buyer("acme", fmt.Sprintf("6666%08d", i), "")
		}
		url := aws.String(w.url + "/294406891311/weir")
		var got []string
		for w.attribute(url, "ApproximateNumberOfMessagesDelayed") != "0" {
			for _, m := range w.receive(url, 1) {
				got = append(got, aws.ToString(m.Body))
			}
		}
		for _, e := range w.events(url) {
			got = append(got, e.text)
		}
		for i, text := range got {
			var e event
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Fatal(err)
			}
			got[i] = e.Detail["acceptor"].(map[string]any)["accountId"].(string) + " " + e.DetailType[:7]
		}
		return got
	}
	const bridge = `"eventbridge":{"queue":"weir"},`
	want(t, "all dropped", len(run(`{`+bridge+`"drop":1}`)), 0)
	want(t, "all twice", len(run(`{`+bridge+`"duplicate":1}`)), 80)
	some := run(`{` + bridge + `"drop":0.5,"seed":7}`)
	if len(some) < 5 || len(some) > 35 {
		t.Errorf("half dropped: %d of 40 came", len(some))
	}
	want(t, "the same half", run(`{`+bridge+`"drop":0.5,"seed":7}`), some)
	plain, shuffled := run(`{`+bridge+`"seed":7}`), run(`{`+bridge+`"reorder":true,"seed":7}`)
	if slices.Equal(plain, shuffled) {
		t.Error("reorder changed nothing")
	}
	slices.Sort(plain)
	slices.Sort(shuffled)
	want(t, "shuffled, but complete", shuffled, plain)
}

func TestADelayedFeedHoldsEachMessage(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPut, "feeds", `{"eventbridge":{"queue":"weir"},"delay":"1s"}`, nil)
	w.buyer("acme", buyerAccount, "")
	url := aws.String(w.url + "/294406891311/weir")
	want(t, "on their way", w.attribute(url, "ApproximateNumberOfMessagesDelayed"), "2")
	if len(w.receive(url, 10)) == 0 {
		t.Error("nothing arrived")
	}
}

func TestNotifyDeliversAMessageAsItIs(t *testing.T) {
	w := standing(t)
	status, body := w.control(http.MethodPost, "notify", `{"feed":"eventbridge","body":{"a": 1}}`)
	if status != http.StatusConflict || !strings.Contains(string(body), "PUT /_control/feeds") {
		t.Errorf("without a feed: got %d %s, want 409 with the cure", status, body)
	}
	url := w.feed("")
	w.must(http.MethodPost, "notify", `{"feed":"eventbridge","body":{"b": 1, "a": [2]}}`, nil)
	w.must(http.MethodPost, "notify", `{"feed":"eventbridge","body":"not JSON {"}`, nil)
	var got []string
	for _, m := range w.receive(url, 0) {
		got = append(got, aws.ToString(m.Body))
	}
	want(t, "messages", got, []string{`{"b":1,"a":[2]}`, "not JSON {"})
}
