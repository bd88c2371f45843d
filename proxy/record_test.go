package proxy

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/policy"
)

func recording(t *testing.T, choice DecisionLog) (*recorder, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	r, err := newRecorder(choice, slog.New(slog.NewJSONHandler(&out, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return r, &out
}

func TestDecisionsAreLoggedAsChosen(t *testing.T) {
	for choice, want := range map[DecisionLog]int{LogAll: 2, LogDenied: 1, LogNone: 0} {
		r, out := recording(t, choice)
		yes, no := allowed(), exhausted()
		r.decided("GET", &yes, time.Millisecond)
		r.decided("GET", &no, time.Millisecond)
		if got := strings.Count(out.String(), `"msg":"decision"`); got != want {
			t.Errorf("%s: %d lines, want %d:\n%s", choice, got, want, out)
		}
		if choice == LogDenied && !strings.Contains(out.String(), `"reason":"quota_exhausted"`) {
			t.Errorf("the denial is not the line:\n%s", out)
		}
	}
}

func TestDecisionLogIsSampledAndSaysHowManyItLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := recording(t, LogDenied)
		d := exhausted()
		for range 250 {
			r.decided("GET", &d, time.Millisecond)
		}
		if got := strings.Count(out.String(), `"msg":"decision"`); got != 100 {
			t.Errorf("%d lines in a second, want 100", got)
		}
		time.Sleep(time.Second)
		r.decided("GET", &d, time.Millisecond)
		if !strings.Contains(out.String(), `"msg":"decisions left out","count":150`) {
			t.Errorf("nothing says that 150 were left out:\n%s", out.String()[len(out.String())-500:])
		}
		for range 100 {
			r.decided("GET", &d, time.Millisecond)
		}
		r.flush()
		r.flush()
		if got := strings.Count(out.String(), `"msg":"decisions left out","count":1}`); got != 1 {
			t.Errorf("the last one left out is mentioned %d times, want once", got)
		}
		if got := testutil.ToFloat64(r.made.WithLabelValues("reports", "quota_exhausted", "enforce")); got != 351 {
			t.Errorf("%v decisions counted, want 351", got)
		}
	})
}

func TestFailOpenIsCountedByCause(t *testing.T) {
	r, _ := recording(t, LogNone)
	d := policy.Decision{Effect: policy.Allow, Mode: policy.Open, Cause: policy.CauseStale, Reason: policy.EntitlementsStale, Route: "reports"}
	r.decided("GET", &d, time.Millisecond)
	if got := testutil.ToFloat64(r.failOpen.WithLabelValues("reports", "stale")); got != 1 {
		t.Errorf("fail-open counted %v times", got)
	}
	if got := testutil.ToFloat64(r.made.WithLabelValues("reports", "entitlements_stale", "open")); got != 1 {
		t.Errorf("the decision is counted %v times", got)
	}
}

func TestNothingThatTheClientSentIsLogged(t *testing.T) {
	a := newAuthorization(t, func(context.Context, *policy.Request) policy.Decision { panic("bad day") })
	r, out := recording(t, LogAll)
	a.record, a.log = r, r.log
	in := checkOf(map[string]string{"authorization": "Bearer hunter2", "x-tenant-id": "hunter2"})
	in.Attributes.Request.Http.Path = "/v1?key=hunter2"
	if _, err := a.Check(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, `"msg":"decision"`) || strings.Contains(got, "hunter2") {
		t.Errorf("the log holds\n%s", got)
	}
}
