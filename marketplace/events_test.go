package marketplace

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// samples are AWS's events as its documentation has them, and what was inferred from it.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal("no samples: ", err)
	}
	bodies := map[string][]byte{}
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bodies[strings.TrimSuffix(filepath.Base(path), ".json")] = body
	}
	return bodies
}

func sampleParser() parser {
	return newParser(map[string]policy.Product{"sample": {Code: "prodnewconcurrent1", ID: "prod-aaaaexample01"}, "half": {ID: "prod-half"}})
}

var sampleTime = time.Date(2026, 11, 17, 10, 20, 0, 0, time.UTC)

const sampleLicense = "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000001"

func TestOnlyLicenseEventsAreHints(t *testing.T) {
	hints := map[string]cache.Hint{}
	for name, body := range samples(t) {
		got, err := sampleParser().parse(body, time.Time{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.feed != feedEventBridge || got.kind != kindUnchanged {
			t.Errorf("%s: got %+v", name, got)
		}
		if got.hint != nil {
			hints[name] = *got.hint
		}
	}
	updated := cache.Hint{Product: "sample", License: sampleLicense, Account: "111122223333", At: sampleTime}
	ended := updated
	ended.Ended = true
	want := map[string]cache.Hint{
		"license-updated-canonical": updated, "license-updated-docform": updated, "license-updated-cppo": updated,
		"license-deprovisioned-canonical": ended, "license-deprovisioned-docform": ended,
	}
	if diff := cmp.Diff(want, hints); diff != "" {
		t.Error(diff)
	}
}

// change makes an odd event of a sample.
func change(t *testing.T, sample, old, replacement string) []byte {
	t.Helper()
	body := string(samples(t)[sample])
	if !strings.Contains(body, old) {
		t.Fatalf("%s has no %s", sample, old)
	}
	return []byte(strings.Replace(body, old, replacement, 1))
}

func TestOddEvents(t *testing.T) {
	canonical, bare := "license-updated-canonical", "license-updated-docform"
	hint := &cache.Hint{Product: "sample", License: sampleLicense, Account: "111122223333", At: sampleTime}
	with := func(edit func(*cache.Hint)) *cache.Hint {
		odd := *hint
		edit(&odd)
		return &odd
	}
	sent := time.Date(2026, 11, 17, 10, 20, 5, 0, time.UTC)
	tests := []struct {
		name string
		body []byte
		kind kind
		hint *cache.Hint
	}{
		{"told to the proposer", change(t, canonical, "- Manufacturer", "- Proposer"), kindUnchanged, hint},
		{"unknown detail type", change(t, canonical, "License Updated", "License Teleported"), kindUnknown, nil},
		{"unknown source", change(t, canonical, "aws.agreement-marketplace", "aws.marketplacecatalog"), kindUnknown, nil},
		{"unknown product", change(t, canonical, `"code": "prodnewconcurrent1",`+"\n   \"id\": \"prod-aaaaexample01\"", `"code": "other"`), kindUnknown, nil},
		{"product without code", change(t, canonical, `"code": "prodnewconcurrent1",`, ""), kindUnchanged, hint},
		{"license in a bare id", change(t, bare, "aws:license-manager:us-east-1:999911112222:", ""), kindUnchanged, hint},
		{"license under id", change(t, bare, `"arn": "aws:license-manager:us-east-1:999911112222:l-`, `"id": "l-`), kindUnchanged, hint},
		{
			"license of another issuer", change(t, canonical, "294406891311", "123456789012"), kindUnchanged,
			with(func(h *cache.Hint) {
				h.License = policy.Key(strings.Replace(sampleLicense, "294406891311", "123456789012", 1))
			}),
		},
		{"no license", change(t, canonical, `"arn": "`+sampleLicense+`"`, ""), kindUnchanged, with(func(h *cache.Hint) { h.License = "" })},
		{"license that is none", change(t, canonical, sampleLicense, "arn:aws:s3:::bucket"), kindUnchanged, with(func(h *cache.Hint) { h.License = "" })},
		{"no buyer", change(t, canonical, `"accountId": "111122223333"`, ""), kindUnchanged, with(func(h *cache.Hint) { h.Account = "" })},
		{"buyer that is none", change(t, canonical, "111122223333", "1111"), kindUnchanged, with(func(h *cache.Hint) { h.Account = "" })},
		{
			"milliseconds", change(t, canonical, "10:20:00Z", "10:20:00.125Z"), kindUnchanged,
			with(func(h *cache.Hint) { h.At = sampleTime.Add(125 * time.Millisecond) }),
		},
		{"no time", change(t, canonical, `"time": "2026-11-17T10:20:00Z",`, ""), kindUnchanged, with(func(h *cache.Hint) { h.At = sent })},
		{"more members", change(t, canonical, `"detail": {`, `"replay-name": "x", "detail": {"more": [1, {"deep": null}],`), kindUnchanged, hint},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sampleParser().parse(tt.body, sent)
			if err != nil {
				t.Fatal(err)
			}
			if got.kind != tt.kind {
				t.Errorf("kind %s, want %s", got.kind, tt.kind)
			}
			if diff := cmp.Diff(tt.hint, got.hint); diff != "" {
				t.Error(diff)
			}
			if got.feed != feedEventBridge {
				t.Errorf("feed %s", got.feed)
			}
		})
	}
}

func TestPoisonIsToldApart(t *testing.T) {
	nobody := change(t, "license-updated-canonical", sampleLicense, "")
	nobody = []byte(strings.Replace(string(nobody), "111122223333", "", 1))
	for name, body := range map[string][]byte{
		"nothing": {}, "text": []byte("hello"), "null": []byte("null"), "list": []byte("[]"), "empty": []byte("{}"),
		"half":               change(t, "license-updated-canonical", `"accountId": "111122223333"`, `"accountId": "1`)[:300],
		"number for a text":  []byte(`{"source": 5, "detail-type": "License Updated - Manufacturer"}`),
		"detail in a text":   change(t, "license-updated-canonical", `"product": {`, `"product": "x", "p": {`),
		"no detail":          []byte(`{"source": "aws.agreement-marketplace", "detail-type": "License Updated - Manufacturer"}`),
		"about nobody":       nobody,
		"SNS without a body": []byte(`{"Type": "Notification"}`),
	} {
		got, err := sampleParser().parse(body, time.Time{})
		if err == nil || got.kind != kindPoison || got.hint != nil {
			t.Errorf("%s: got %+v, %v; want poison", name, got, err)
		}
	}
}

func TestAdvisoriesAreReadForPeople(t *testing.T) {
	for sample, want := range map[string]*advisory{
		"advisory-issued":           {product: "sample", account: "111122223333"},
		"advisory-resolved":         {product: "sample", account: "111122223333", resolved: true},
		"cancellation-approved":     nil,
		"license-updated-canonical": nil,
	} {
		got, err := sampleParser().parse(samples(t)[sample], time.Time{})
		if err != nil {
			t.Errorf("%s: %v", sample, err)
		}
		if diff := cmp.Diff(want, got.advisory, cmp.AllowUnexported(advisory{})); diff != "" {
			t.Errorf("%s: %s", sample, diff)
		}
	}
	unreadable := change(t, "advisory-issued", `"detail": {`, `"detail": 1, "was": {`)
	if got, err := sampleParser().parse(unreadable, time.Time{}); err != nil || got.advisory == nil || got.kind != kindUnchanged {
		t.Errorf("unreadable detail: got %+v, %v", got, err)
	}
}

func TestAdvisoryIsLoggedAndCounted(t *testing.T) {
	w := newWorld(t)
	run(t, w.Queue(w.feed("full"), testProducts(), t.TempDir(), func(context.Context, cache.Hint) (bool, error) {
		t.Error("an advisory caused a read")
		return false, nil
	}).Run)
	body := strings.Replace(string(samples(t)["advisory-issued"]), "prod-aaaaexample01", acmeID, 1)
	quoted, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	w.control("POST", "notify", `{"feed": "eventbridge", "body": `+string(quoted)+`}`, nil)
	eventually(t, "counted", func() bool {
		return w.counter("weir_updates_total", map[string]string{"feed": "eventbridge", "kind": "unchanged"}) == 1
	})
	if want := `msg="AWS advises about a buyer"`; !strings.Contains(w.log.String(), want) ||
		!strings.Contains(w.log.String(), "resolved=false product=acme account=111122223333") {
		t.Errorf("log has no advisory:\n%s", w.log.String())
	}
}

func TestProductWithoutCodeIsNotEveryProduct(t *testing.T) {
	body := change(t, "license-updated-canonical", `"code": "prodnewconcurrent1",`+"\n   \"id\": \"prod-aaaaexample01\"", "")
	got, err := sampleParser().parse(body, time.Time{})
	if err != nil || got.kind != kindUnknown {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzEventParser(f *testing.F) {
	for _, body := range samples(f) {
		f.Add(body)
	}
	for _, body := range topicSamples() {
		f.Add([]byte(body))
	}
	key := regexp.MustCompile(`^arn:aws[a-z-]*:license-manager:[a-z0-9-]*:[0-9]*:license:l-[A-Za-z0-9]{1,128}$`)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := sampleParser().parse(body, sampleTime)
		if (err != nil) != (got.kind == kindPoison) {
			t.Fatalf("kind %s with error %v", got.kind, err)
		}
		if got.hint == nil {
			return
		}
		if got.kind != kindUnchanged || got.hint.Product == "" || got.hint.At.IsZero() {
			t.Errorf("got %+v with hint %+v", got, *got.hint)
		}
		if got.feed == feedEventBridge && got.hint.License == "" && got.hint.Account == "" {
			t.Error("a hint about nobody")
		}
		if got.feed == feedSNSQueue && (got.hint.Ended || got.hint.License != "" || got.hint.Account != "") {
			t.Errorf("a topic told %+v", *got.hint)
		}
		if got.hint.License != "" && !key.MatchString(string(got.hint.License)) {
			t.Errorf("license %q", got.hint.License)
		}
		if got.hint.Account != "" && len(got.hint.Account) != 12 {
			t.Errorf("account %q", got.hint.Account)
		}
	})
}
