package api

import (
	"context"
	"strings"
	"testing"

	"github.com/weirhq/weir/metering"
)

func TestReadinessNamesItsReasons(t *testing.T) {
	s := empty()
	s.Ready = func() []Reason { return []Reason{{"no_entitlements", "Nothing was read yet."}} }
	c, base := local(t, s)
	out, body := call(t, c, "GET", base+"/readyz", "")
	want := `{"ready":false,"reasons":[{"reason":"no_entitlements","detail":"Nothing was read yet."}]}`
	if out.StatusCode != 503 || strings.TrimSpace(body) != want {
		t.Errorf("%d %s, want 503 %s", out.StatusCode, body, want)
	}
}

func TestReadinessShowsWarningsWhileItIsReady(t *testing.T) {
	s := empty()
	s.Warnings = func() []Reason { return []Reason{{"ledger_set_aside", "Look at it."}} }
	c, base := local(t, s)
	out, body := call(t, c, "GET", base+"/readyz", "")
	want := `{"ready":true,"reasons":[],"warnings":[{"reason":"ledger_set_aside","detail":"Look at it."}]}`
	if out.StatusCode != 200 || strings.TrimSpace(body) != want {
		t.Errorf("%d %s, want 200 %s", out.StatusCode, body, want)
	}
}

func TestStatusHasTheShapeThatUsersRead(t *testing.T) {
	age := 12.5
	s := empty()
	s.Status = func(context.Context) (Status, error) {
		return Status{
			Sources: map[string]SourceStatus{"acme": {Age: &age, Licenses: 3, State: "fresh"}, "other": {State: "never"}},
			Ledger:  map[metering.State]int64{metering.Open: 2}, Disk: DiskStatus{Error: "disk full", SetAside: []string{"ledger.db.corrupt-1"}},
			Conflicts: []metering.OtherWriter{{Product: "acme", Since: noon, Conflicts: 2, Record: "r1"}}, Clock: ClockStatus{Offset: -1},
			Feeds:  map[string]map[string]int64{"eventbridge": {"changed": 1}},
			Pins:   []Pin{{Tenant: "initech", License: "a", Candidates: []string{"b", "c"}}},
			Listen: map[string]string{"admin": "127.0.0.1:9003"}, Build: Build{"1", "c", "go1"},
		}, nil
	}
	c, base := local(t, s)
	_, body := call(t, c, "GET", base+"/v1/status", "")
	want := `{"sources":{"acme":{"age":12.5,"licenses":3,"state":"fresh"},"other":{"age":null,"licenses":0,"state":"never"}},` +
		`"ledger":{"open":2},"disk":{"writable":false,"error":"disk full","setAside":["ledger.db.corrupt-1"]},` +
		`"conflicts":[{"product":"acme","since":"2026-03-10T12:00:00Z","conflicts":2,"record":"r1"}],"clock":{"offset":-1},"feeds":{"eventbridge":{"changed":1}},` +
		`"pins":[{"tenant":"initech","license":"a","candidates":["b","c"]}],"listen":{"admin":"127.0.0.1:9003"},` +
		`"build":{"version":"1","commit":"c","go":"go1"}}`
	if strings.TrimSpace(body) != want {
		t.Errorf("%s\nwant\n%s", body, want)
	}
}
