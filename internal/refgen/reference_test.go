package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheReferenceInDocsIsCurrent(t *testing.T) {
	want, err := reference("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/configuration.md is stale: go run ./internal/refgen > docs/configuration.md\n%s", diff)
	}
}

func TestTheReferenceTellsKindDefaultAndMeaning(t *testing.T) {
	page, err := reference("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n## role\n\n`role` is what this process does: all, hub or gate.\nIt is all, hub, gate; default: `all`.\n",
		"| `updates.sweep` | duration | `15m` |",
		"| `products.<name>.code` | text | required | `code` is the product code of the listing. |",
		"| `routes[].meter.quantity` | number or text or mapping | `1` |",
		"| `plans.<name>.grants.<name>.every` | hour, day, month, term | `month` |",
		"| `metering.notBilled.status` | list | `[500-599]` |",
		"- `role`: only role all is built",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the reference lacks %q", want)
		}
	}
}

func TestCheckFailsOnAStaleReference(t *testing.T) {
	stale := filepath.Join(t.TempDir(), "configuration.md")
	if err := os.WriteFile(stale, []byte("# Configuration\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run("../..", "configuration", stale); err == nil || !strings.Contains(err.Error(), "is stale") {
		t.Errorf("got %v", err)
	}
}

func TestDurationsAreWrittenShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		15 * time.Minute: "15m", 24 * time.Hour: "24h", 90 * time.Minute: "1h30m", time.Second: "1s", 0: "0s", time.Minute + time.Second: "1m1s",
	} {
		if got := shortest(d); got != want {
			t.Errorf("shortest(%d) = %s, want %s", d, got, want)
		}
	}
}
