package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// ledgerFile makes a ledger with a frozen row of 7 units and an open one of 5.
func ledgerFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	b, err := metering.OpenJournal(path, metering.DefaultConfig(), metering.Place{}, time.Now, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Date(2026, 3, 10, 14, 0, 0, 0, time.UTC)
	count := func(seq uint64, hour time.Time, n int64) {
		d := metering.Delta{
			License: "arn:license-1", Account: "111122223333", Product: "acme", Feature: "apiCalls", Hour: hour, Quantity: n, Starts: hour.AddDate(-1, 0, 0),
			Terms: policy.Terms{Then: policy.ThenBill, Dimension: "calls", Per: 1},
		}
		if _, err := b.Commit(t.Context(), "w", seq, []metering.Delta{d}); err != nil {
			t.Fatal(err)
		}
	}
	count(1, hour, 7)
	if err := b.Freeze(t.Context(), hour.Add(2*time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	count(2, hour.Add(2*time.Hour), 5)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// weir runs a verb and returns what it printed.
func weir(t *testing.T, args ...string) (out, said string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), &console{out: &o, err: &e, getenv: func(string) string { return "" }}, args)
	return o.String(), e.String(), code
}

func TestB20SalvageShowsRowsAndWhatCanBeDone(t *testing.T) {
	path := ledgerFile(t)
	out, said, code := weir(t, "usage", "salvage", path)
	if code != exitOK || said != "" {
		t.Fatalf("exit code %d: %s", code, said)
	}
	for _, want := range []string{
		"2026-03-10T14:00:00Z  arn:license-1  calls      7      frozen  no      2026-03-10T14:00:00Z  2026-03-11T14:00:00Z",
		"2026-03-10T16:00:00Z  arn:license-1  calls      5      open    no",
		"12 units in 2 rows: AWS was not asked to bill these, and weir will not ask.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant a line with %q", out, want)
		}
	}
	if strings.Contains(out, "can't be read") {
		t.Errorf("of a whole file something can't be read:\n%s", out)
	}
}

func TestB20SalvageOfADamagedFileSaysWhatCantBeRead(t *testing.T) {
	path := ledgerFile(t)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content = bytes.ReplaceAll(content, []byte("111122223333"), []byte("111122223334"))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, said, code := weir(t, "usage", "salvage", "-json", path)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, said)
	}
	var s salvaged
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Rows) != 0 || len(s.Unread) != 3 || len(s.Advice) != 1 {
		t.Errorf("got %s, want no row, three that can't be read (the book, its open hour, the row) and advice", out)
	}
	if !strings.Contains(out, "which AWS takes until 2026-03-11T14:00:00Z") {
		t.Errorf("the deadline of what is lost is not told: %s", out)
	}
}

func TestSalvageOfNoFileHasAHint(t *testing.T) {
	_, said, code := weir(t, "usage", "salvage", filepath.Join(t.TempDir(), "none"))
	if code != exitError || !strings.Contains(said, "hint: damaged ledgers are in the state directory") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if _, _, code := weir(t, "usage", "salvage"); code != exitUsage {
		t.Errorf("without a file: exit code %d", code)
	}
}

func TestB20AVerbLeavesADamagedLedgerWhereItIs(t *testing.T) {
	path := ledgerFile(t)
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte("{state: "+filepath.Dir(path)+", listen: {admin: 127.0.0.1:1}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said, code := weir(t, "usage", "list", "-config", file)
	if code != exitError || !strings.Contains(said, "hint: `weir usage salvage "+path+"`") {
		t.Errorf("exit code %d: %s", code, said)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}
