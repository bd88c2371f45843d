package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

func read(t *testing.T, body string) (*policy.Request, error) {
	t.Helper()
	q, err := ReadQuestion(strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return q.Request()
}

func TestQuestionIsTheRequestThatAProxyWouldSee(t *testing.T) {
	tests := []struct {
		body               string
		method, host, path string
		subject            policy.Subject
	}{
		{`{"url":"/a?x=1"}`, "GET", "", "/a?x=1", policy.Subject{}},
		{`{"method":"POST","url":"https://API.acme.example:8443/a/%2e%2e//b%zz?x#f"}`, "POST", "API.acme.example:8443", "/a/%2e%2e//b%zz?x#f", policy.Subject{}},
		{`{"url":"http://h"}`, "GET", "h", "/", policy.Subject{}},
		{`{"url":"http://h?x=1"}`, "GET", "h", "/?x=1", policy.Subject{}},
		{`{"url":"/a","headers":{"Host":"h"}}`, "GET", "h", "/a", policy.Subject{}},
		{`{"url":"http://h/a","headers":{"host":"other"}}`, "GET", "h", "/a", policy.Subject{}},
		{`{"url":"/","subject":{"tenant":"t"}}`, "GET", "", "/", policy.Subject{Kind: policy.SubjectTenant, ID: "t"}},
		{`{"url":"/","subject":{"account":"a"}}`, "GET", "", "/", policy.Subject{Kind: policy.SubjectAccount, ID: "a"}},
		{`{"url":"/","subject":{"license":"l"}}`, "GET", "", "/", policy.Subject{Kind: policy.SubjectLicense, ID: "l"}},
		{`{"url":"/","subject":{"customer":"c"}}`, "GET", "", "/", policy.Subject{Kind: policy.SubjectCustomer, ID: "c"}},
	}
	for _, tt := range tests {
		r, err := read(t, tt.body)
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		if r.Method != tt.method || r.Host != tt.host || r.Path != tt.path || r.Subject != tt.subject || r.Steps == nil {
			t.Errorf("%s is read as %+v", tt.body, r)
		}
	}
}

func TestQuestionsHeadersAreJoinedAndCounted(t *testing.T) {
	r, err := read(t, `{"url":"/","headers":{"X-A":"1","x-b":["1","2"],"x-c":[]}}`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x-a": "1", "x-b": "1,2", "x-c": "", "x-d": ""} {
		if got, n := r.Attributes.Header(name); got != want || (n == 0) != (want == "") {
			t.Errorf("%s = %q, %d", name, got, n)
		}
	}
	if got := r.Attributes.Headers(); got != 3 {
		t.Errorf("%d headers, want 3", got)
	}
}

func TestUnusableQuestionsAreRefused(t *testing.T) {
	for _, body := range []string{
		``, `[]`, `{"url":"/"} {}`, `{"url":""}`, `{"url":"a"}`, `{"url":"api.acme.example/a"}`, `{"url":1}`,
		`{"url":"/","subject":{"tenant":"t","account":"a"}}`, `{"url":"/","subject":{"user":"u"}}`,
		`{"url":"/","at":"noon"}`, `{"url":"/","headers":{"x":1}}`, `{"url":"/","headers":{"x":[1]}}`,
	} {
		if r, err := read(t, body); err == nil {
			t.Errorf("%s is read as %+v", body, r)
		}
	}
}

func TestAnswerShowsTheDecisionWithItsSteps(t *testing.T) {
	tests := map[string]struct {
		d    policy.Decision
		want string
	}{
		"denied by a quota": {
			policy.Decision{
				Reason: policy.QuotaExhausted, Tenant: "initech", Account: "111122223333", License: "l", Plan: "basic", Route: "reports",
				Feature: "apiCalls", Quota: policy.Balance{Terms: policy.Terms{Included: 10, Per: 1}, Used: 10, End: noon},
			},
			`{"allowed":false,"reason":"quota_exhausted","status":429,"tenant":"initech","account":"111122223333","license":"l",` +
				`"plan":"basic","route":"reports","mode":"enforce","feature":"apiCalls","limit":10,"used":10,` +
				`"resetsAt":"2026-03-10T12:00:00Z","steps":["one","two"]}`,
		},
		"allowed without limit": {
			policy.Decision{
				Effect: policy.Allow, Reason: policy.Allowed, Route: "reports", Feature: "apiCalls",
				Quota: policy.Balance{OK: true, Terms: policy.Terms{Included: policy.Unlimited, Per: 1}, Used: 0},
			},
			`{"allowed":true,"reason":"allowed","status":200,"route":"reports","mode":"enforce","feature":"apiCalls","used":0,"steps":["one","two"]}`,
		},
		"shadow": {
			policy.Decision{Effect: policy.Allow, Mode: policy.Shadow, Reason: policy.LicenseMissing, Route: "team"},
			`{"allowed":true,"reason":"license_missing","status":200,"route":"team","mode":"shadow","steps":["one","two"]}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(NewAnswer(&tt.d, &policy.Steps{Lines: []string{"one", "two"}}))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(b); got != tt.want {
				t.Errorf("%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestExplainPassesTheInstantOnAndCollectsSteps(t *testing.T) {
	var asked time.Time
	s := empty()
	s.Explainer = explain(func(r *policy.Request, at time.Time) policy.Decision {
		asked = at
		r.Steps.Lines = append(r.Steps.Lines, r.Method+" "+r.Path)
		return policy.Decision{Effect: policy.Allow, Reason: policy.Public}
	})
	c, base := local(t, s)
	out, body := call(t, c, "POST", base+"/v1/explain", `{"method":"PUT","url":"/a","at":"2026-03-10T12:00:00Z"}`)
	want := Answer{Allowed: true, Reason: "public", Status: 200, Mode: "enforce", Steps: []string{"PUT /a"}}
	var got Answer
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if out.StatusCode != http.StatusOK || !cmp.Equal(got, want) {
		t.Errorf("%d: %s", out.StatusCode, cmp.Diff(want, got))
	}
	if !asked.Equal(noon) {
		t.Errorf("decided for %v", asked)
	}
}
