package emulator_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/weirhq/weir/marketplace/emulator"
)

func TestAnUnknownOperationIsNamedAsTheProtocolDoes(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	for _, test := range []struct {
		name    string
		path    string
		headers []string
		body    string
		status  int
		want    string
	}{
		{"target", "/", []string{"X-Amz-Target", "AWSMPMeteringService.Nothing"}, "{}", 400, "UnknownOperationException"},
		{"service", "/", []string{"X-Amz-Target", "AWSNothing.BatchMeterUsage"}, "{}", 400, "UnknownOperationException"},
		{"cbor path", "/service/AWSMPEntitlementService/operation/Nothing", []string{"Smithy-Protocol", "rpc-v2-cbor"}, "", 404, "UnknownOperationException"},
		{"cbor path without the protocol", "/service/AWSMPEntitlementService/operation/GetEntitlements", nil, "", 404, "UnknownOperationException"},
		{"action", "/", []string{"Content-Type", "application/x-www-form-urlencoded"}, "Action=Nothing", 400, "<Code>InvalidAction</Code>"},
		{"nothing", "/", nil, "", 404, "UnknownOperationException"},
	} {
		request := newRequest(t, http.MethodPost, w.url+test.path, test.body, test.headers...)
		wellSigned(request)
		status, header, body := raw(t, request)
		if status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: got %d %q, want %d with %s", test.name, status, body, test.status, test.want)
		}
		if header.Get("X-Amzn-Requestid") == "" {
			t.Errorf("%s: no request id", test.name)
		}
	}
}

func TestACBORAnswerSaysSoInItsHeader(t *testing.T) {
	w := standing(t)
	w.buyer("acme", buyerAccount, `,"entitlements":[{"dimension":"basic","value":true}]`)
	body := string(cbor.Encode(cbor.Map{"ProductCode": cbor.String("acme"), "MaxResults": cbor.Uint(25), "Filter": &cbor.Nil{}}))
	request := newRequest(t, http.MethodPost, w.url+"/service/AWSMPEntitlementService/operation/GetEntitlements", body,
		"Smithy-Protocol", "rpc-v2-cbor", "Content-Type", "application/cbor")
	wellSigned(request)
	status, header, answer := raw(t, request)
	want(t, "status", status, http.StatusOK)
	want(t, "protocol", header.Get("Smithy-Protocol"), "rpc-v2-cbor")
	want(t, "type", header.Get("Content-Type"), "application/cbor")
	value, err := cbor.Decode([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	held := value.(cbor.Map)["Entitlements"].(cbor.List)[0].(cbor.Map)
	if tag, ok := held["ExpirationDate"].(*cbor.Tag); !ok || tag.ID != 1 {
		t.Errorf("ExpirationDate is %T, want tag 1", held["ExpirationDate"])
	}
}

func TestBrokenCBORIsASerializationError(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	for _, body := range []string{"\xff", "\x01", "\xa1\x61a", string(cbor.Encode(cbor.Map{"ProductCode": cbor.Uint(1)}))} {
		request := newRequest(t, http.MethodPost, w.url+"/service/AWSMPEntitlementService/operation/GetEntitlements", body, "Smithy-Protocol", "rpc-v2-cbor")
		wellSigned(request)
		status, _, answer := raw(t, request)
		if status != http.StatusBadRequest || !strings.Contains(answer, "SerializationException") {
			t.Errorf("%q: got %d %q, want SerializationException", body, status, answer)
		}
	}
}

func TestEveryAnswerIsDatedByTheEmulatorsClock(t *testing.T) {
	w := standing(t)
	for name, request := range map[string]*http.Request{
		"probe":     newRequest(t, http.MethodGet, w.url+"/", ""),
		"operation": newRequest(t, http.MethodPost, w.url+"/", "{}", "X-Amz-Target", "AmazonSQS.ListQueues"),
		"control":   newRequest(t, http.MethodGet, w.url+"/_control/bill", ""),
	} {
		_, header, _ := raw(t, request)
		want(t, name, header.Get("Date"), "Sun, 15 Nov 2026 12:00:00 GMT")
	}
	_, header, _ := raw(t, newRequest(t, http.MethodPut, w.url+"/_control/clock", `{"advance":"1h"}`))
	want(t, "the call that moves the clock", header.Get("Date"), "Sun, 15 Nov 2026 13:00:00 GMT")
}

func TestTheProbeIsNoCall(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	status, header, _ := raw(t, newRequest(t, http.MethodGet, w.url+"/", ""))
	want(t, "status", status, http.StatusOK)
	shown, err := http.ParseTime(header.Get("Date"))
	if err != nil || time.Since(shown).Abs() > time.Minute {
		t.Errorf("Date is %q, want the present", header.Get("Date"))
	}
	status, _, body := raw(t, newRequest(t, http.MethodGet, w.url+"/_control/calls", ""))
	want(t, "status", status, http.StatusOK)
	want(t, "calls", body, "[]")
}

func TestCallsAreListedWithTheirStatus(t *testing.T) {
	w := standing(t)
	w.queue("weir", nil)
	_, _ = w.metering.ResolveCustomer(t.Context(), nil) // refused by the SDK: not a call
	w.post("AWSMPMeteringService.ResolveCustomer", `{"RegistrationToken":"x"}`)
	w.must(http.MethodPost, "faults", `{"kind":"disconnect"}`, nil)
	request := newRequest(t, http.MethodPost, w.url, "{}", "X-Amz-Target", "AmazonSQS.ListQueues")
	wellSigned(request)
	if response, err := http.DefaultClient.Do(request); err == nil {
		_ = response.Body.Close()
		t.Error("a disconnected call was answered")
	}
	type call struct {
		Operation string
		At        time.Time
		Status    int
	}
	var got []call
	w.must(http.MethodGet, "calls", "", &got)
	want(t, "calls", got, []call{
		{"CreateQueue", at(t, noon), 200}, {"ResolveCustomer", at(t, noon), 400}, {"ListQueues", at(t, noon), 0},
	})
	w.must(http.MethodDelete, "calls", "", nil)
	w.must(http.MethodGet, "calls", "", &got)
	want(t, "emptied", len(got), 0)
}

func TestABodyThatNeverEndsIsCutOff(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	request := newRequest(t, http.MethodPost, w.url, strings.Repeat("x", 5<<20), "X-Amz-Target", "AmazonSQS.ListQueues")
	wellSigned(request)
	status, _, _ := raw(t, request)
	want(t, "status", status, http.StatusRequestEntityTooLarge)
	status, _, _ = raw(t, newRequest(t, http.MethodPost, w.url+"/_control/licenses", strings.Repeat(" ", 2<<20)))
	want(t, "control", status, http.StatusRequestEntityTooLarge)
}
