package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/sample"
	"github.com/weirhq/weir/internal/stage"
)

// end is one way in which a request can end, and whether it is billed then.
type end struct {
	name   string // of the case; a license of its own is used by it alone
	path   string
	billed bool
	how    string // weir_checks_resolved_total
	share  int    // how often it is played, relative to others
}

// ends are those of the access log that a client, an application and Envoy can bring about.
func ends() []end {
	app := func(name string, billed bool, how string, share int) end {
		return end{name, "/v1/app/" + name, billed, how, share}
	}
	rpc := func(name string, billed bool, how string) end { return end{name, "/app.Test/" + name, billed, how, 3} }
	return []end{
		app("200", true, "counted", 12), app("404", true, "counted", 4), app("429", true, "counted", 2),
		app("500", false, "not_served", 4), app("503", false, "not_served", 4), app("599", false, "not_served", 1),
		app("gone", false, "not_served", 6), app("goneInBody", true, "counted", 4), app("cut", true, "counted", 4),
		app("direct", false, "not_served", 3), app("limited", true, "", 3),
		app("redirect", true, "", 3), // of the two legs the second is billed
		app("websocket", true, "counted", 2),
		rpc("OK", true, "counted"), rpc("NOT_FOUND", true, "counted"), rpc("PERMISSION_DENIEDAfterMessage", true, "counted"),
		rpc("UNAVAILABLE", false, "not_served"), rpc("INTERNAL", false, "not_served"),
		rpc("UNKNOWNAfterMessage", false, "not_served"), rpc("DATA_LOSSAfterMessage", false, "not_served"),
		rpc("Trailer", true, "counted"),
		{"header", "/v1/units/header", true, "counted", 4},
		{"twice", "/v1/units/twice", false, "unmeasured", 2},
		{"missing", "/v1/units/missing", false, "unmeasured", 2},
		{"trailer", "/v1/units/trailer", true, "counted", 4},
		{"requestBytes", "/v1/units/requestBytes", true, "counted", 4},
		{"responseBytes", "/v1/units/responseBytes", true, "counted", 4},
	}
}

// servedRoutes are the routes of weir.yaml for them.
const servedRoutes = `routes:
  - {name: app, match: {path: "/v1/app/{case}"}, meter: {feature: apiCalls}}
  - {name: rpc, match: {path: "/app.Test/{case}"}, meter: {feature: apiCalls}}
  - {name: rpc-trailer, match: {path: /app.Test/Trailer}, meter: {feature: apiCalls, quantity: {responseTrailer: x-units}}}
  - {name: header, match: {path: "/v1/units/{case}"}, meter: {feature: apiCalls, quantity: {responseHeader: x-units}}}
  - {name: trailer, match: {path: /v1/units/trailer}, meter: {feature: apiCalls, quantity: {responseTrailer: x-units}}}
  - {name: request, match: {path: /v1/units/requestBytes}, meter: {feature: apiCalls, quantity: requestBytes}}
  - {name: response, match: {path: /v1/units/responseBytes}, meter: {feature: apiCalls, quantity: responseBytes}}
`

// servedEnvoy are Envoy's routes that answer or redirect by themselves, before the others.
const servedEnvoy = `              routes:
              - {match: {path: /v1/app/direct}, direct_response: {status: 200}}
              - {match: {path: /v1/units/trailer}, route: {cluster: app2}}
              - match: {path: /v1/app/redirect}
                route: {cluster: app, internal_redirect_policy: {max_internal_redirects: 1, redirect_response_codes: [302]}}
              - match: {path: /v1/app/limited}
                route: {cluster: app}
                typed_per_filter_config:
                  envoy.filters.http.local_ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                    stat_prefix: limited
                    token_bucket: {max_tokens: 3, tokens_per_fill: 1, fill_interval: 3600s}
                    filter_enabled: {default_value: {numerator: 100}}
                    filter_enforced: {default_value: {numerator: 100}}
`

// overHTTP2 is the application over HTTP/2: of HTTP/1.1 Envoy drops trailers.
const overHTTP2 = `
  - name: app2
    type: STATIC
    typed_extension_protocol_options: *http2
    load_assignment:
      cluster_name: app2
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 19001}}}}]}]
`

const rateLimiter = `          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: none
          - name: envoy.filters.http.router
`

// servedPlan is the crowd's stage, with a tenant for each end.
func servedPlan(c *crowd, a *actor) stage.Plan {
	plan := c.plan()
	plan.App = &sample.App{Web: a, RPC: a.serve}
	plan.Config = strings.Replace(plan.Config, "routes:\n", servedRoutes, 1)
	plan.EnvoyConfig = strings.NewReplacer(
		"              routes:\n", servedEnvoy,
		"          - name: envoy.filters.http.router\n", rateLimiter,
		"to_log: [grpc-status]", "to_log: [grpc-status, x-units]",
		envoyTimeout[0], envoyTimeout[1],
		"          stat_prefix: ingress\n", "          stat_prefix: ingress\n          upgrade_configs: [{upgrade_type: websocket}]\n",
	).Replace(examples.Envoy + overHTTP2)
	return plan
}

// client plays ends through Envoy.
type client struct {
	stage *stage.Stage
	actor *actor
	crowd *crowd
	http  []*http.Client
	rpc   *grpc.ClientConn
	ids   atomic.Int64
}

// play makes one request of an end. What an end does to the client is no error.
func (c *client) play(ctx context.Context, e end, tenant string) error {
	switch {
	case e.name == "websocket":
		return c.websocket(e.path, tenant)
	case strings.HasPrefix(e.path, "/app.Test/"):
		ctx = metadata.AppendToOutgoingContext(ctx, "x-tenant-id", tenant, "x-units", strconv.Itoa(1+rand.IntN(50)))
		_ = c.rpc.Invoke(ctx, e.path, wrapperspb.String("x"), &wrapperspb.StringValue{})
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	id := strconv.FormatInt(c.ids.Add(1), 10)
	c.actor.gone.Store(id, cancel)
	defer c.actor.gone.Delete(id)
	body := strings.NewReader(strings.Repeat("y", rand.IntN(3000)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.stage.Ingress+e.path, body)
	if err != nil {
		return err
	}
	req.Header.Set("x-tenant-id", tenant)
	req.Header.Set("x-id", id)
	req.Header.Set("x-units", strconv.Itoa(rand.IntN(3000)))
	resp, err := c.http[rand.IntN(len(c.http))].Do(req)
	if e.name == "gone" {
		if err == nil {
			resp.Body.Close()
			return fmt.Errorf("%s was answered %s", e.name, resp.Status)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	defer resp.Body.Close()
	if e.name != "goneInBody" {
		_, _ = io.Copy(io.Discard, resp.Body) // one of them is cut off
	}
	return nil
}

// websocket upgrades a connection and has one message repeated.
func (c *client) websocket(path, tenant string) error {
	conn, err := net.DialTimeout("tcp", c.stage.Ingress, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: api.acme.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx-tenant-id: %s\r\n\r\n", path, tenant)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("websocket: %s", resp.Status)
	}
	fmt.Fprint(conn, "ping")
	said := make([]byte, 4)
	if _, err := io.ReadFull(r, said); err != nil || string(said) != "ping" {
		return fmt.Errorf("websocket: %q, %w", said, err)
	}
	return nil
}

func newClient(t *testing.T, s *stage.Stage, a *actor, c *crowd) *client {
	return &client{stage: s, actor: a, crowd: c, http: []*http.Client{http1(), http2c()}, rpc: dial(t, s.Ingress)}
}

// plays sends n requests, and returns how many were of each end.
func (c *client) plays(t *testing.T, n int) []int64 {
	t.Helper()
	var deck []int
	for i, e := range ends() {
		for range e.share {
			deck = append(deck, i)
		}
	}
	sent := make([]atomic.Int64, len(ends()))
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				who := deck[i%int64(len(deck))]
				if err := c.play(t.Context(), ends()[who], c.crowd.tenant(who)); err != nil {
					t.Error(err)
				}
				sent[who].Add(1)
			}
		})
	}
	group.Wait()
	counts := make([]int64, len(sent))
	for i := range sent {
		counts[i] = sent[i].Load()
	}
	return counts
}

func TestB04OfTenThousandRequestsExactlyWhatWasServedIsBilled(t *testing.T) {
	a, c := &actor{}, newCrowd(len(ends()))
	s := set(t, servedPlan(c, a))
	first := startHour(t, s)
	sent := newClient(t, s, a, c).plays(t, 10_000)
	var waiting int64
	eventuallyEqual(t, int64(0), func() any { waiting = metric(t, s, "weir_checks_pending"); return waiting })
	if waiting > 0 {
		t.Errorf("%d checks have no entry", waiting)
	}
	moveTo(t, s, first.Add(66*time.Minute))

	want, wantHow := map[string]int64{}, map[string]int64{}
	for i, e := range ends() {
		name, n := e.name, sent[i]
		switch name {
		case "redirect":
			name = "landed"
			wantHow["counted"] += n
			wantHow["not_served"] += n // the first leg
		case "limited":
			wantHow["counted"] += a.count(name)
			wantHow["not_served"] += n - a.count(name)
		default:
			wantHow[e.how] += n
		}
		if e.billed && a.count(name) > 0 {
			want[c.license(i)] = a.count(name)
		}
		if e.name != "direct" && a.count(e.name) == 0 && e.name != "twice" && e.name != "missing" {
			t.Errorf("%s never reached the application: the test shows nothing", e.name)
		}
	}
	var got map[string]int64
	eventuallyEqual(t, want, func() any { got = billed(t, s)[first]; return got })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bill (-served +billed), ends in the order of licenses: %v\n%s", ends(), diff)
	}
	gotHow := map[string]int64{}
	for how := range wantHow {
		gotHow[how] = metric(t, s, "weir_checks_resolved_total", `how="`+how+`"`)
	}
	if diff := cmp.Diff(wantHow, gotHow); diff != "" {
		t.Errorf("how checks ended (-want +got):\n%s", diff)
	}
	if n := metric(t, s, "weir_access_log_refused_total"); n != 0 {
		t.Errorf("%d entries were refused", n)
	}
}

func TestB04EveryEntryThatAKilledEnvoyKeptIsUnconfirmed(t *testing.T) {
	a, c := &actor{}, newCrowd(8)
	plan := c.plan()
	plan.App = &sample.App{Web: a}
	s := set(t, plan)
	first := startHour(t, s)
	for range 3 {
		var group sync.WaitGroup
		stop := make(chan struct{})
		for w := range workers {
			group.Go(func() {
				client := http1()
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = do(t.Context(), client, s.Ingress, call{method: http.MethodGet, path: "/v1/reports/200", tenant: c.tenant(w % c.tenants)}) // Envoy dies
					}
				}
			})
		}
		before := a.count("200")
		eventually(t, 20*time.Second, "requests flow", func() bool { return a.count("200") > before+500 })
		s.KillEnvoy()
		close(stop)
		group.Wait()
		must(t, s.StartEnvoy(t.Context()))
	}
	resolved := func(how string) int64 { return metric(t, s, "weir_checks_resolved_total", `how="`+how+`"`) }
	checked := metric(t, s, "weir_decisions_total", `route="reports"`, `reason="allowed"`)
	waiting := metric(t, s, "weir_checks_pending")
	if waiting == 0 {
		t.Error("no entry is missing: the test shows nothing")
	}
	if sum := resolved("counted") + resolved("not_served") + waiting; sum != checked {
		t.Errorf("%d checks were let through, %d have an end or wait for one", checked, sum)
	}
	moveTo(t, s, first.Add(21*time.Minute))
	eventually(t, 30*time.Second, "nothing is waited for any more", func() bool { return metric(t, s, "weir_checks_pending") == 0 })
	counted, lost := resolved("counted"), resolved("unconfirmed")
	if lost != waiting || counted+resolved("not_served")+resolved("unmeasured")+lost != checked {
		t.Errorf("of %d checks %d counted, %d were not served, %d unconfirmed; %d waited",
			checked, counted, resolved("not_served"), lost, waiting)
	}
	moveTo(t, s, first.Add(66*time.Minute))
	var bill int64
	eventuallyEqual(t, counted+lost, func() any { bill = total(billed(t, s)[first]); return bill })
	if served := a.count("200"); bill < served || bill != counted+lost {
		t.Errorf("billed %d, want the %d counted and %d unconfirmed, and at least the %d served", bill, counted, lost, served)
	}
}

// eventuallyEqual waits until got gives what is wanted; the test compares itself, and so shows the difference.
func eventuallyEqual(t *testing.T, want any, got func() any) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cmp.Equal(got(), want) && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
}

// metric is the sum of the samples of a metric that have this label, such as how="counted"; all
// of them where it is empty.
func metric(t *testing.T, s *stage.Stage, name string, labels ...string) int64 {
	t.Helper()
	resp, err := http.Get("http://" + s.Admin + "/metrics")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		sample, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(sample, "{"); base != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(sample, l) }) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		must(t, err)
		sum += n
	}
	return int64(sum)
}
