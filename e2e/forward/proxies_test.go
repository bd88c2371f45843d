package forward

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/kit"
	"github.com/weirhq/weir/internal/sample"
	"github.com/weirhq/weir/internal/stage"
)

// proxy is one of those that ask by forward-auth, and what it can't pass on.
type proxy struct {
	start func(t *testing.T, w *world)
	// body tells that a denial's body reaches the client; else the configuration makes one of its reason.
	body bool
	// quota tells that RateLimit reaches the client of a request that is let through.
	quota bool
	// headers tells that weir is told all of a client's headers.
	headers bool
	// errors tells that the reason of a 503 reaches the client.
	errors bool
}

func proxies() map[string]proxy {
	return map[string]proxy{
		"nginx": {quota: true, headers: true, errors: true, start: func(t *testing.T, w *world) {
			conf := w.write(t, "nginx.conf", read(t, examplesDir+"/nginx.conf"))
			w.start(t, "nginx", kit.Program(t, "nginx"), "-p", w.dir, "-c", conf, "-g", "daemon off; user root;") // another could not enter the test's directory
		}},
		"Caddy": {body: true, headers: true, errors: true, start: func(t *testing.T, w *world) {
			conf := w.write(t, "Caddyfile", read(t, examplesDir+"/Caddyfile"))
			w.start(t, "caddy", kit.Program(t, "caddy"), "run", "--config", conf)
		}},
		"Traefik": {body: true, headers: true, errors: true, start: func(t *testing.T, w *world) {
			conf := w.write(t, "traefik.yaml", read(t, examplesDir+"/traefik.yaml"))
			w.write(t, "traefik-routes.yaml", read(t, examplesDir+"/traefik-routes.yaml"))
			w.start(t, "traefik", kit.Program(t, "traefik"), "--configFile="+conf)
		}},
		"Envoy": {body: true, quota: true, start: func(t *testing.T, w *world) {
			conf := w.write(t, "envoy.yaml", overHTTP(t))
			binary, err := stage.FindEnvoy(os.Getenv("WEIR_ENVOY"))
			if err != nil {
				t.Skipf("%v: `make envoy` fetches it", err)
			}
			w.start(t, "envoy", binary, "-c", conf, "--concurrency", "2", "--use-dynamic-base-id", "-l", "warning")
		}},
	}
}

// overHTTP is the example of Envoy with the filter of the guide in the place of that for gRPC,
// and the guide's cluster beside the others.
func overHTTP(t *testing.T) string {
	t.Helper()
	blocks := fenced(t, guides+"/envoy-http.md", "yaml")
	if len(blocks) != 2 {
		t.Fatalf("the guide has %d blocks, want the filter and the cluster", len(blocks))
	}
	before, rest, _ := strings.Cut(examples.Envoy, "          - name: envoy.filters.http.ext_authz\n")
	_, after, _ := strings.Cut(rest, "          - name: envoy.filters.http.router\n")
	text := before + indented(blocks[0], "          ") + "          - name: envoy.filters.http.router\n" + after
	text = strings.Replace(text, "  - name: app\n", indented(blocks[1], "  ")+"  - name: app\n", 1)
	return strings.Replace(text, "port_value: 9901", "port_value: 0", 1)
}

func indented(block, by string) string {
	return by + strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n"+by) + "\n"
}

const (
	initech = "arn:aws:license-manager::294406891311:license:l-00000000000000000000000000000001"
	tenant  = "x-tenant-id: initech"
)

// few has a quota that is soon used up.
func few() string { return strings.ReplaceAll(examples.Weir, "included: 100", "included: 3") }

func each(t *testing.T, plan stage.Plan, test func(t *testing.T, p proxy, w *world)) {
	t.Helper()
	number := 0
	for name, p := range proxies() {
		number++
		plan.Number = number
		t.Run(name, func(t *testing.T) {
			w := set(t, plan)
			p.start(t, w)
			test(t, p, w)
		})
	}
}

func TestRealProxiesLetThroughAndRefuseWhatWeirDoes(t *testing.T) {
	each(t, stage.Plan{Config: few()}, func(t *testing.T, p proxy, w *world) {
		for _, tt := range []struct {
			method, path string
			headers      []string
			status       int
			reason       string
		}{
			{"GET", "/healthz", nil, 200, "public"},
			{"HEAD", "/healthz", nil, 200, ""},
			{"GET", "/v1/held", []string{tenant}, 200, "allowed"},
			{"GET", "/v1/held?a=/../b", []string{tenant}, 200, "allowed"},
			{"DELETE", "/v1/held", []string{tenant}, 200, "allowed"},
			{"OPTIONS", "/v1/held", []string{tenant}, 200, "allowed"},
			{"GET", "/v1/beta/x", []string{tenant}, 200, "shadow; reason=feature_missing"},
			{"GET", "/v1/held", nil, 401, "identity_missing"},
			{"GET", "/v1/held", []string{"x-tenant-id: a b"}, 401, "identity_missing"},
			{"GET", "/v1/held", []string{tenant, "x-tenant-id: globex"}, 401, "identity_missing"},
			{"GET", "/v1/held", []string{"x-tenant-id: umbrella"}, 402, "license_missing"},
			{"GET", "/v1/sso/login", []string{tenant}, 403, "feature_missing"},
			{"GET", "/nowhere", []string{tenant}, 403, "route_unmatched"},
			{"DELETE", "/v1/reports/7", []string{tenant}, 403, "route_unmatched"},
			{"POST", "/v1/import", []string{tenant, "x-rows: many", "content-length: 0"}, 400, "quantity_invalid"},
			{"POST", "/v1/import", []string{tenant, "x-rows: 4", "content-length: 0"}, 429, "quota_exhausted"},
		} {
			got := w.do(t, tt.method, tt.path, tt.headers...)
			if got.status != tt.status {
				t.Errorf("%s %s %q: got %d %s, want %d", tt.method, tt.path, tt.headers, got.status, got.body, tt.status)
				continue
			}
			switch {
			case tt.method == "HEAD":
			case got.status == http.StatusOK:
				said, _ := got.json(t)["weir"].(map[string]any)
				if said["x-weir-decision"] != tt.reason {
					t.Errorf("%s %s: the application was told %v, want %q", tt.method, tt.path, said, tt.reason)
				}
			default:
				problem := got.json(t)
				if problem["reason"] != tt.reason || problem["type"] != "urn:weir:reason:"+tt.reason || problem["status"] != float64(tt.status) {
					t.Errorf("%s %s: the client was told %s", tt.method, tt.path, got.body)
				}
				if _, told := problem["detail"]; told != p.body || got.header.Get("content-type") != "application/problem+json" {
					t.Errorf("%s %s: %s, %v", tt.method, tt.path, got.body, got.header)
				}
			}
		}
		got := w.do(t, "GET", "/v1/held", append(many(101), tenant)...)
		if want := map[bool]int{true: 431, false: 200}[p.headers]; got.status != want {
			t.Errorf("more than 100 headers: got %d %s, want %d", got.status, got.body, want)
		}
	})
}

// many are header lines of different names.
func many(n int) (headers []string) {
	for i := range n {
		headers = append(headers, fmt.Sprintf("x-h-%d: 1", i))
	}
	return headers
}

func TestAQuotaIsCountedAtTheCheckAndItsEndReachesTheClient(t *testing.T) {
	each(t, stage.Plan{Config: few()}, func(t *testing.T, p proxy, w *world) {
		for i := 1; i <= 5; i++ {
			got := w.do(t, "GET", "/v1/reports/7", tenant)
			if want := map[bool]int{true: 200, false: 429}[i <= 3]; got.status != want {
				t.Fatalf("request %d: got %d %s, want %d", i, got.status, got.body, want)
			}
			left := fmt.Sprintf(`"apiCalls";r=%d;t=`, max(3-i, 0))
			if got.status == http.StatusOK && !p.quota {
				left = ""
			}
			if shown := got.header.Get("ratelimit"); !strings.HasPrefix(shown, left) || left == "" && shown != "" {
				t.Errorf("request %d: RateLimit %q, want %s", i, shown, left)
			}
			if got.status == 429 && (got.header.Get("retry-after") == "" || !strings.HasPrefix(got.header.Get("ratelimit-policy"), `"apiCalls";q=3;w=`)) {
				t.Errorf("request %d: %v", i, got.header)
			}
		}
		if served := w.App.Served(func(path string) bool { return path == "/v1/reports/7" }); served[initech] != 3 {
			t.Errorf("the application served %v, want 3", served)
		}
	})
}

func TestHeadersInWeirsNameNeverComeFromAClient(t *testing.T) {
	each(t, stage.Plan{}, func(t *testing.T, _ proxy, w *world) {
		forged := []string{
			"x-weir-tenant: globex", "X-Weir-Plan: enterprise", "x-weir-plan: more", "x-weir-license: l-1", "x-weir-account: 1",
			"x-weir-decision: allowed", "x-weir-reason: x", "x-weir-caller: x",
			"X-Forwarded-Uri: /healthz", "X-Forwarded-Method: GET", "X-Original-URL: http://h/healthz", "X-Original-Method: GET",
		}
		got := w.do(t, "GET", "/v1/reports/7", append(forged, tenant)...)
		want := map[string]any{
			"x-weir-tenant": "initech", "x-weir-account": "111122223333", "x-weir-license": initech,
			"x-weir-plan": "basic", "x-weir-decision": "allowed",
		}
		if diff := cmp.Diff(want, got.json(t)["weir"]); diff != "" || got.status != http.StatusOK {
			t.Errorf("%d: the application was told (-want +got):\n%s", got.status, diff)
		}
		got = w.do(t, "GET", "/healthz", forged...)
		if diff := cmp.Diff(map[string]any{"x-weir-decision": "public"}, got.json(t)["weir"]); diff != "" {
			t.Errorf("of nobody the application was told (-want +got):\n%s", diff)
		}
		if got = w.do(t, "GET", "/v1/sso/x", append(forged, tenant)...); got.status != http.StatusForbidden {
			t.Errorf("with a forged path of a public route: %d %s", got.status, got.body)
		}
	})
}

func TestNoSpellingOfAPathGetsALessStrictRouteByForwardAuth(t *testing.T) {
	each(t, stage.Plan{}, func(t *testing.T, _ proxy, w *world) {
		for _, path := range []string{
			"/v1/sso/login", "/v1//sso/login", "//v1/sso/login", "/v1/./sso/login", "/v1/reports/../sso/login", "/v1/%73so/login",
			"/v1/%2573so/login", "/v1/reports/%2e%2e/sso/login", "/v1/reports/..%2fsso/login", "/v1/reports%2f..%2fsso/login",
			`/v1/reports/..\sso/login`, "/v1/sso;v=1/login", "/v1/reports/..;/sso/login", "/healthz/../v1/sso/login",
			"/healthz/%2e%2e/v1/sso/login", "/healthz/..;/v1/sso/login", "/healthz%2f..%2fv1/sso/login", "/v1/sso/%00login",
			"/v1/sso/login%", "/v1/sso", "http://other/v1/sso/login", "/healthz/../v1/sso/login#/healthz", "/v1/sso/login?x=/healthz",
		} {
			if got := w.do(t, "GET", path, tenant); got.status == http.StatusOK {
				t.Errorf("%s reached the application: %s", path, got.body)
			}
		}
	})
}

func TestWithoutWeirNothingPasses(t *testing.T) {
	each(t, stage.Plan{}, func(t *testing.T, p proxy, w *world) {
		w.KillWeir()
		if got := w.do(t, "GET", "/healthz"); got.status < 500 {
			t.Errorf("got %d %s", got.status, got.body)
		}
		must(t, w.StartWeir(t.Context()))
		if got := w.do(t, "GET", "/healthz"); got.status != http.StatusOK {
			t.Errorf("when it is back: got %d %s", got.status, got.body)
		}
	})
}

func TestBodiesGoToTheApplicationAndNotToWeir(t *testing.T) {
	const size = 2 << 20 // more than weir takes
	app := &sample.App{Web: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Method, " ", n, " ", err)
	})}
	each(t, stage.Plan{App: app}, func(t *testing.T, _ proxy, w *world) {
		client := http.Client{Timeout: time.Minute}
		request, err := http.NewRequestWithContext(t.Context(), "PUT", "http://"+w.Ingress+"/v1/held", strings.NewReader(strings.Repeat("x", size)))
		must(t, err)
		request.Header.Set("X-Tenant-Id", "initech")
		resp, err := client.Do(request)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		if want := fmt.Sprint("PUT ", size, " <nil>"); string(body) != want {
			t.Errorf("got %d %s, want %s", resp.StatusCode, body, want)
		}
	})
}

func TestProxiesShowTheCallersTokenAndTakeItAway(t *testing.T) {
	if leads := elsewhere(t); leads != "" {
		t.Skipf("weir has to listen where %s leads to others: `make test-real` runs this in a network of its own", leads)
	}
	configuration := strings.Replace(examples.Weir, "http: 127.0.0.1:9002", "http: 0.0.0.0:9002", 1)
	shown := map[string]func(string) string{
		"nginx": func(text string) string {
			at := strings.LastIndex(text, `X-Weir-Caller ""`)
			return text[:at] + strings.Replace(text[at:], `""`, "secret", 1)
		},
		"Caddy": func(text string) string {
			return strings.Replace(text, "# header_up X-Weir-Caller {env.WEIR_TOKEN} ", "header_up X-Weir-Caller secret #", 1)
		},
		"Traefik": func(text string) string {
			text = strings.Replace(text, "middlewares: [weir]", "middlewares: [token, weir]", 1)
			return strings.Replace(text, "  middlewares:\n", "  middlewares:\n    token: {headers: {customRequestHeaders: {X-Weir-Caller: secret}}}\n", 1)
		},
		"Envoy": func(text string) string {
			return strings.Replace(text, "# authorization_request: {headers_to_add: [{key: x-weir-caller, value: TOKEN}]}",
				"authorization_request: {headers_to_add: [{key: x-weir-caller, value: secret}]} #", 1)
		},
	}
	for name, p := range proxies() {
		t.Run(name, func(t *testing.T) {
			w := set(t, stage.Plan{Config: configuration, Env: []string{"WEIR_TOKEN=secret"}})
			w.change = shown[name]
			p.start(t, w)
			got := w.do(t, "GET", "/v1/held", tenant, "x-weir-caller: forged")
			said, _ := got.json(t)["weir"].(map[string]any)
			if _, leaked := said["x-weir-caller"]; got.status != http.StatusOK || leaked {
				t.Errorf("%d: the application was told %v", got.status, said)
			}
		})
	}
}

// elsewhere is an interface that leads to other machines; empty in a network of one's own.
func elsewhere(t *testing.T) string {
	t.Helper()
	interfaces, err := net.Interfaces()
	must(t, err)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	return ""
}

func TestWhatNginxDeniesByItselfIsNoFaultOfWeirs(t *testing.T) {
	w := set(t, stage.Plan{})
	w.change = func(text string) string {
		return strings.Replace(text, "proxy_pass http://app;", "limit_except GET { deny all; } proxy_pass http://app;", 1)
	}
	proxies()["nginx"].start(t, w)
	got := w.do(t, "DELETE", "/v1/held", tenant)
	if got.status != http.StatusForbidden || strings.Contains(got.body, "urn:weir") {
		t.Errorf("what nginx denies: got %d %s", got.status, got.body)
	}
	if got = w.do(t, "GET", "/v1/held", tenant); got.status != http.StatusOK {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
