package marketplace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/weirhq/weir/metering"
)

// answered is the error that an answer of AWS makes.
func answered(status int, code string) error {
	return &callError{sent: true, err: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Body: http.NoBody}},
		Err:      &smithy.GenericAPIError{Code: code, Message: "m"},
	}}
}

func TestB12WhatAnErrorMeans(t *testing.T) {
	unreadable := &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody}},
		Err:      &smithy.DeserializationError{Err: errors.New("invalid character '<'")},
	}
	reset := &smithyhttp.RequestSendError{Err: &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", errors.New("connection reset"))}}
	refusedConnection := &smithyhttp.RequestSendError{Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	const ambiguous, throttle = 1, 2
	tests := []struct {
		name   string
		err    error
		is     int
		answer metering.Answer
	}{
		{"throttled", answered(400, "ThrottlingException"), throttle, metering.NotRecorded},
		{"throttled by a 503", answered(503, "ThrottlingException"), throttle, metering.NotRecorded},
		{"429 without a code", answered(429, "UnknownError"), throttle, metering.NotRecorded},
		{"License Manager's throttle", answered(400, "RateLimitExceededException"), throttle, metering.NotRecorded},
		{"500", answered(500, "InternalServiceErrorException"), ambiguous, metering.Ambiguous},
		{"503 in HTML", &callError{sent: true, err: unreadable}, ambiguous, metering.Ambiguous},
		{"200 that can't be read", &callError{sent: true, err: &smithy.DeserializationError{Err: errors.New("bad")}}, ambiguous, metering.Ambiguous},
		{"400 without a code", answered(400, "UnknownError"), ambiguous, metering.Ambiguous},
		{"408 of a proxy", answered(408, "RequestTimeout"), ambiguous, metering.Ambiguous},
		{"time-out", &callError{sent: true, err: &smithy.CanceledError{Err: context.DeadlineExceeded}}, ambiguous, metering.Ambiguous},
		{"time-out of the network", &callError{sent: true, err: &smithyhttp.RequestSendError{Err: os.ErrDeadlineExceeded}}, ambiguous, metering.Ambiguous},
		{"caller went away after the write", &callError{sent: true, err: &smithy.CanceledError{Err: context.Canceled}}, ambiguous, metering.Ambiguous},
		{"caller went away before the write", &callError{sent: false, err: &smithy.CanceledError{Err: context.Canceled}}, 0, metering.NotRecorded},
		{"disconnect", &callError{sent: true, err: reset}, ambiguous, metering.Ambiguous},
		{"EOF", &callError{sent: true, err: &smithyhttp.RequestSendError{Err: io.EOF}}, ambiguous, metering.Ambiguous},
		{"error of unknown origin", errors.New("?"), ambiguous, metering.Ambiguous},
		{"connection refused", &callError{sent: false, err: refusedConnection}, 0, metering.NotRecorded},
		{"connection refused, without a call around it", refusedConnection, 0, metering.NotRecorded},
		{"no such host", &net.DNSError{Err: "no such host", Name: "metering", IsNotFound: true}, 0, metering.NotRecorded},
		{"no certificate", &callError{sent: false, err: &smithyhttp.RequestSendError{Err: errors.New("tls: unknown authority")}}, 0, metering.NotRecorded},
		{"no credentials", &callError{sent: false, err: errors.New("get identity: no EC2 IMDS role found")}, 0, metering.Unavailable},
		{"role refused", &callError{sent: false, err: answered(400, "ValidationError")}, 0, metering.Unavailable},
		{"access denied", answered(400, "AccessDeniedException"), 0, metering.Unavailable},
		{"token expired", answered(400, "ExpiredTokenException"), 0, metering.Unavailable},
		{"product", answered(400, "InvalidProductCodeException"), 0, metering.Unavailable},
		{"disabled", answered(400, "DisabledApiException"), 0, metering.Unavailable},
		{"refused in words that are new", answered(400, "BrandNewException"), 0, metering.Unavailable},
		{"license", answered(400, "InvalidLicenseException"), 0, metering.Faulty},
		{"customer", answered(400, "InvalidCustomerIdentifierException"), 0, metering.Faulty},
		{"dimension", answered(400, "InvalidUsageDimensionException"), 0, metering.Faulty},
		{"tag", answered(400, "InvalidTagException"), 0, metering.Faulty},
		{"allocations", answered(400, "InvalidUsageAllocationsException"), 0, metering.Faulty},
		{"timestamp", answered(400, "TimestampOutOfBoundsException"), 0, metering.Faulty},
		{"validation", answered(400, "ValidationException"), 0, metering.Faulty},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := fmt.Errorf("send usage: %w", tt.err)
			if got, want := isAmbiguous(err), tt.is&ambiguous != 0; got != want {
				t.Errorf("ambiguous %v, want %v", got, want)
			}
			if got, want := isThrottle(err), tt.is&throttle != 0; got != want {
				t.Errorf("throttle %v, want %v", got, want)
			}
			if got := answerOf(err); got != tt.answer {
				t.Errorf("answer %v, want %v", got, tt.answer)
			}
		})
	}
	if isAmbiguous(nil) || isThrottle(nil) {
		t.Error("no error is neither")
	}
}

func TestErrorTextIsBounded(t *testing.T) {
	long := strings.Repeat("é", 600)
	text := errorText(answered(400, long))
	if len(text) > 512 || !strings.HasPrefix(long, text) {
		t.Errorf("got %d bytes: %s", len(text), text)
	}
	if got := errorText(answered(400, "InvalidLicenseException")); got != "InvalidLicenseException: m" {
		t.Errorf("got %q", got)
	}
}
