package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func load(t *testing.T, data string) *Config {
	t.Helper()
	c, err := Load("weir.yaml", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// said writes what NotYet finds, one line each, with ! where serve must not start.
func said(c *Config) []string {
	var lines []string
	for _, n := range c.NotYet() {
		mark := " "
		if n.Refuse {
			mark = "!"
		}
		lines = append(lines, mark+n.Path)
	}
	return lines
}

// shop is a small listing; the test adds the route's meter and other sections.
func shop(meter, more string) string {
	return `
products: {acme: {code: a, id: prod-a, model: contractWithConsumption, dimensions: {calls: {meters: calls}}}}
features: {calls: {type: metered}}
routes:
- {name: r, match: {path: /r}, ` + meter + `}
` + more
}

func TestNotYetSaysNothingOfAFileThatSaysNothing(t *testing.T) {
	if got := said(load(t, "")); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestNotYetRefusesNothingOfTheExample(t *testing.T) {
	c := load(t, string(read(t, "testdata/example.good.yaml")))
	if diff := cmp.Diff([]string(nil), said(c)); diff != "" {
		t.Errorf("not yet (-want +got):\n%s", diff)
	}
}

func TestNotYetRefusesOnlyWhereABillOrADecisionWouldChange(t *testing.T) {
	for name, test := range map[string]struct {
		file string
		want []string
	}{
		"a gate":                        {"role: gate\nhub: {address: \"hub:1\"}", []string{"!role", " hub"}},
		"role all":                      {"role: all", nil},
		"a subscription listing":        {"products: {a: {code: a, id: b, model: subscription, plan: p}}\nplans: {p: {}}", nil},
		"a legacy subscription listing": {"products: {a: {code: a, id: b, model: subscription, agreements: legacy, plan: p}}\nplans: {p: {}}", nil},
		"what was served":               {shop("meter: {feature: calls, quantity: {responseHeader: x-n}, reserve: 3}", "metering: {unconfirmed: drop, notBilled: {status: [404]}}"), nil},
		"no zero records":               {"metering: {zero: false}", nil},
		"a public address":              {"listen: {public: \":80\"}\nregistration: {redirect: https://a.example}", nil},
		"no public address":             {"listen: {public: \"\"}", nil},
		"topics":                        {"updates: {sns: {topics: [\"arn:aws:sns:us-east-1:111122223333:t\"]}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, said(load(t, test.file))); diff != "" {
				t.Errorf("not yet (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotYetTellsTheLineOfTheValueOrOfItsParent(t *testing.T) {
	c := load(t, "role: hub\nhub:\n  address: hub:9000")
	var got []string
	for _, n := range c.NotYet() {
		got = append(got, n.Text("weir.yaml"))
	}
	want := []string{
		"weir.yaml:1:7: role: only role all is built",
		"weir.yaml:3:3: hub: hubs and gates are not built yet",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}

func TestEveryRowOfTheTableLeadsToAKey(t *testing.T) {
	if got := len(Pending()); got != len(pendings()) {
		t.Errorf("%d of %d rows are pending", got, len(pendings()))
	}
	c := load(t, string(read(t, "testdata/example.good.yaml")))
	for _, row := range pendings() {
		if c.at(row.key) == nil {
			t.Errorf("the example, which has every key, has no %s", row.key)
		}
	}
}

func TestWarningsNameWhatIsOftenNotMeant(t *testing.T) {
	for name, test := range map[string]struct {
		file string
		want []string
	}{
		"nothing":                          {"", nil},
		"an address that others reach":     {"listen: {grpc: \":9001\", http: \"10.0.0.1:1\", admin: \"[::1]:2\", public: \":443\"}\nregistration: {redirect: https://a.example}", []string{"listen.grpc", "listen.http"}},
		"topics that can't be reached":     {"updates: {sns: {topics: [\"arn:aws:sns:us-east-1:111122223333:t\"]}}", []string{"updates.sns.topics"}},
		"topics with an address":           {"listen: {public: \"127.0.0.1:1\"}\nregistration: {redirect: https://a.example}\nupdates: {sns: {topics: [\"arn:aws:sns:us-east-1:111122223333:t\"]}}", nil},
		"loopback and sockets":             {"listen: {grpc: \"unix:///s\", http: \"localhost:1\", admin: \"127.9.9.9:0\"}", nil},
		"client certificates":              {"listen: {grpc: \":9001\", tls: {cert: c, key: k, clientCA: ca}}", nil},
		"usage that nobody bills":          {strings.Replace(shop("meter: {feature: calls}", ""), "calls: {meters: calls}", "x: {plan: p}", 1) + "plans: {p: {}}", []string{"routes[0].meter.feature"}},
		"a plan that nobody has":           {"plans: {p: {}, q: {extends: p}}", []string{"plans.q"}},
		"a plan that a fixed tenant has":   {"plans: {p: {}}\ntenants: {t: {plan: p}}", nil},
		"many records of 0":                {dimensions(5, ""), []string{"metering.zero"}},
		"as many as AWS takes":             {dimensions(4, ""), nil},
		"many that are not made":           {dimensions(5, "metering: {zero: false}\n"), nil},
		"many in a dry run":                {dimensions(5, "metering: {send: false}\n"), nil},
		"usage that a dimension does bill": {shop("meter: {feature: calls}", ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, w := range load(t, test.file).Warnings() {
				got = append(got, w.Path)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// dimensions is a file whose product has n dimensions that meter.
func dimensions(n int, more string) string {
	file := more + "products:\n  shop:\n    code: c\n    id: prod-x\n    model: contractWithConsumption\n    dimensions:\n"
	features := "features:\n"
	for i := range n {
		file += fmt.Sprintf("      d%d: {meters: f%d}\n", i, i)
		features += fmt.Sprintf("  f%d: {type: metered}\n", i)
	}
	return file + features
}

func TestB16ValidateTellsHowManyLicensesRecordsOfZeroAllow(t *testing.T) {
	var got []string
	for _, w := range load(t, dimensions(6, "")).Warnings() {
		got = append(got, w.Text("weir.yaml"))
	}
	want := []string{`weir.yaml:1:1: metering.zero: product "shop" has 6 dimensions that meter: with more than 75000 licenses its ` +
		`records of 0 are over 450,000 an hour, half of what AWS takes of all records`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestAWarningTellsFileLineAndPath(t *testing.T) {
	got := load(t, "plans:\n  p: {}\n").Warnings()
	if len(got) != 1 || got[0].Text("weir.yaml") != "weir.yaml:2:6: plans.p: no product, plan or tenant has this plan" {
		t.Errorf("got %+v", got)
	}
}

func TestAConfigurationWithoutAFileHasItsFirstLine(t *testing.T) {
	if line, column := Default().Position("listen", "grpc"); line != 1 || column != 1 {
		t.Errorf("got %d:%d", line, column)
	}
}

func TestEnvoyLinesNameWhatTheConfigurationReads(t *testing.T) {
	c := load(t, string(read(t, "testdata/example.good.yaml")))
	want := []string{
		"# access log to weir (HttpGrpcAccessLogConfig)",
		"additional_response_headers_to_log: [ grpc-status, x-tokens-used ]",
		"additional_response_trailers_to_log: [ grpc-status ]",
		"# filter envoy.filters.http.ext_authz",
		"metadata_context_namespaces: [ acme.auth, envoy.filters.http.jwt_authn ]",
	}
	if diff := cmp.Diff(want, c.EnvoyLines()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
