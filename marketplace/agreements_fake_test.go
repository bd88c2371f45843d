package marketplace

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// agreed is an agreement of the fake Agreement API.
type agreed struct {
	id, account, license string
	status               string // ACTIVE when empty
	starts, ends         time.Time
	behavior             string
	updated              time.Time
}

// agreementAPI is a SearchAgreements of the tests' own: it filters, and gives two agreements a page,
// in the order of the list.
type agreementAPI struct {
	mu       sync.Mutex
	list     []agreed
	searches []map[string]string // the filters of each call, with its Sort
	failure  string              // an error code that every call gets
	pages    []cbor.Map          // given instead, one after the other, the last again and again
}

// newAgreementAPI is a world around the fake.
func newAgreementAPI(t *testing.T, list ...agreed) (*world, *agreementAPI) {
	t.Helper()
	api := &agreementAPI{list: list}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return connectTo(t, server.URL), api
}

func (a *agreementAPI) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// asked are the filters of all calls so far.
func (a *agreementAPI) asked() []map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.searches)
}

func (a *agreementAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	decoded, oops := cbor.Decode(body)
	in, ok := decoded.(cbor.Map)
	if err != nil || oops != nil || !ok || r.URL.Path != "/service/AWSMPCommerceService_v20200301/operation/SearchAgreements" {
		http.Error(w, "no SearchAgreements", http.StatusNotFound)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	status, out := a.answer(in)
	w.Header().Set("Content-Type", "application/cbor")
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header()["Date"] = nil // the tests move the clock themselves
	w.WriteHeader(status)
	_, _ = w.Write(cbor.Encode(out))
}

func (a *agreementAPI) answer(in cbor.Map) (int, cbor.Map) {
	asked := map[string]string{}
	for _, f := range in["filters"].(cbor.List) {
		m := f.(cbor.Map)
		asked[text(m["name"])] = text(m["values"].(cbor.List)[0])
	}
	sort := in["sort"].(cbor.Map)
	asked["Sort"] = text(sort["sortBy"]) + " " + text(sort["sortOrder"])
	a.searches = append(a.searches, asked)
	switch {
	case a.failure != "":
		return http.StatusForbidden, cbor.Map{"__type": cbor.String(a.failure), "message": cbor.String("no")}
	case len(a.pages) > 0:
		page := a.pages[0]
		if len(a.pages) > 1 {
			a.pages = a.pages[1:]
		}
		return http.StatusOK, page
	}
	var found []agreed
	for _, g := range a.list {
		if g.passes(asked) {
			found = append(found, g)
		}
	}
	at, _ := strconv.Atoi(text(in["nextToken"]))
	out := cbor.Map{"agreementViewSummaries": cbor.List{}}
	for i := at; i < min(at+2, len(found)); i++ {
		out["agreementViewSummaries"] = append(out["agreementViewSummaries"].(cbor.List), found[i].summary())
	}
	if at+2 < len(found) {
		out["nextToken"] = cbor.String(strconv.Itoa(at + 2))
	}
	return http.StatusOK, out
}

func text(v cbor.Value) string {
	s, _ := v.(cbor.String)
	return string(s)
}

func (g agreed) passes(filters map[string]string) bool {
	for name, value := range filters {
		at, _ := time.Parse(time.RFC3339, value)
		switch {
		case name == "Status" && g.state() != value,
			name == "LicenseArn" && g.license != value,
			name == "AcceptorAccountId" && g.account != value,
			name == "BeforeEndTime" && (g.ends.IsZero() || !g.ends.Before(at)),
			name == "AfterLastUpdateTime" && !g.updated.After(at):
			return false
		}
	}
	return true
}

func (g agreed) state() string {
	if g.status == "" {
		return "ACTIVE"
	}
	return g.status
}

func (g agreed) summary() cbor.Map {
	m := cbor.Map{
		"agreementId": cbor.String(g.id), "status": cbor.String(g.state()), "agreementType": cbor.String("PurchaseAgreement"),
		"acceptor": cbor.Map{"accountId": cbor.String(g.account)}, "entitlements": cbor.List{},
	}
	if g.license != "" {
		m["entitlements"] = cbor.List{cbor.Map{"licenseArn": cbor.String(g.license)}}
	}
	if g.behavior != "" {
		m["endTimeBehaviorType"] = cbor.String(g.behavior)
	}
	for name, at := range map[string]time.Time{"startTime": g.starts, "endTime": g.ends, "lastUpdateTime": g.updated} {
		if !at.IsZero() {
			m[name] = &cbor.Tag{ID: 1, Value: cbor.Uint(at.Unix())}
		}
	}
	return m
}
