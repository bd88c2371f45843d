package proxy

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/policy"
)

func recording(t *testing.T, choice DecisionLog) (*recorder, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	return &recorder{choice: choice, log: slog.New(slog.NewJSONHandler(&out, nil))}, &out
}

func TestDecisionsAreLoggedAsChosen(t *testing.T) {
	for choice, want := range map[DecisionLog]int{LogAll: 2, LogDenied: 1, LogNone: 0} {
		r, out := recording(t, choice)
		yes, no := allowed(), exhausted()
		r.decided("GET", &yes)
		r.decided("GET", &no)
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
			r.decided("GET", &d)
		}
		if got := strings.Count(out.String(), `"msg":"decision"`); got != 100 {
			t.Errorf("%d lines in a second, want 100", got)
		}
		time.Sleep(time.Second)
		r.decided("GET", &d)
		if !strings.Contains(out.String(), `"msg":"decisions left out","count":150`) {
			t.Errorf("nothing says that 150 were left out:\n%s", out.String()[len(out.String())-500:])
		}
		for range 100 {
			r.decided("GET", &d)
		}
		r.flush()
		r.flush()
		if got := strings.Count(out.String(), `"msg":"decisions left out","count":1}`); got != 1 {
			t.Errorf("the last one left out is mentioned %d times, want once", got)
		}
	})
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
