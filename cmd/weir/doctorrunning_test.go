package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weirhq/weir/metering"
)

func TestDoctorFindsAStateThatIsInMemory(t *testing.T) {
	t.Parallel()
	const tmpfs = 0x01021994 // statfs(2), TMPFS_MAGIC
	var at syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &at); err != nil || at.Type != tmpfs {
		t.Skip("/dev/shm is no tmpfs here")
	}
	dir, err := os.MkdirTemp("/dev/shm", "weir")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := newWard(t)
	w.edit("DIR/state", filepath.Join(dir, "state"))
	w.wantCause(complaint{check: checkState, says: "is on an ephemeral volume: tmpfs at /dev/shm"})
}

func TestTheMountTableTellsWhatLasts(t *testing.T) {
	const table = `22 1 0:20 / / rw,relatime - overlay overlay rw,upperdir=/x
30 22 8:1 / /var rw,relatime shared:1 - ext4 /dev/sda1 rw
31 30 8:1 /lib/kubelet/pods/0a/volumes/kubernetes.io~empty-dir/state /var/lib/weir rw - ext4 /dev/sda1 rw
32 30 0:40 / /var/run\040time rw - tmpfs tmpfs rw
33 30 8:2 / /var/data rw - tmpfs tmpfs rw
34 30 8:2 / /var/data rw - xfs /dev/sdb rw
not a mount`
	for path, want := range map[string]string{
		"/weir":            "a container's own layer",
		"/var/lib":         "",
		"/var/lib/weir/x":  "emptyDir",
		"/var/lib/weirdly": "",
		"/var/run time":    "memory",
		"/var/data":        "", // the later mount hides the earlier one
	} {
		m, err := mountOf(strings.NewReader(table), path)
		if got := m.ephemeral(); err != nil || (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
	if _, err := mountOf(strings.NewReader(""), "/x"); err == nil {
		t.Error("an empty table holds a path")
	}
}

func TestB21DoctorFindsAnotherWriterAndB17AnotherPlace(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	s := newShop(t)
	s.lose(2, lastHour(), metering.Duplicate)
	w.edit("DIR/state", s.cfg.State)
	w.wantCause(complaint{check: checkWriters, says: "product acme: AWS held another quantity than 2 of its records"})
	w.edit("region: us-east-1", "region: eu-central-1")
	_, r := w.doctor()
	if !slices.ContainsFunc(r.of(levelFailure), func(text string) bool {
		return strings.HasPrefix(text, "region: ") && strings.Contains(text, "us-east-1")
	}) {
		t.Errorf("got %q", r.of(levelFailure))
	}
}

// unstripped stands for an Envoy that asks weir and strips nothing; stripped for one that does.
func (w *ward) unstripped() (url string) { return w.envoy("nothing") }
func (w *ward) stripped() (url string)   { return w.envoy("x-weir-") }

// envoy asks weir about each request, without the headers that begin so.
func (w *ward) envoy(strips string) (url string) {
	w.Helper()
	conn, err := grpc.NewClient("unix:"+filepath.Join(w.dir, "grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		headers := map[string]string{"x-tenant-id": "initech"}
		for name := range r.Header {
			if name := strings.ToLower(name); !strings.HasPrefix(name, strips) {
				headers[name] = r.Header.Get(name)
			}
		}
		_, err := authv3.NewAuthorizationClient(conn).Check(r.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Method: r.Method, Host: r.Host, Path: r.URL.Path, Headers: headers,
			}},
		}})
		if err != nil {
			w.Error(err)
		}
	}))
	w.Cleanup(func() {
		server.Close()
		conn.Close()
	})
	return server.URL + "/"
}

func TestDoctorFindsHeadersThatEnvoyLetsPass(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.serve()
	deaf := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(deaf.Close)
	w.wantCause(complaint{args: []string{"-url", deaf.URL}, check: checkHeaders, says: "no check reached weir"})
	w.wantCause(complaint{args: []string{"-url", w.unstripped()}, check: checkHeaders, says: "x-weir-* is not stripped: since weir started 1 checks"})
	w.wantCause(complaint{args: []string{"-url", w.stripped()}, check: checkHeaders, says: "x-weir-* was stripped just now", level: levelWarning})
	w.wantCause(complaint{check: checkHeaders, says: "x-weir-* is not stripped"})
}

func TestB04DoctorFindsThatNoAccessLogEntryCame(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.edit("when: checked", "when: served")
	w.serve()
	resp, err := http.Get(w.unstripped())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	w.wantCause(complaint{check: checkAccessLog, says: "not arriving: 1 requests were let through"})
}

// pretend is the admin address of a weir with these metrics, that is ready unless reasons say otherwise.
func (w *ward) pretend(metrics, reasons string) (url string) {
	w.Helper()
	mux := http.NewServeMux()
	answer := func(path, body string) {
		mux.HandleFunc(path, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, body) })
	}
	answer("/v1/status", `{"sources": {}, "conflicts": [], "build": {"version": "v1"}}`)
	answer("/readyz", fmt.Sprintf(`{"ready": %t, "reasons": [%s]}`, reasons == "", reasons))
	typed, last := "", ""
	for line := range strings.Lines(metrics) {
		if name := line[:strings.IndexAny(line, "{ ")]; name != last {
			typed, last = typed+"# TYPE "+name+" gauge\n", name
		}
		typed += line
	}
	answer("/metrics", typed)
	server := httptest.NewServer(mux)
	w.Cleanup(server.Close)
	return server.URL
}

func TestDoctorReadsARunningWeirsMetrics(t *testing.T) {
	t.Parallel()
	long := fmt.Sprintf("process_start_time_seconds %d\n", time.Now().Add(-48*time.Hour).Unix())
	const fed = "weir_updates_total{feed=\"eventbridge\",kind=\"changed\"} 1\n"
	resolved := func(how string, n int) string { return fmt.Sprintf("weir_checks_resolved_total{how=%q} %d\n", how, n) }
	for _, c := range []struct {
		complaint
		metrics, reasons string
	}{
		{complaint{name: "no entry yet", check: checkAccessLog, says: "not arriving: 7 requests"}, fed + "weir_checks_pending 7\n" + resolved("counted", 0), ""},
		{complaint{name: "no entry came", check: checkAccessLog, says: "not arriving: 5 requests"}, fed + resolved("unconfirmed", 5), ""},
		{complaint{name: "entries without token", check: checkAccessLog, says: "without the callers' token: 4"}, fed + resolved("unconfirmed", 5) + "weir_access_log_refused_total{why=\"caller\"} 4\n", ""},
		{complaint{name: "some entries missing", check: checkAccessLog, says: "of 20 requests no entry came, of 100", level: levelWarning}, fed + resolved("unconfirmed", 20) + resolved("counted", 90) + resolved("not_served", 10), ""},
		{complaint{name: "no more entries", check: checkAccessLog, says: "not arriving any more: 90 requests"}, fed + resolved("counted", 90) + "weir_access_log_silent 1\n", ""},
		{complaint{name: "not fed", check: checkQueues, says: "not fed: 3 changes"}, long + "weir_sweep_repairs_total{product=\"acme\"} 3\n", ""},
		{complaint{name: "quiet", check: checkQueues, says: "not one message has come in 48h", level: levelWarning}, long, ""},
		{complaint{name: "disk", check: checkState, says: "the ledger can't be written: no space left"}, fed, `{"reason": "ledger", "detail": "no space left"}`},
		{complaint{name: "place", check: checkRegion, says: "eu-central-1"}, fed, `{"reason": "place", "detail": "records of eu-central-1 are unsettled"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			w.edit("when: checked", "when: served")
			c.args = []string{"-admin", w.pretend(c.metrics, c.reasons)}
			w.wantCause(c.complaint)
		})
	}
}

func TestDoctorPrintsATableWithCures(t *testing.T) {
	s := newShop(t)
	s.cfg.AWS.Endpoint = "http://127.0.0.1:1"
	d := &diagnosis{cfg: s.cfg}
	d.ok(checkClock, "fine")
	d.fail(checkIAM, "allow it", "IAM does not allow %s", "sqs:ReceiveMessage")
	d.fail(checkIAM, "allow it", "IAM does not allow %s", "sqs:ReceiveMessage")
	var out bytes.Buffer
	if err := d.show(&out, false); err != nil {
		t.Fatal(err)
	}
	want := "ok       clock         fine\nfailure  iam           IAM does not allow sqs:ReceiveMessage\n                       hint: allow it\n\nfailures: 1, warnings: 0. Envoy needs:\n\n"
	if !strings.HasPrefix(out.String(), want) || !strings.Contains(out.String(), "additional_response_trailers_to_log") {
		t.Errorf("got:\n%s", out.String())
	}
}

func TestDoctorEndsWithTheMistakesOfTheConfiguration(t *testing.T) {
	s := newShop(t)
	if err := os.WriteFile(s.file, []byte("aws: {region: us-gov-west-1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	code := run(context.Background(), &console{&out, &said, func(string) string { return "" }}, []string{"doctor", "-config", s.file})
	if code != exitError || !strings.Contains(said.String(), "usage can't be metered in region") {
		t.Errorf("exit code %d:\n%s", code, said.String())
	}
}
