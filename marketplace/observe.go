package marketplace

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/prometheus/client_golang/prometheus"
)

// observer sees every call to AWS, whatever the service: it counts attempts, gives
// the answers' Date to the clock, and notes in errors whether anything was sent.
type observer struct {
	clock    *Clock
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newObserver(clock *Clock, reg prometheus.Registerer) (*observer, error) {
	o := &observer{
		clock: clock,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_aws_requests_total",
			Help: "Requests to AWS by operation and outcome: ok, throttled, refused, ambiguous or failed.",
		}, []string{"operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weir_aws_request_seconds",
			Help:    "Time that requests to AWS took.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30},
		}, []string{"operation"}),
	}
	if err := reg.Register(o.requests); err != nil {
		return nil, err
	}
	return o, reg.Register(o.seconds)
}

// callState is what the attempts of one call have in common.
type callState struct {
	attempts atomic.Int32
	sent     atomic.Bool // a connection was obtained, so bytes may have left
}

type callStateKey struct{}

// install puts the observer into an operation's middleware.
func (o *observer) install(stack *middleware.Stack) error {
	call := middleware.InitializeMiddlewareFunc("weir/call", o.call)
	if err := stack.Initialize.Add(call, middleware.Before); err != nil {
		return err
	}
	// Deserialize comes after signing and retry: what fetches credentials has its own stack.
	attempt := middleware.DeserializeMiddlewareFunc("weir/attempt", o.attempt)
	return stack.Deserialize.Add(attempt, middleware.Before)
}

// call encloses one call with all its attempts.
func (o *observer) call(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	middleware.InitializeOutput, middleware.Metadata, error,
) {
	state := new(callState)
	out, metadata, err := next.HandleInitialize(context.WithValue(ctx, callStateKey{}, state), in)
	if err == nil {
		return out, metadata, nil
	}
	if state.attempts.Load() == 0 { // no credentials, or no endpoint
		o.requests.WithLabelValues(middleware.GetOperationName(ctx), "failed").Inc()
	}
	return out, metadata, &callError{sent: state.sent.Load(), err: err}
}

// attempt encloses one HTTP request.
func (o *observer) attempt(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	var sent atomic.Bool
	var answered atomic.Pointer[time.Time]
	trace := &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { sent.Store(true) },
		GotFirstResponseByte: func() { now := o.clock.local(); answered.Store(&now) },
	}
	begun := o.clock.local()
	out, metadata, err := next.HandleDeserialize(httptrace.WithClientTrace(ctx, trace), in)
	took := o.clock.local().Sub(begun)

	if state, ok := ctx.Value(callStateKey{}).(*callState); ok {
		state.attempts.Add(1)
		if sent.Load() {
			state.sent.Store(true)
		}
	}
	if at := answered.Load(); at != nil {
		o.date(out.RawResponse, *at, at.Sub(begun))
	}
	operation := middleware.GetOperationName(ctx)
	o.requests.WithLabelValues(operation, outcome(sent.Load(), err)).Inc()
	o.seconds.WithLabelValues(operation).Observe(took.Seconds())
	return out, metadata, err
}

// date gives the clock the Date of an answer.
func (o *observer) date(response any, received time.Time, took time.Duration) {
	resp, ok := response.(*smithyhttp.Response)
	if !ok || resp.Header.Get("Age") != "" { // Age: a cache's answer, of another time
		return
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		o.clock.observe(date, received, took)
	}
}

// outcome is the label of one attempt.
func outcome(sent bool, err error) string {
	switch {
	case err == nil:
		return "ok"
	case isThrottle(err):
		return "throttled"
	case isRefused(err):
		return "refused"
	case sent && isAmbiguous(err):
		return "ambiguous"
	default:
		return "failed"
	}
}
