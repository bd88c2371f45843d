package emulator_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/weirhq/weir/marketplace/emulator"
)

func TestAScenarioMakesItsCallsInOrder(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	err := w.emulator.LoadScenario(strings.NewReader(`
- PUT clock: {now: 2026-11-15T12:00:00Z}
- PUT products/acme:
    dimensions:
      - {key: seats, types: [Entitled]}
      - {key: share, types: [Entitled]}
- PUT feeds: {eventbridge: {queue: weir}}
- POST /_control/licenses:
    product: acme
    account: "111122223333"
    licenseArn: arn:aws:license-manager::294406891311:license:l-1
    starts: 2026-11-01T00:00:00Z
    entitlements: [{dimension: seats, value: 5}, {dimension: share, value: 2.0}]
- POST licenses/arn:aws:license-manager::294406891311:license:l-1/suspend:
`))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "held", w.holds("acme", nil), []string{
		"arn:aws:license-manager::294406891311:license:l-1 seats", "arn:aws:license-manager::294406891311:license:l-1 share",
	})
	url := w.queue("weir", nil)
	want(t, "events", kinds(w.events(url)), []string{"Created NEW", "License Updated", "Advisory Issued"})
	status, _ := w.control(http.MethodPost, "licenses/l-1/resume", "")
	want(t, "by id", status, http.StatusOK)
}

func TestABrokenScenarioNamesTheLineAndTheCure(t *testing.T) {
	for _, test := range []struct{ text, says string }{
		{"a: b", `line 1: want a list of calls`},
		{"- PUT clock: {now: 2026-11-15T12:00:00Z}\n- POST licenses: {product: acme}", `line 2: POST licenses: product "acme" does not exist; PUT /_control/products/acme first`},
		{"- POST licenses: {product: acme, account: 111122223333}", `account numbers are texts`},
		{"- clock: {}", `"clock" is no call`},
		{"- PUT clock: {}\n  PUT feeds: {}", `want one call`},
		{"- PUT nothing: {}", `no control call`},
		{"- PUT feeds: &a {b: 1}\n- PUT feeds: *a", `b`},
		{"- PUT products/x: {dimensions: [&a {key: k, types: [Entitled]}, *a]}", `no aliases`},
		{"- PUT clock: {real: true, real: true}", `twice`},
		{"\t", `read scenario`},
	} {
		err := emulator.New(emulator.Config{}).LoadScenario(strings.NewReader(test.text))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: got %v, want %q", test.text, err, test.says)
		}
	}
	if err := emulator.New(emulator.Config{}).LoadScenario(strings.NewReader("# nothing\n")); err != nil {
		t.Errorf("empty: %v", err)
	}
}
