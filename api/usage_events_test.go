package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// charges is a ChargeSource by subject; anybody else is charged with the license k.
type charges map[string]policy.ChargeResult

var held = &policy.License{Key: "k"}

func (c charges) Charge(_ context.Context, subject, feature string) policy.Charge {
	if result, ok := c[subject]; ok {
		return policy.Charge{Result: result}
	}
	return policy.Charge{Result: policy.ChargeFound, License: held, Terms: policy.Terms{Dimension: feature}}
}

// taker is a UsageTaker that refuses what came in as refused, and gives the error that it holds.
type taker struct {
	got []metering.Event
	err error
}

func (k *taker) Report(_ context.Context, events []metering.Event) (metering.Reported, error) {
	k.got = events
	var refused []metering.RefusedEvent
	for i := range events {
		if events[i].Refused != "" {
			refused = append(refused, metering.RefusedEvent{Index: i, Reason: events[i].Refused})
		}
	}
	if len(refused) > 0 {
		return metering.Reported{}, fmt.Errorf("count: %w", &metering.RefusedError{Events: refused})
	}
	return metering.Reported{Accepted: len(events), Duplicates: 1}, k.err
}

// reporting serves an application that reports usage.
func reporting(t *testing.T, k *taker, c charges) func(kind, body string) (*http.Response, string) {
	t.Helper()
	client, base := application(t, HTTPSources{Usage: k, Charges: c})
	return func(kind, body string) (*http.Response, string) {
		t.Helper()
		return call(t, client, "POST", base+"/v1/usage", body, "Content-Type", kind)
	}
}

// usageEvent is one of subject globex with the id, whose members can be replaced: by nil, left out.
func usageEvent(id string, change map[string]any) string {
	e := map[string]any{
		"specversion": "1.0", "type": "usage", "source": "/app", "id": id, "subject": "globex",
		"data": map[string]any{"feature": "calls", "quantity": 150},
	}
	for name, value := range change {
		if e[name] = value; value == nil {
			delete(e, name)
		}
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // of a test that can't work
	}
	return string(b)
}

func TestUsageEventsAreCountedForTheLicenseOfTheirSubject(t *testing.T) {
	k := &taker{}
	send := reporting(t, k, nil)
	at := time.Date(2026, 3, 10, 11, 59, 0, 0, time.UTC)
	want := func(id string, at time.Time) metering.Event {
		return metering.Event{
			ID: metering.NewEventID("/app", id), License: held, Feature: "calls", Terms: policy.Terms{Dimension: "calls"}, Quantity: 150, Time: at,
		}
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(`{"feature":"calls","quantity":150}`))
	for name, c := range map[string]struct {
		kind, body, answer string
		want               []metering.Event
	}{
		"one": {mediaEvent, usageEvent("1", nil), `{"accepted":1,"duplicates":1}`, []metering.Event{want("1", time.Time{})}},
		"one, with a time": {
			mediaEvent + "; charset=UTF-8", usageEvent("1", map[string]any{"time": "2026-03-10T12:59:00+01:00", "comexampleextension": 5}),
			`{"accepted":1,"duplicates":1}`,
			[]metering.Event{want("1", at)},
		},
		"data as bytes": {
			mediaEvent, usageEvent("1", map[string]any{"data": nil, "data_base64": encoded}), `{"accepted":1,"duplicates":1}`,
			[]metering.Event{want("1", time.Time{})},
		},
		"a batch": {
			mediaBatch, "\n[" + usageEvent("1", nil) + "," + usageEvent("é", nil) + "]\n", `{"accepted":2,"duplicates":1}`,
			[]metering.Event{want("1", time.Time{}), want("é", time.Time{})},
		},
		"an empty batch": {mediaBatch, "[]", `{"accepted":0,"duplicates":1}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, body := send(c.kind, c.body)
			if out.StatusCode != http.StatusAccepted || strings.TrimSpace(body) != c.answer {
				t.Errorf("answered %d %s", out.StatusCode, body)
			}
			got := k.got
			if diff := cmp.Diff(c.want, got, cmp.Transformer("UTC", time.Time.UTC)); diff != "" && len(c.want)+len(got) > 0 {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryBadEventOfABatchIsListed(t *testing.T) {
	send := reporting(t, &taker{}, charges{
		"stranger": policy.ChargeSubjectUnknown, "small": policy.ChargeFeatureMissing, "odd": policy.ChargeFeatureUnknown,
	})
	data := func(feature, quantity any) map[string]any {
		return map[string]any{"data": map[string]any{"feature": feature, "quantity": quantity}}
	}
	type bad struct {
		change map[string]any
		want   string
	}
	all := []bad{
		{nil, ""},
		{map[string]any{"subject": "stranger"}, "subject_unknown"},
		{map[string]any{"subject": "small"}, "feature_missing"},
		{map[string]any{"subject": "odd"}, "feature_unknown"},
	}
	for _, quantity := range []any{0, -1, 1.5, "150", true, nil, 1_000_000_000_000_000, json.RawMessage("1e3"), []int{1}} {
		all = append(all, bad{data("calls", quantity), "quantity_invalid"})
	}
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "data"} {
		all = append(all, bad{map[string]any{name: nil}, "invalid"}, bad{map[string]any{name: 5}, "invalid"}, bad{map[string]any{name: ""}, "invalid"})
	}
	all = append(all,
		bad{map[string]any{"specversion": "0.3"}, "invalid"},
		bad{map[string]any{"id": "a\x00b"}, "invalid"},
		bad{map[string]any{"source": json.RawMessage(`"\ud800"`)}, "invalid"},
		bad{map[string]any{"time": "yesterday"}, "invalid"},
		bad{map[string]any{"time": 5}, "invalid"},
		bad{data("", 5), "invalid"}, bad{data(5, 5), "invalid"},
		bad{map[string]any{"data": nil, "data_base64": "%"}, "invalid"},
		bad{map[string]any{"data": nil, "data_base64": "e30K"}, "invalid"},
		bad{map[string]any{"data": nil, "data_base64": "ew"}, "invalid"},
	)
	var events []string
	var want []string
	for i, b := range all {
		events = append(events, usageEvent(fmt.Sprint(i), b.change))
		if b.want != "" {
			want = append(want, fmt.Sprint(i, " ", b.want))
		}
	}
	for _, other := range []string{"5", "null", "[]", `"text"`} {
		want = append(want, fmt.Sprint(len(events), " invalid"))
		events = append(events, other)
	}
	out, body := send(mediaBatch, "["+strings.Join(events, ",")+"]")
	wantProblem(t, out, body, 422, "invalid")
	var p UsageProblem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range p.Errors {
		got = append(got, fmt.Sprint(e.Index, " ", e.Reason))
		if !strings.HasSuffix(e.Detail, ".") {
			t.Errorf("event %d: detail %q is no sentence", e.Index, e.Detail)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

func TestUsageThatCanNotBeTakenSaysWhatToDo(t *testing.T) {
	k := &taker{}
	send := reporting(t, k, charges{"silent": policy.ChargeUnanswered})
	good := usageEvent("1", nil)
	for _, c := range []struct {
		name, kind, body string
		err              error
		status           int
		reason, retry    string
	}{
		{"another media type", "application/json", good, nil, 415, "media_type", ""},
		{"none", "", good, nil, 415, "media_type", ""},
		{"another charset", mediaEvent + "; charset=latin1", good, nil, 415, "media_type", ""},
		{"no JSON", mediaEvent, "{", nil, 400, "invalid", ""},
		{"nothing", mediaEvent, "", nil, 400, "invalid", ""},
		{"two events", mediaEvent, good + good, nil, 400, "invalid", ""},
		{"a batch as one", mediaEvent, "[" + good + "]", nil, 400, "invalid", ""},
		{"one as a batch", mediaBatch, good, nil, 400, "invalid", ""},
		{"null", mediaBatch, "null", nil, 400, "invalid", ""},
		{"a batch that is cut off", mediaBatch, "[" + good, nil, 400, "invalid", ""},
		{"no UTF-8", mediaEvent, strings.Replace(good, "/app", "\xff", 1), nil, 400, "invalid", ""},
		{"large", mediaEvent, good + strings.Repeat(" ", maxBody), nil, 413, "too_large", ""},
		{"many", mediaBatch, "[" + strings.Repeat("{},", maxEvents) + "{}]", nil, 413, "too_large", ""},
		{"many of another kind", mediaBatch, "[" + strings.Repeat("5,", maxEvents) + "5]", nil, 413, "too_large", ""},
		{"AWS silent", mediaEvent, usageEvent("1", map[string]any{"subject": "silent"}), nil, 503, "entitlements_stale", "1"},
		{"disk full", mediaEvent, good, errors.New("no space left on device"), 503, "ledger", "1"},
		{"memory full", mediaEvent, good, &metering.FullError{Retry: 90*time.Second + 1}, 429, "memory_full", "91"},
		{"memory full for a moment", mediaEvent, good, &metering.FullError{}, 429, "memory_full", "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k.err = c.err
			out, body := send(c.kind, c.body)
			wantProblem(t, out, body, c.status, c.reason)
			if got := out.Header.Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After: %q, want %q", got, c.retry)
			}
			if strings.Contains(body, "space") {
				t.Errorf("it tells of the disk: %s", body)
			}
		})
	}
	k.err = &metering.RefusedError{Events: []metering.RefusedEvent{{Index: 0, Reason: metering.EventLicenseEnded}}}
	if out, body := send(mediaEvent, good); out.StatusCode != 422 || !strings.Contains(body, `"errors":[{"index":0,"reason":"license_ended"`) {
		t.Errorf("answered %d %s", out.StatusCode, body)
	}
}

// BenchmarkParseEvents parses batches of 500 events.
func BenchmarkParseEvents(b *testing.B) {
	const size = 500
	var events []string
	for i := range size {
		events = append(events, usageEvent(fmt.Sprint("01JD8Z6J9Q3T", i), map[string]any{"time": "2026-03-10T12:59:00Z", "subject": fmt.Sprint("tenant-", i)}))
	}
	body := []byte("[" + strings.Join(events, ",") + "]")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		given, err := parseEvents(body, true)
		if err != nil || len(given) != size {
			b.Fatal(err)
		}
		for i := range given {
			if e := given[i].event(i); e.Refused != "" {
				b.Fatal(given[i].wrong)
			}
		}
	}
	b.ReportMetric(size*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// crowded is a UsageTaker that notes how many batches it has at once, until it is let go.
type crowded struct {
	mu        sync.Mutex
	now, most int
	full      chan struct{} // closed when maxBatches are there
	goOn      chan struct{}
}

func (k *crowded) Report(_ context.Context, events []metering.Event) (metering.Reported, error) {
	k.mu.Lock()
	k.now++
	if k.most = max(k.most, k.now); k.now == maxBatches {
		close(k.full)
	}
	k.mu.Unlock()
	<-k.goOn
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = -len(events) * maxBatches // it is never full again
	return metering.Reported{Accepted: len(events)}, nil
}

func TestNoMoreBatchesThanMemoryIsMeantForAreTakenApartAtOnce(t *testing.T) {
	k := &crowded{full: make(chan struct{}), goOn: make(chan struct{})}
	client, base := application(t, HTTPSources{Usage: k, Charges: charges{}})
	var all sync.WaitGroup
	for i := range maxBatches + 20 {
		all.Go(func() {
			out, body := call(t, client, "POST", base+"/v1/usage", usageEvent(fmt.Sprint(i), nil), "Content-Type", mediaEvent)
			if out.StatusCode != http.StatusAccepted {
				t.Errorf("answered %d %s", out.StatusCode, body)
			}
		})
	}
	<-k.full
	close(k.goOn)
	all.Wait()
	if k.most != maxBatches {
		t.Errorf("%d batches at once, want %d", k.most, maxBatches)
	}
}
