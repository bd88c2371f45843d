package emulator_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/weirhq/weir/marketplace/emulator"
)

// everyProtocol makes one call in each protocol and answers the errors by service.
func (w *world) everyProtocol() map[string]string {
	ctx := w.t.Context()
	_, metering := w.metering.ResolveCustomer(ctx, &marketplacemetering.ResolveCustomerInput{RegistrationToken: aws.String("none")})
	_, entitlement := w.entitlements.GetEntitlements(ctx, &marketplaceentitlementservice.GetEntitlementsInput{ProductCode: aws.String("none")})
	_, queue := w.queues.ListQueues(ctx, &sqs.ListQueuesInput{})
	_, token := w.tokens.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	return map[string]string{"json": code(metering), "cbor": code(entitlement), "sqs": code(queue), "query": code(token)}
}

func TestSignaturesAreVerifiedInEveryProtocol(t *testing.T) {
	w := newWorld(t, emulator.Config{Credentials: "AKIDSELLER:s3cr3t"})
	w.sign("AKIDSELLER", "s3cr3t", "")
	want(t, "right", w.everyProtocol(), map[string]string{"json": "InvalidTokenException", "cbor": "InvalidParameterException", "sqs": "", "query": ""})
	w.sign("AKIDSELLER", "wrong", "")
	want(t, "wrong secret", w.everyProtocol(), map[string]string{
		"json": "InvalidSignatureException", "cbor": "InvalidSignatureException", "sqs": "InvalidSignatureException", "query": "SignatureDoesNotMatch",
	})
	w.sign("AKIDOTHER", "s3cr3t", "")
	want(t, "unknown key", w.everyProtocol(), map[string]string{
		"json": "UnrecognizedClientException", "cbor": "UnrecognizedClientException", "sqs": "UnrecognizedClientException", "query": "InvalidClientTokenId",
	})
}

func TestARoleSessionSignsLikeItsOwner(t *testing.T) {
	w := newWorld(t, emulator.Config{Credentials: "AKIDSELLER:s3cr3t"})
	w.sign("AKIDSELLER", "s3cr3t", "")
	role, err := w.tokens.AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::294406891311:role/weir"), RoleSessionName: aws.String("test"), DurationSeconds: aws.Int32(900),
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "role", aws.ToString(role.AssumedRoleUser.Arn), "arn:aws:sts::294406891311:assumed-role/weir/test")
	if left := time.Until(*role.Credentials.Expiration); left < 14*time.Minute || left > 15*time.Minute {
		t.Errorf("the session lasts %v, want 15m", left)
	}
	c := role.Credentials
	w.sign(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
	want(t, "session", w.everyProtocol()["query"], "")
	w.sign(*c.AccessKeyId, *c.SecretAccessKey, "another")
	want(t, "another token", w.everyProtocol()["query"], "InvalidClientTokenId")
	for _, in := range []*sts.AssumeRoleInput{
		{RoleArn: aws.String("weir-is-no-role-arn-but-long-enough"), RoleSessionName: aws.String("test")},
		{RoleArn: aws.String("arn:aws:iam::294406891311:role/weir"), RoleSessionName: aws.String("a b")},
		{RoleArn: aws.String("arn:aws:iam::294406891311:role/weir"), RoleSessionName: aws.String("test"), DurationSeconds: aws.Int32(899)},
	} {
		w.sign("AKIDSELLER", "s3cr3t", "")
		_, err := w.tokens.AssumeRole(t.Context(), in)
		want(t, "refused", code(err), "ValidationError")
	}
}

func TestTheCallerIsTheSeller(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	who, err := w.tokens.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "account", aws.ToString(who.Account), "294406891311")
}

// raw sends a request as it is and answers status, headers and body.
func raw(t *testing.T, request *http.Request) (int, http.Header, string) {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

func newRequest(t *testing.T, method, url, body string, headers ...string) *http.Request {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return request
}

func TestCallsWithoutAWellFormedSignatureAreRefused(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	json := []string{"X-Amz-Target", "AWSMPMeteringService.ResolveCustomer", "Content-Type", "application/x-amz-json-1.1"}
	for _, test := range []struct {
		name, authorization, date, code string
	}{
		{"unsigned", "", "", "MissingAuthenticationTokenException"},
		{"bearer", "Bearer x", "", "IncompleteSignatureException"},
		{"short sum", "AWS4-HMAC-SHA256 Credential=K/20261115/r/s/aws4_request, SignedHeaders=host, Signature=0a", "20261115T000000Z", "IncompleteSignatureException"},
		{"short scope", "AWS4-HMAC-SHA256 Credential=K/20261115/r/s, SignedHeaders=host, Signature=" + strings.Repeat("0a", 32), "20261115T000000Z", "IncompleteSignatureException"},
		{"host not signed", "AWS4-HMAC-SHA256 Credential=K/20261115/r/s/aws4_request, SignedHeaders=x-amz-date, Signature=" + strings.Repeat("0a", 32), "20261115T000000Z", "IncompleteSignatureException"},
		{"no date", "AWS4-HMAC-SHA256 Credential=K/20261115/r/s/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("0a", 32), "", "IncompleteSignatureException"},
		{"another day", "AWS4-HMAC-SHA256 Credential=K/20261114/r/s/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("0a", 32), "20261115T000000Z", "IncompleteSignatureException"},
		{"well-formed", "AWS4-HMAC-SHA256 Credential=K/20261115/r/s/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("0a", 32), "20261115T000000Z", "InvalidTokenException"},
	} {
		request := newRequest(t, http.MethodPost, w.url, `{"RegistrationToken":"x"}`, json...)
		if test.authorization != "" {
			request.Header.Set("Authorization", test.authorization)
		}
		if test.date != "" {
			request.Header.Set("X-Amz-Date", test.date)
		}
		status, _, body := raw(t, request)
		if status != http.StatusBadRequest || !strings.Contains(body, `"__type":"`+test.code+`"`) {
			t.Errorf("%s: got %d %s, want %s", test.name, status, body, test.code)
		}
	}
	form := newRequest(t, http.MethodPost, w.url, url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}.Encode(),
		"Content-Type", "application/x-www-form-urlencoded")
	status, _, body := raw(t, form)
	want(t, "status of an unsigned form", status, http.StatusForbidden)
	if !strings.Contains(body, "<Code>MissingAuthenticationToken</Code>") {
		t.Errorf("got %s, want MissingAuthenticationToken", body)
	}
}

func TestASignatureOutsideFiveMinutesIsExpired(t *testing.T) {
	w := newWorld(t, emulator.Config{Credentials: "AKID:secret"})
	old := time.Now().Add(-6 * time.Minute).UTC()
	request := newRequest(t, http.MethodPost, w.url, `{}`, "X-Amz-Target", "AWSMPMeteringService.ResolveCustomer",
		"X-Amz-Date", old.Format("20060102T150405Z"), "Authorization", "AWS4-HMAC-SHA256 Credential=AKID/"+old.Format("20060102")+
			"/us-east-1/aws-marketplace/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0a", 32))
	_, _, body := raw(t, request)
	if !strings.Contains(body, "Signature expired") {
		t.Errorf("got %s, want an expired signature", body)
	}
}

func TestCredentialsHaveTwoParts(t *testing.T) {
	for text, valid := range map[string]bool{"": true, "KEY:SECRET": true, "KEY": false, "KEY:": false, ":SECRET": false} {
		err := emulator.Config{Credentials: text}.Validate()
		want(t, text, err == nil, valid)
	}
}

func TestASignatureIsForOneServiceAndOneBody(t *testing.T) {
	w := newWorld(t, emulator.Config{Credentials: "AKID:secret"})
	const body = `{"RegistrationToken":"x"}`
	signed := func(service, sent string) string {
		request := newRequest(t, http.MethodPost, w.url+"/", sent, "X-Amz-Target", "AWSMPMeteringService.ResolveCustomer", "X-Note", " two   words ")
		sum := sha256.Sum256([]byte(body))
		err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, request,
			hex.EncodeToString(sum[:]), service, "eu-west-1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		_, _, answer := raw(t, request)
		return answer
	}
	for _, test := range []struct{ name, service, body, says string }{
		{"right", "aws-marketplace", body, "InvalidTokenException"},
		{"another service", "sqs", body, "scoped to correct service: 'aws-marketplace'"},
		{"another body", "aws-marketplace", `{"RegistrationToken":"y"}`, "does not match"},
	} {
		if got := signed(test.service, test.body); !strings.Contains(got, test.says) {
			t.Errorf("%s: got %s, want %s", test.name, got, test.says)
		}
	}
}
