package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/marketplace/emulator"
)

const (
	wardCode = "8h6sexykx0r2ei8dxc94vajj8"
	wardID   = "prod-wa4ddxl7e7ktw"
)

// ward is a healthy AWS and a healthy configuration, for tests to break.
type ward struct {
	*testing.T
	aws, dir string
	config   string
	env      []string
}

func newWard(t *testing.T) *ward {
	t.Helper()
	e := emulator.New(emulator.Config{Credentials: "AKIDEXAMPLE:secret"})
	server := httptest.NewServer(e)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	dir, err := os.MkdirTemp("", "ward") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-ended
		server.Close()
		os.RemoveAll(dir)
	})
	w := &ward{T: t, aws: server.URL, dir: dir, config: `
state: DIR/state
listen: {grpc: "unix://DIR/grpc", http: "", admin: "unix://DIR/admin"}
aws: {region: us-east-1, endpoint: AWS}
products:
  acme:
    code: ` + wardCode + `
    id: ` + wardID + `
    model: contractWithConsumption
    dimensions:
      basic: {plan: basic}
      calls: {meters: apiCalls}
features: {apiCalls: {type: metered}}
plans: {basic: {grants: {apiCalls: {included: 10, every: day, then: bill}}}}
identity: [{from: header, name: x-tenant-id, as: tenant}]
tenants: {initech: {account: "111122223333"}}
routes: [{name: all, match: {path: "/**"}, meter: {feature: apiCalls, when: checked}}]
updates: {queues: [AWS/294406891311/weir]}
`}
	w.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
	}
	w.control("PUT", "products/"+wardCode, `{"id": "`+wardID+`", "dimensions": [{"key": "basic", "types": ["Entitled"]}, {"key": "calls", "types": ["ExternallyMetered"]}]}`)
	w.control("PUT", "feeds", `{"eventbridge": {"queue": "weir"}}`)
	w.control("POST", "licenses", `{"product": "`+wardCode+`", "account": "111122223333", "entitlements": [{"dimension": "basic", "value": 1}]}`)
	return w
}

// control makes one call of the emulator's control API.
func (w *ward) control(method, path, body string) []byte {
	w.Helper()
	req, err := http.NewRequest(method, w.aws+"/_control/"+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(resp.Body); err != nil || resp.StatusCode >= 300 {
		w.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, answer.String(), err)
	}
	return answer.Bytes()
}

// deny lets AWS refuse an operation for as long as the test runs.
func (w *ward) deny(operation, code string) {
	w.Helper()
	w.control("POST", "faults", fmt.Sprintf(`{"operation": %q, "kind": "error", "code": %q, "count": -1}`, operation, code))
}

// edit replaces text of the configuration.
func (w *ward) edit(before, after string) {
	w.Helper()
	if !strings.Contains(w.config, before) {
		w.Fatalf("%q is not in the configuration", before)
	}
	w.config = strings.Replace(w.config, before, after, 1)
}

// file writes the configuration and gives its name. It is there whole or as it was: a weir that is starting reads it.
func (w *ward) file() string {
	w.Helper()
	name := filepath.Join(w.dir, "weir.yaml")
	text := strings.NewReplacer("DIR", w.dir, "AWS", w.aws).Replace(w.config)
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		w.Fatal(err)
	}
	return name
}

// opinion is what `weir doctor -json` prints.
type opinion struct {
	OK       bool
	Findings []finding
	Envoy    []string
}

// doctor runs the real binary.
func (w *ward) doctor(args ...string) (code int, r opinion) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "weir", append([]string{"doctor", "-json", "-config", w.file()}, args...)...)
	cmd.Env = w.env
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		w.Fatalf("read report: %v\n%s\n%s", err, out.String(), said.String())
	}
	return cmd.ProcessState.ExitCode(), r
}

// serve runs weir until the test ends.
func (w *ward) serve() {
	w.Helper()
	var log bytes.Buffer
	cmd := exec.Command("weir", "serve", "-config", w.file())
	cmd.Env, cmd.Stderr = w.env, &log
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, r := w.doctor(); slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Check == checkWeir && f.Status == levelOK }) {
			return
		}
		if time.Now().After(until) {
			w.Fatalf("weir is not ready:\n%s", log.String())
		}
	}
}

// of are the findings of a level, as text.
func (r opinion) of(l level) (found []string) {
	for _, f := range r.Findings {
		if f.Status == l {
			found = append(found, f.Check+": "+f.Message)
		}
	}
	return found
}

// complaint is one way to break things, and the one failure that it must lead to.
type complaint struct {
	name  string
	harm  func(w *ward)
	args  []string
	check string
	says  string // part of the failure's message
	level level  // failure where left out
}

func TestDoctorNamesTheCause(t *testing.T) {
	t.Parallel()
	denied := func(operation, code, action string, l level) complaint {
		return complaint{name: "denied " + action, check: checkIAM, says: "IAM does not allow " + action, level: l, harm: func(w *ward) {
			w.edit("listen: {", "registration: {redirect: https://app.example/}\nlisten: {public: 127.0.0.1:0, ")
			w.deny(operation, code)
		}}
	}
	for _, c := range slices.Concat([]complaint{
		{name: "no credentials", check: checkCredentials, says: "AWS does not take the credentials", harm: func(w *ward) { w.env = w.env[:3] }},
		{name: "wrong credentials", check: checkCredentials, says: "AWS does not take the credentials", harm: func(w *ward) {
			w.env = append(w.env[:3:3], "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=wrong")
		}},
		{name: "AWS not reached", check: checkNetwork, says: "AWS can't be reached", harm: func(w *ward) { w.edit("endpoint: AWS", "endpoint: http://127.0.0.1:1") }},
		{name: "role", check: checkIAM, says: "IAM does not allow sts:AssumeRole", harm: func(w *ward) {
			w.edit("endpoint: AWS", "endpoint: AWS, roleArn: arn:aws:iam::111122223333:role/weir")
			w.deny("AssumeRole", "AccessDenied")
		}},
		{name: "clock", check: checkClock, says: "AWS's time less local time is 2h0m", harm: func(w *ward) { w.control("PUT", "clock", `{"advance": "2h"}`) }},
		{name: "clock, a little", check: checkClock, says: "AWS's time less local time is", level: levelWarning, harm: func(w *ward) { w.control("PUT", "clock", `{"advance": "-2m"}`) }},
		{name: "region", check: checkRegion, says: "AWS does not serve aws-marketplace:BatchMeterUsage in us-east-1", harm: func(w *ward) {
			w.control("POST", "faults", `{"operation": "BatchMeterUsage", "kind": "disabled", "count": -1}`)
		}},
		{name: "product code", check: checkListing, says: "the product code of " + wardID + " is " + wardCode + ", not another", harm: func(w *ward) { w.edit(wardCode, "another") }},
		{name: "product id", check: checkListing, says: "AWS knows no product id prod-another", harm: func(w *ward) { w.edit(wardID, "prod-another") }},
		{name: "dimension that AWS does not know", check: checkDimensions, says: "AWS knows no dimension gold", harm: func(w *ward) { w.edit("basic: {plan: basic}", "basic: {plan: basic}\n      gold: {plan: basic}") }},
		{name: "dimension of another type", check: checkDimensions, says: "dimension calls is Entitled on the listing, and used as ExternallyMetered", harm: func(w *ward) {
			w.control("PUT", "products/"+wardCode, `{"dimensions": [{"key": "basic", "types": ["Entitled"]}, {"key": "calls", "types": ["Entitled"]}]}`)
		}},
		{name: "dimension missing in the configuration", check: checkDimensions, says: "dimension gold of the listing is not in the configuration", harm: func(w *ward) {
			w.control("PUT", "products/"+wardCode, `{"dimensions": [{"key": "basic", "types": ["Entitled"]}, {"key": "gold", "types": ["Entitled"]}, {"key": "calls", "types": ["ExternallyMetered"]}]}`)
		}},
		{name: "queue missing", check: checkQueues, says: "AWS knows no queue", harm: func(w *ward) { w.edit("/weir]", "/other]") }},
		{name: "queue not fed", check: checkQueues, says: "/weir is not fed", harm: func(w *ward) { w.control("PUT", "feeds", `{"eventbridge": {"queue": "elsewhere"}}`) }},
		{name: "state not a directory", check: checkState, says: "can't be written", harm: func(w *ward) {
			w.edit("state: DIR/state", "state: "+filepath.Join(w.file(), "state"))
		}},
	},
		[]complaint{
			denied("GetEntitlements", "AccessDeniedException", "aws-marketplace:GetEntitlements", ""),
			denied("BatchMeterUsage", "AccessDeniedException", "aws-marketplace:BatchMeterUsage", ""),
			denied("ResolveCustomer", "AccessDeniedException", "aws-marketplace:ResolveCustomer", ""),
			denied("SearchAgreements", "AccessDeniedException", "aws-marketplace:SearchAgreements", levelWarning),
			denied("GetAgreementTerms", "AccessDeniedException", "aws-marketplace:GetAgreementTerms", levelWarning),
			denied("DescribeEntity", "AccessDeniedException", "aws-marketplace:DescribeEntity", levelWarning),
			denied("GetQueueAttributes", "AccessDenied", "sqs:GetQueueAttributes", levelWarning),
			denied("DeleteMessage", "AccessDenied", "sqs:DeleteMessage", ""),
			denied("ChangeMessageVisibility", "AccessDenied", "sqs:ChangeMessageVisibility", ""),
			denied("ReceiveMessage", "AccessDenied", "sqs:ReceiveMessage", ""),
		}) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			c.harm(w)
			w.wantCause(c)
		})
	}
}

// wantCause wants a complaint's finding, with a cure, and no failure of another kind.
func (w *ward) wantCause(c complaint) {
	w.Helper()
	code, r := w.doctor(c.args...)
	want := cmp.Or(c.level, levelFailure)
	if wantCode := map[level]int{levelFailure: exitError, levelWarning: exitOK}[want]; code != wantCode || r.OK != (code == exitOK) {
		w.Errorf("exit code %d, ok %v, want code %d", code, r.OK, wantCode)
	}
	found := slices.ContainsFunc(r.Findings, func(f finding) bool {
		return f.Check == c.check && f.Status == want && strings.Contains(f.Message, c.says) && f.Hint != ""
	})
	others := slices.DeleteFunc(r.of(levelFailure), func(text string) bool {
		return strings.HasPrefix(text, c.check+": ") || c.check == checkIAM && strings.HasSuffix(text, "can't be read")
	})
	if !found || len(others) > 0 {
		w.Errorf("want %s of %s with %q, and no other failure; got", want, c.check, c.says)
		for _, f := range r.Findings {
			w.Logf("%+v", f)
		}
	}
}

func TestDoctorFindsNothingWhereAllIsWellAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.edit("listen: {", "registration: {redirect: https://app.example/}\nlisten: {public: 127.0.0.1:0, ")
	for range 2 { // a second one shows that the first has received no message
		code, r := w.doctor()
		if code != exitOK || !r.OK || len(r.of(levelFailure)) > 0 {
			t.Errorf("exit code %d: %v", code, r.of(levelFailure))
		}
		for _, want := range []string{
			"credentials: AWS knows weir as arn:aws:iam::294406891311:user/seller", "clock: within a minute", "region: usage is metered in us-east-1",
			"iam: every action", "listing: product acme is the listing " + wardID, "dimensions: product acme has the dimensions",
			"queues: " + w.aws + "/294406891311/weir can be read, and is fed by EventBridge", "writers: nothing was counted yet",
		} {
			if !slices.ContainsFunc(r.of(levelOK), func(text string) bool { return strings.HasPrefix(text, want) }) {
				t.Errorf("%q is not in %q", want, r.of(levelOK))
			}
		}
		if len(r.Envoy) == 0 {
			t.Error("no lines for Envoy")
		}
	}
	if got := string(w.control("GET", "records", "")); strings.TrimSpace(got) != "[]" {
		t.Errorf("usage was sent: %s", got)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory: %v", err)
	}
	w.serve()
	if code, r := w.doctor(); code != exitOK {
		t.Errorf("beside a running weir: exit code %d: %v", code, r.of(levelFailure))
	}
}
