package marketplace

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// callError is the error of a call, with what is known of its requests.
type callError struct {
	sent bool // a connection was obtained, so bytes of a request may have left
	err  error
}

func (e *callError) Error() string { return e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

// isThrottle tells that AWS refused a call because there were too many, and did nothing.
func isThrottle(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) {
		if _, ok := retry.DefaultThrottleErrorCodes[api.ErrorCode()]; ok {
			return true
		}
		if api.ErrorCode() == "RateLimitExceededException" { // License Manager's; the SDK does not list it
			return true
		}
	}
	return status(err) == http.StatusTooManyRequests
}

// isAmbiguous tells that AWS may or may not have done what the call asked for: a
// request left, and no answer came that says clearly that nothing was done. A 5xx, a
// time-out, a disconnect, an unreadable answer and a caller that went away are such. An
// error of unknown origin is ambiguous.
func isAmbiguous(err error) bool {
	switch {
	case err == nil, isThrottle(err), isRefused(err):
		return false
	default:
		return !isUnsent(err)
	}
}

// isRefused tells that AWS gave a clear answer, in words that could be read: no. A 408
// comes from a proxy on the way, after which anything may have happened.
func isRefused(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() == "" || api.ErrorCode() == "UnknownError" {
		return false
	}
	code := status(err)
	return code >= 400 && code < 500 && code != http.StatusRequestTimeout
}

// isUnsent tells that certainly no byte of a request left.
func isUnsent(err error) bool {
	var call *callError
	if errors.As(err, &call) {
		return !call.sent
	}
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}

// isNetwork tells that a connection failed, before or after it was made.
func isNetwork(err error) bool {
	var network net.Error
	var send *smithyhttp.RequestSendError
	return errors.As(err, &network) || errors.As(err, &send) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// status is the HTTP status of the answer behind an error; 0: there was none.
func status(err error) int {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil {
		return 0
	}
	return response.HTTPStatusCode()
}

// errorText is what an error says for people, bounded for the ledger.
func errorText(err error) string {
	const longest = 512 // bytes
	text := err.Error()
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "" {
		text = api.ErrorCode() + ": " + api.ErrorMessage()
	}
	if len(text) <= longest {
		return text
	}
	text = text[:longest]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text
}
