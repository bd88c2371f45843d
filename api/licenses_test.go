package api

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

func TestLicensesAreListedAndFoundByTheirPercentEncodedKey(t *testing.T) {
	arn := policy.Key("arn:aws:license-manager::294406891311:license:l-1/x")
	held := &shelf{next: "direct:a", held: []License{
		{Key: arn, Product: "acme", Account: "111122223333", Plan: "basic", State: "active", Expires: noon, Confirmed: noon},
		{Key: "8h6s/cust-1", Product: "acme", State: "ended"},
		{Key: "direct:a", Plan: "enterprise", State: "active"},
	}}
	s := empty()
	s.Licenses = held
	c, base := local(t, s)
	_, body := call(t, c, "GET", base+"/v1/licenses?limit=3&after=arn", "")
	want := `{"licenses":[` +
		`{"key":"` + string(arn) + `","product":"acme","account":"111122223333","plan":"basic","state":"active",` +
		`"expires":"2026-03-10T12:00:00Z","confirmed":"2026-03-10T12:00:00Z"},` +
		`{"key":"8h6s/cust-1","product":"acme","account":"","plan":"","state":"ended"},` +
		`{"key":"direct:a","product":"","account":"","plan":"enterprise","state":"active"}],"next":"direct:a"}`
	if strings.TrimSpace(body) != want {
		t.Errorf("%s\nwant\n%s", body, want)
	}
	if held.after != "arn" || held.limit != 3 {
		t.Errorf("asked for %d after %q", held.limit, held.after)
	}
	for _, l := range held.held {
		out, body := call(t, c, "GET", base+"/v1/licenses/"+url.PathEscape(string(l.Key)), "")
		var page LicensePage
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		if out.StatusCode != 200 || !cmp.Equal(page, LicensePage{Licenses: []License{l}}) {
			t.Errorf("%s: %d %s", l.Key, out.StatusCode, body)
		}
	}
}
