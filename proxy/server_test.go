package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/internal/listen/listentest"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// decide is a Decider that is a function.
type decide func(context.Context, *policy.Request) policy.Decision

func (f decide) Decide(ctx context.Context, r *policy.Request) policy.Decision { return f(ctx, r) }

// allowAll is a Decider that lets everything through.
func allowAll(context.Context, *policy.Request) policy.Decision { return allowed() }

// patience bounds what a test waits for.
const patience = 20 * time.Second

func options() Options {
	return Options{
		Decisions: LogNone, Ready: func() bool { return true }, Now: func() time.Time { return noon },
		Tokens: &counting{}, Endings: &endings{}, NotBilled: metering.DefaultConfig().NotBilled,
		Measure: func(string) (policy.Measure, bool) { return policy.Measure{}, false },
	}
}

// start runs a server until the test ends, or stop is called, which waits for it.
func start(t *testing.T, o Options, d Decider, listeners ...*listen.Listener) (stop func()) {
	t.Helper()
	s, err := New(o, listeners, d, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func dial(t *testing.T, target string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func waiting(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func ask(t *testing.T, c *grpc.ClientConn, with ...string) (*authv3.CheckResponse, codes.Code) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(waiting(t), with...)
	out, err := authv3.NewAuthorizationClient(c).Check(ctx, checkOf(nil))
	return out, status.Code(err)
}

func TestChecksAreAnsweredOverTCPAndUnixSocket(t *testing.T) {
	tcp := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	socket := listentest.Open(t, listentest.Socket(t), listen.Access{})
	start(t, options(), decide(func(_ context.Context, r *policy.Request) policy.Decision {
		if r.Path == "/v1/reports/7?x=1" {
			return allowed()
		}
		return policy.Decision{}
	}), tcp, socket)
	for _, target := range []string{tcp.String(), socket.String()} {
		c := dial(t, target, insecure.NewCredentials())
		if out, code := ask(t, c); code != codes.OK || out.GetOkResponse() == nil {
			t.Errorf("%s: %v, %v", target, out, code)
		}
		out, err := authv3.NewAuthorizationClient(c).Check(waiting(t), &authv3.CheckRequest{})
		if err != nil || out.GetStatus().GetCode() != int32(codes.Unavailable) || out.GetDeniedResponse().GetStatus().GetCode() != 503 {
			t.Errorf("%s: an empty check is answered %v, %v", target, out, err)
		}
	}
}

func TestEmptyCheckIsDeniedWithoutAskingAnybody(t *testing.T) {
	a := newAuthorization(t, allowAll)
	out, err := a.Check(t.Context(), nil)
	if err != nil || out.GetStatus().GetCode() == 0 || out.GetOkResponse() != nil {
		t.Errorf("answered %v, %v", out, err)
	}
}

func TestChecksWithHeadersThatAreWeirsAloneAreCounted(t *testing.T) {
	a := newAuthorization(t, allowAll)
	for _, headers := range []map[string]string{nil, {"x-weird": "1"}, {"x-weir-tenant": "initech", "x-weir-plan": "gold"}} {
		if _, err := a.Check(t.Context(), checkOf(headers)); err != nil {
			t.Error(err)
		}
	}
	if got := testutil.ToFloat64(a.spoofed); got != 1 {
		t.Errorf("%v checks were counted, want 1", got)
	}
}

func TestNothingOfACheckIsLeftForTheNext(t *testing.T) {
	a := newAuthorization(t, func(_ context.Context, r *policy.Request) policy.Decision {
		if r.Path == "" {
			return policy.Decision{}
		}
		return held()
	})
	full := encoded(checkOf(map[string]string{"content-type": "application/grpc", "x-weir-zzz": "1"}))
	for range 3 {
		if _, err := a.AppendAnswer(t.Context(), full, nil); err != nil {
			t.Fatal(err)
		}
		for i := range full {
			full[i] = 0xDB // as the next message does
		}
		empty := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{}}}}
		out, err := a.Check(t.Context(), empty)
		if err != nil || out.GetDeniedResponse().GetStatus().GetCode() != 503 || len(fields(out)) != 2 {
			t.Errorf("%v: %v", err, out)
		}
		if got := pairs(out.GetDeniedResponse().GetHeaders()); len(got) != 1 || got["content-type"] == "" {
			t.Errorf("headers %v, want only a content type", got)
		}
		full = encoded(checkOf(map[string]string{"content-type": "application/grpc", "x-weir-zzz": "1"}))
	}
}

func newAuthorization(t *testing.T, d decide) *authorization {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	return &authorization{
		decider: d, tokens: &counting{}, pulse: newPulse(log, prometheus.NewRegistry()), drain: newDrain(),
		record: &recorder{choice: LogNone, log: log}, log: log, now: func() time.Time { return noon },
		spoofed: newSpoofed(prometheus.NewRegistry()),
	}
}

func TestCallerWhoWentAwayIsNeverAllowed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	a := newAuthorization(t, func(context.Context, *policy.Request) policy.Decision {
		asked++
		cancel() // the caller goes away while the decision is made
		return allowed()
	})
	for _, when := range []string{"during the decision", "before it"} {
		if out, err := a.Check(ctx, checkOf(nil)); out != nil || status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v, %v", when, out, err)
		}
	}
	if asked != 1 {
		t.Errorf("%d decisions were made, want 1: none for a caller who has gone before", asked)
	}
}

func TestCancelledCheckEndsTheDecisionsContext(t *testing.T) {
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	asked, ended := make(chan struct{}), make(chan struct{})
	start(t, options(), decide(func(ctx context.Context, _ *policy.Request) policy.Decision {
		close(asked)
		<-ctx.Done()
		close(ended)
		return allowed()
	}), l)
	ctx, cancel := context.WithCancel(waiting(t))
	go func() {
		<-asked
		cancel()
	}()
	out, err := authv3.NewAuthorizationClient(dial(t, l.String(), insecure.NewCredentials())).Check(ctx, checkOf(nil))
	if err == nil {
		t.Errorf("answered %v", out)
	}
	<-ended
}

func TestPanicOfADecisionIsAFault(t *testing.T) {
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	start(t, options(), decide(func(context.Context, *policy.Request) policy.Decision { panic("bad day") }), l)
	c := dial(t, l.String(), insecure.NewCredentials())
	for range 2 {
		out, code := ask(t, c)
		if code != codes.OK || out.GetDeniedResponse().GetStatus().GetCode() != 503 || fields(out)["reason"] != "fault" {
			t.Errorf("answered %v, %v", out, code)
		}
	}
}

func TestPanicOutsideADecisionIsAnError(t *testing.T) {
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	o := options()
	o.Ready = func() bool { panic("bad day") }
	start(t, o, decide(allowAll), l)
	client := healthv1.NewHealthClient(dial(t, l.String(), insecure.NewCredentials()))
	if _, err := client.Check(waiting(t), &healthv1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("health: %v", err)
	}
	watch, err := client.Watch(waiting(t), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("watch: %v", err)
	}
}

func TestCallersOfAListenerThatOthersReachShowTheToken(t *testing.T) {
	l := listentest.Open(t, "0.0.0.0:0", listen.Access{Token: "secret"})
	start(t, options(), decide(allowAll), l)
	c := dial(t, "127.0.0.1:"+listentest.Port(l), insecure.NewCredentials())
	tests := map[string]struct {
		with []string
		want codes.Code
	}{
		"the token":       {[]string{"x-weir-caller", "secret"}, codes.OK},
		"another token":   {[]string{"x-weir-caller", "secre7"}, codes.Unauthenticated},
		"no token":        {nil, codes.Unauthenticated},
		"an empty token":  {[]string{"x-weir-caller", ""}, codes.Unauthenticated},
		"the token twice": {[]string{"x-weir-caller", "secret", "x-weir-caller", "secret"}, codes.Unauthenticated},
	}
	for name, tt := range tests {
		if out, code := ask(t, c, tt.with...); code != tt.want {
			t.Errorf("%s: %v, %v; want %v", name, out, code, tt.want)
		}
	}
	health, err := healthv1.NewHealthClient(c).Check(waiting(t), &healthv1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health without a token: %v, %v", health, err)
	}
}

func TestTLSCallersAreAdmittedByCertificate(t *testing.T) {
	ca := listentest.NewAuthority(t)
	l := listentest.Open(t, "0.0.0.0:0", listen.Access{TLS: ca.Load(t)})
	start(t, options(), decide(allowAll), l)
	target := "127.0.0.1:" + listentest.Port(l)

	proven := credentials.NewTLS(&tls.Config{RootCAs: ca.Roots, Certificates: []tls.Certificate{ca.Client}, MinVersion: tls.VersionTLS12})
	if out, code := ask(t, dial(t, target, proven)); code != codes.OK {
		t.Errorf("with a certificate: %v, %v", out, code)
	}
	nobody := credentials.NewTLS(&tls.Config{RootCAs: ca.Roots, MinVersion: tls.VersionTLS12})
	if out, code := ask(t, dial(t, target, nobody)); code != codes.Unauthenticated {
		t.Errorf("without a certificate: %v, %v", out, code)
	}
	stranger := listentest.NewAuthority(t).Client
	forged := credentials.NewTLS(&tls.Config{RootCAs: ca.Roots, Certificates: []tls.Certificate{stranger}, MinVersion: tls.VersionTLS12})
	if out, code := ask(t, dial(t, target, forged)); code == codes.OK {
		t.Errorf("with a stranger's certificate: %v", out)
	}
	if out, code := ask(t, dial(t, target, insecure.NewCredentials())); code == codes.OK {
		t.Errorf("without TLS: %v", out)
	}
}

func TestReflectionIsOff(t *testing.T) {
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	start(t, options(), decide(allowAll), l)
	err := dial(t, l.String(), insecure.NewCredentials()).Invoke(waiting(t),
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &healthv1.HealthCheckRequest{}, &healthv1.HealthCheckResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection: %v", err)
	}
}

func TestDrainingFinishesChecksUnderWay(t *testing.T) {
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	asked, answer := make(chan struct{}), make(chan struct{})
	stop := start(t, options(), decide(func(context.Context, *policy.Request) policy.Decision {
		close(asked)
		<-answer
		return allowed()
	}), l)
	c := dial(t, l.String(), insecure.NewCredentials())
	codeOf := make(chan codes.Code, 1)
	go func() {
		_, code := ask(t, c)
		codeOf <- code
	}()
	<-asked
	watch, err := healthv1.NewHealthClient(c).Watch(waiting(t), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("health before: %v, %v", got, err)
	}
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health while draining: %v, %v", got, err)
	}
	close(answer)
	if code := <-codeOf; code != codes.OK {
		t.Errorf("the check under way got %v", code)
	}
	<-stopped
	if out, code := ask(t, dial(t, l.String(), insecure.NewCredentials())); code != codes.Unavailable {
		t.Errorf("a check after the end: %v, %v", out, code)
	}
}

func TestHealthFollowsReadiness(t *testing.T) {
	ready := false
	h := &health{ready: func() bool { return ready }, draining: make(chan struct{})}
	for _, want := range []healthv1.HealthCheckResponse_ServingStatus{
		healthv1.HealthCheckResponse_NOT_SERVING, healthv1.HealthCheckResponse_SERVING,
	} {
		for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
			got, err := h.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
			if err != nil || got.GetStatus() != want {
				t.Errorf("%q: %v, %v; want %v", service, got, err, want)
			}
		}
		list, err := h.List(t.Context(), nil)
		if err != nil || list.GetStatuses()[""].GetStatus() != want {
			t.Errorf("list: %v, %v", list, err)
		}
		ready = true
	}
	if _, err := h.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("unknown service: %v", err)
	}
}

// watcher is the stream of a health watch.
type watcher struct {
	grpc.ServerStream
	ctx  context.Context
	sent []healthv1.HealthCheckResponse_ServingStatus
}

func (w *watcher) Context() context.Context { return w.ctx }

func (w *watcher) Send(r *healthv1.HealthCheckResponse) error {
	w.sent = append(w.sent, r.GetStatus())
	return nil
}

func TestHealthWatchSendsEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		draining := make(chan struct{})
		h := &health{draining: draining, ready: func() bool { return time.Since(began) > 10*time.Second }}
		w := &watcher{ctx: t.Context()}
		unknown := &watcher{ctx: t.Context()}
		time.AfterFunc(time.Minute, func() { close(draining) })
		go func() { _ = h.Watch(&healthv1.HealthCheckRequest{Service: "other"}, unknown) }()
		if err := h.Watch(&healthv1.HealthCheckRequest{}, w); status.Code(err) != codes.Unavailable {
			t.Errorf("the watch ends with %v", err)
		}
		want := []healthv1.HealthCheckResponse_ServingStatus{
			healthv1.HealthCheckResponse_NOT_SERVING, healthv1.HealthCheckResponse_SERVING, healthv1.HealthCheckResponse_NOT_SERVING,
		}
		if got := w.sent; len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("sent %v, want %v", got, want)
		}
		synctest.Wait()
		if got := unknown.sent; len(got) != 1 || got[0] != healthv1.HealthCheckResponse_SERVICE_UNKNOWN {
			t.Errorf("of an unknown service %v is sent", got)
		}
	})
}
