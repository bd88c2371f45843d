package marketplace

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

func TestAQueuesPolicyTellsWhoMaySend(t *testing.T) {
	for text, want := range map[string]string{
		``:         "",
		`nonsense`: "",
		`{}`:       "",
		`{"Statement": {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}}`:                                                     "events.amazonaws.com",
		`{"Statement": [{"Effect": "Allow", "Principal": {"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}, "Action": ["SQS:ReceiveMessage", "SQS:Send*"]}]}`:          "events.amazonaws.com sns.amazonaws.com",
		`{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sqs:*"}]}`:                                                                                              "",
		`{"Statement": [{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:ReceiveMessage"}]}`:                                                "",
		`{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-east-1:1:t"}}}]}`:       "*",
		`{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*"}]}`:                                                                                        "* open",
		`{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "sqs:*"}]}`:                                                       "",
		`{"Statement": [{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com", "AWS": ["*"]}, "Action": "sqs:SendMessage", "Condition": {"Bool": {"x": true}}}]}`: "* events.amazonaws.com",
	} {
		found, open := senders(text)
		got := strings.Join(found, " ")
		if open {
			got += " open"
		}
		if got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", text, got, want)
		}
	}
}

func TestARefusalTellsWhatIsTheMatter(t *testing.T) {
	role := &smithy.OperationError{ServiceID: "SQS", OperationName: "ReceiveMessage", Err: &smithy.OperationError{
		ServiceID: "STS", OperationName: "AssumeRole", Err: &smithy.GenericAPIError{Code: "AccessDenied", Message: "no"},
	}}
	for _, c := range []struct {
		err    error
		want   Trouble
		action string
	}{
		{&smithy.GenericAPIError{Code: "AccessDeniedException"}, TroubleDenied, ActionReceiveMessage},
		{&smithy.GenericAPIError{Code: "AccessDenied", Message: "User: x is not authorized to perform: kms:Decrypt on resource: y"}, TroubleDenied, "kms:Decrypt"},
		{role, TroubleDenied, "sts:AssumeRole"},
		{&smithy.GenericAPIError{Code: "SignatureDoesNotMatch", Message: "Signature expired: 20261115T120000Z is now earlier than"}, TroubleClock, ActionReceiveMessage},
		{&smithy.GenericAPIError{Code: "SignatureDoesNotMatch"}, TroubleCredentials, ActionReceiveMessage},
		{&smithy.GenericAPIError{Code: "DisabledApiException"}, TroubleRegion, ActionReceiveMessage},
		{&smithy.GenericAPIError{Code: "QueueDoesNotExist"}, TroubleUnknown, ActionReceiveMessage},
		{&smithy.GenericAPIError{Code: "SomethingElse"}, TroubleOther, ActionReceiveMessage},
		{&callError{err: errors.New("no EC2 IMDS role found")}, TroubleCredentials, ActionReceiveMessage},
	} {
		if got := newCheckupError(ActionReceiveMessage, c.err); got.Trouble != c.want || got.Action != c.action {
			t.Errorf("%v: got %d of %s, want %d of %s", c.err, got.Trouble, got.Action, c.want, c.action)
		}
	}
}

func TestACheckupLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.control("PUT", "feeds", `{"eventbridge": {"queue": "weir"}}`, nil)
	w.control("POST", "licenses", `{"product": "`+acmeCode+`", "account": "111122223333", "entitlements": [{"dimension": "basic", "value": 1}]}`, nil)
	url := w.url + "/294406891311/weir"
	c := w.Checkup()
	for name, product := range testProducts() {
		product.Model = policy.ModelContractWithConsumption
		agreement, err := c.Agreements(t.Context(), product)
		if agreement != "" {
			err = errors.Join(err, c.Terms(t.Context(), agreement))
		}
		if err = errors.Join(err, c.Metering(t.Context(), product)); err != nil || (agreement == "") != (name == "old") {
			t.Errorf("product %s, agreement %q: %v", name, agreement, err)
		}
	}
	if err := c.Registration(t.Context()); err != nil {
		t.Error(err)
	}
	var before string
	for i := range 2 {
		report, troubles := c.Queue(t.Context(), url)
		if len(troubles) > 0 || i > 0 && report.Waiting != before || !cmp.Equal(report.Senders, []string{SenderEventBridge}) {
			t.Errorf("look %d: %+v %v, %s messages before", i, report, troubles, before)
		}
		before = report.Waiting
	}
	if before == "0" {
		t.Error("no message waits: the test shows nothing")
	}
	var records, bill []any
	w.control("GET", "records", "", &records)
	w.control("GET", "bill", "", &bill)
	if len(records)+len(bill) > 0 {
		t.Errorf("records %v, bill %v", records, bill)
	}
	unknown := testProducts()["old"]
	unknown.Code = "nobody"
	var told *CheckupError
	if err := c.Metering(t.Context(), unknown); !errors.As(err, &told) || told.Trouble != TroubleUnknown {
		t.Errorf("an unknown product code: %v", err)
	}
}
