package proxy

import (
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

const (
	// grpcStatus is the trailer in which a gRPC call says how it ended; where there is no
	// message it is a header.
	grpcStatus = "grpc-status"
	// internalRedirect is the first leg of a request that Envoy sends on itself: the second has
	// a check and an entry of its own (Envoy: internal_redirect_policy).
	internalRedirect = "internal_redirect"
	// maxDigits bounds a quantity, as a request's.
	maxDigits = 15
	// maxQuantity is the largest of so many digits.
	maxQuantity = 999_999_999_999_999
)

// servedRule tells whether the application served a request (BILLING B04).
type servedRule struct {
	status [600]bool           // HTTP statuses that are not billed
	grpc   map[codes.Code]bool // grpc statuses that are not billed
}

// newServedRule reads metering.notBilled, which the configuration has validated.
func newServedRule(not metering.NotBilled) (*servedRule, error) {
	r := &servedRule{grpc: map[codes.Code]bool{}}
	for _, s := range not.Status {
		first, last, ok := s.Bounds()
		if !ok {
			return nil, fmt.Errorf("read metering.notBilled.status: no HTTP status from 100 to 599")
		}
		for i := first; i <= last; i++ {
			r.status[i] = true
		}
	}
	for _, name := range not.GRPC {
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil {
			return nil, fmt.Errorf("read metering.notBilled.grpc: %w", err)
		}
		r.grpc[code] = true
	}
	return r, nil
}

// served tells whether the application answered, with an answer that is billed. Only where
// a byte came from upstream was it the application that answered: Envoy's own answers
// (rate limits, redirects, time-outs) have a status as well, and a client who went away
// before has none. A response that was cut off in its middle counts.
func (r *servedRule) served(e *wire.LogEntry) bool {
	switch {
	case !e.Upstream, e.Details == internalRedirect, e.Code == 0 || int(e.Code) < len(r.status) && r.status[e.Code]:
		return false
	}
	ended, ok := e.ResponseTrailer(grpcStatus)
	if !ok {
		ended, ok = e.ResponseHeader(grpcStatus)
	}
	return !ok || !r.grpc[grpcCode(ended)]
}

// grpcCode reads a grpc-status as its clients do: what can't be read is UNKNOWN (gRPC over
// HTTP/2, "Status").
func grpcCode(text string) codes.Code {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return codes.Unknown
	}
	return codes.Code(n)
}

// measured is the quantity that the entry gives; false where it gives none.
func measured(e *wire.LogEntry, m *policy.Measure) (int64, bool) {
	switch m.Source {
	case policy.FromResponseHeader:
		text, _ := e.ResponseHeader(m.Name)
		return digits(text)
	case policy.FromResponseTrailer:
		text, _ := e.ResponseTrailer(m.Name)
		return digits(text)
	case policy.FromRequestBytes:
		return size(e.RequestBytes)
	case policy.FromResponseBytes:
		return size(e.ResponseBytes)
	default:
		return 0, false
	}
}

// digits reads 1 to 15 ASCII digits. A repeated header, which Envoy joins with commas, is none.
func digits(text string) (n int64, ok bool) {
	if text == "" || len(text) > maxDigits {
		return 0, false
	}
	for i := range len(text) {
		d := text[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = 10*n + int64(d)
	}
	return n, true
}

func size(n uint64) (int64, bool) {
	if n > maxQuantity {
		return 0, false
	}
	return int64(n), true
}
