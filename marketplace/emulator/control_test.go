package emulator_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/marketplace/emulator"
)

func TestControlRefusesWithTheCure(t *testing.T) {
	w := standing(t)
	legacy := w.buyer("old", buyerAccount, "")
	ended := w.buyer("acme", buyerAccount, "")
	w.must(http.MethodPost, ended.on("cancel"), "", nil)
	for _, test := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "licenses", `{"product":"acme","account":111122223333}`, 400, "account numbers are texts"},
		{"POST", "licenses", `{"product":"acme","account":"1"}`, 400, "12 digits"},
		{"POST", "licenses", `{"product":"nobody","account":"111122223333"}`, 400, "PUT /_control/products/nobody first"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","colour":1}`, 400, "unknown field"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333"} {}`, 400, "one JSON document"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","licenseArn":"l-1"}`, 400, "licenseArn does not match"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","licenseArn":"` + ended.LicenseArn + `"}`, 409, "exists already"},
		{"POST", "licenses", `{"product":"old","account":"111122223333","licenseArn":"` + ended.LicenseArn + `"}`, 400, "no licenseArn"},
		{"POST", "licenses", `{"product":"old","account":"111122223333"}`, 409, "one at a time"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","endBehavior":"RENEW"}`, 400, "without ends"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","ends":"2026-01-01T00:00:00Z"}`, 400, "not after starts"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","status":"gone"}`, 400, "active, suspended"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","entitlements":[{"dimension":"calls","value":1}]}`, 400, "no entitled dimension"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","entitlements":[{"dimension":"seats","value":2147483648}]}`, 400, "32 bits"},
		{"POST", "licenses", `{"product":"acme","account":"111122223333","entitlements":[{"dimension":"seats"}]}`, 400, "an integer, a fraction"},
		{"POST", "licenses?notify=maybe", `{"product":"acme","account":"111122223333"}`, 400, "notify=true"},
		{"POST", ended.on("cancel"), ``, 409, "ended at 2026-11-15T12:00:00Z (CANCELLED)"},
		{"POST", legacy.on("renew"), `{}`, 400, "later date"},
		{"POST", "licenses/nobody/cancel", ``, 404, "LicenseArn"},
		{"POST", "licenses/nobody/frobnicate", ``, 404, "the calls are"},
		{"PATCH", "clock", ``, 405, "use GET or PUT"},
		{"PUT", "clock", `{}`, 400, `{"advance": "1h"}`},
		{"PUT", "clock", `{"real":true,"advance":"1h"}`, 400, "2 ways"},
		{"PUT", "clock", `{"advance":"soon"}`, 400, "can't be read"},
		{"PUT", "clock", `{"advance":"2562047h"}`, 200, ""},
		{"PUT", "products/a b", `{}`, 400, "product code"},
		{"PUT", "products/x", `{"model":"lease"}`, 400, "contract, subscription"},
		{"PUT", "products/x", `{"agreements":"some"}`, 400, "concurrent, legacy"},
		{"PUT", "products/x", `{"dimensions":[{"key":"a"}]}`, 400, "no types"},
		{"PUT", "products/x", `{"dimensions":[{"key":"a","types":["Metered"]}]}`, 400, "ExternallyMetered"},
		{"PUT", "products/x", `{"dimensions":[{"key":"a","types":["Entitled"]},{"key":"a","types":["Entitled"]}]}`, 400, "twice"},
		{"PUT", "products/old", `{"agreements":"concurrent"}`, 409, "another product code"},
		{"POST", "tokens", `{"license":"nobody"}`, 400, "one that exists"},
		{"PUT", "feeds", `{"eventbridge":{"queue":"a b"}}`, 400, "1 to 80"},
		{"PUT", "feeds", `{"eventbridge":{"queue":"a","arn":"odd"}}`, 400, "full, bare"},
		{"PUT", "feeds", `{"drop":1.5}`, 400, "0 to 1"},
		{"PUT", "feeds", `{"delay":"2h"}`, 400, "0s to 1h"},
		{"PUT", "feeds", `{"sns":{"version":3}}`, 400, "1 or 2"},
		{"POST", "notify", `{"feed":"pigeon","body":1}`, 400, "sns-sqs"},
		{"POST", "notify", `{"feed":"eventbridge"}`, 400, "body is missing"},
	} {
		status, body := w.control(test.method, strings.ReplaceAll(test.path, " ", "%20"), test.body)
		if status != test.status || !strings.Contains(string(body), strings.ReplaceAll(test.says, `"`, `\"`)) {
			t.Errorf("%s %s %s:\ngot  %d %s\nwant %d with %q", test.method, test.path, test.body, status, body, test.status, test.says)
		}
	}
}

func TestAProblemIsMarkedAsOne(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	_, header, body := raw(t, newRequest(t, http.MethodPost, w.url+"/_control/licenses", `{`))
	want(t, "type", header.Get("Content-Type"), "application/problem+json")
	var problem struct {
		Type, Title, Detail, Hint string
		Status                    int
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil {
		t.Fatal(err)
	}
	if problem.Status != 400 || problem.Title == "" || problem.Detail == "" || problem.Hint == "" {
		t.Errorf("got %+v", problem)
	}
}

func TestALicenseIsNamedByIdArnOrCustomer(t *testing.T) {
	w := standing(t)
	given := "arn:aws:license-manager::294406891311:license:l-0123456789abcdef0123456789abcdef"
	l := w.buyer("acme", buyerAccount, `,"licenseArn":"`+given+`","agreementId":"agmt-given"`)
	want(t, "license", l, license{ID: "l-0123456789abcdef0123456789abcdef", LicenseArn: given, AgreementID: "agmt-given"})
	legacy := w.buyer("old", buyerAccount, `,"customerIdentifier":"X01EXAMPLEX"`)
	for _, name := range []string{l.ID, l.LicenseArn, legacy.ID, "old/X01EXAMPLEX"} {
		w.must(http.MethodPost, "licenses/"+url.PathEscape(name)+"/suspend", "", nil)
		var made struct{ Token string }
		body, err := json.Marshal(map[string]string{"license": name, "token": "t-" + name})
		if err != nil {
			t.Fatal(err)
		}
		w.must(http.MethodPost, "tokens", string(body), &made)
		want(t, "token", made.Token, "t-"+name)
	}
}

func TestALegacyCustomerKeepsItsIdentifierAndCanComeBack(t *testing.T) {
	w := standing(t)
	w.must(http.MethodPut, "products/old2", `{"agreements":"legacy","dimensions":[{"key":"calls","types":["ExternallyMetered"]}]}`, nil)
	first, second := w.buyer("old", buyerAccount, ""), w.buyer("old2", buyerAccount, "")
	want(t, "in another product", second.CustomerIdentifier, first.CustomerIdentifier)
	w.must(http.MethodPost, first.on("cancel"), "", nil)
	again := w.buyer("old", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
	want(t, "after coming back", again.CustomerIdentifier, first.CustomerIdentifier)
	want(t, "held", w.holds("old", nil), []string{again.CustomerIdentifier + " basic"})
}

func TestFeedsShowTheirQueuesURL(t *testing.T) {
	w := standing(t)
	var got struct {
		EventBridge struct{ Queue, Arn string }
		SNS         struct{ Queue string }
		Delay       string
	}
	w.must(http.MethodPut, "feeds", `{"eventbridge":{"queue":"a"},"sns":{"queue":"http://elsewhere/1/b","version":2},"delay":"2s"}`, &got)
	want(t, "queue", got.EventBridge.Queue, w.url+"/294406891311/a")
	want(t, "arn", got.EventBridge.Arn, "full")
	want(t, "sns queue", got.SNS.Queue, w.url+"/294406891311/b")
	want(t, "delay", got.Delay, "2s")
	w.emulator.SetEndpoint("http://weir.test:1/")
	w.must(http.MethodGet, "feeds", "", &got)
	want(t, "fixed endpoint", got.EventBridge.Queue, "http://weir.test:1/294406891311/a")
}

func TestTheClockRunsStandsAndMoves(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	var got struct {
		Now  time.Time
		Mode string
	}
	w.must(http.MethodGet, "clock", "", &got)
	want(t, "at first", got.Mode, "real")
	if time.Since(got.Now).Abs() > time.Minute {
		t.Errorf("now is %v", got.Now)
	}
	w.must(http.MethodPut, "clock", `{"advance":"-48h"}`, &got)
	want(t, "moved", got.Mode, "offset")
	if behind := time.Since(got.Now); behind < 47*time.Hour || behind > 49*time.Hour {
		t.Errorf("behind by %v, want 48h", behind)
	}
	w.must(http.MethodPut, "clock", `{"now":"2026-11-15T12:00:00Z"}`, &got)
	want(t, "stands", got.Mode, "still")
	w.must(http.MethodPut, "clock", `{"advance":"90m"}`, &got)
	want(t, "still", got.Mode, "still")
	want(t, "moved by 90 minutes", got.Now, at(t, "2026-11-15T13:30:00Z"))
	w.must(http.MethodPut, "clock", `{"real":true}`, &got)
	want(t, "real again", got.Mode, "real")
}

func TestResetForgetsEverything(t *testing.T) {
	w := standing(t)
	w.feed("")
	l := w.buyer("acme", buyerAccount, "")
	w.statuses(usage(l, "calls", at(t, noon), 1))
	w.must(http.MethodPost, "faults", `{"kind":"throttle","count":-1}`, nil)
	w.must(http.MethodPost, "reset", "", nil)
	for _, path := range []string{"records", "bill", "calls", "faults"} {
		_, body := w.control(http.MethodGet, path, "")
		want(t, path, string(body), "[]")
	}
	_, body := w.control(http.MethodGet, "feeds", "")
	want(t, "feeds", string(body), "{}")
	status, _ := w.control(http.MethodPost, l.on("cancel"), "")
	want(t, "license", status, http.StatusNotFound)
	want(t, "queues", w.everyProtocol()["sqs"], "")
}
