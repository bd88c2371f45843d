package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// shop is a configuration file with a state of its own, and no weir that runs.
type shop struct {
	*testing.T
	file string
	cfg  *config.Config
}

func newShop(t *testing.T) *shop {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "weir.yaml")
	text := "state: " + filepath.Join(dir, "state") + `
listen: {grpc: "127.0.0.1:0", http: "", admin: "unix://` + filepath.Join(dir, "admin") + `"}
products:
  acme: {code: c0de, id: prod-acme, model: contractWithConsumption, dimensions: {calls: {meters: apiCalls}}}
features: {apiCalls: {type: metered}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return &shop{t, file, cfg}
}

// ledger opens the shop's ledger for as long as do runs.
func (s *shop) ledger(do func(*metering.Journal) error) {
	s.Helper()
	l, err := openLedger(metering.OpenJournal, s.cfg, now, slog.New(slog.DiscardHandler), nil)
	if err == nil {
		err = do(l)
	}
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		s.Fatal(err)
	}
}

// lose lets n records of an hour, of 1 to n units, be answered, and one more stay frozen.
func (s *shop) lose(n int, hour time.Time, answer metering.Answer) {
	s.Helper()
	s.ledger(func(l *metering.Journal) error {
		var deltas []metering.Delta
		for i := range n + 1 {
			deltas = append(deltas, metering.Delta{
				License: policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%d", i)), Account: "111122223333", Product: "acme", Feature: "apiCalls",
				Hour: hour, Quantity: int64(i + 1), First: hour, Starts: hour.Add(-time.Hour), Terms: policy.Terms{Then: policy.ThenBill, Dimension: "calls", Per: 1},
			})
		}
		at := hour.Add(66 * time.Minute)
		_, err := l.Commit(s.Context(), "w", uint64(hour.Unix()), deltas)
		if err == nil {
			err = l.Freeze(s.Context(), at, nil)
		}
		due, dueErr := l.Due(s.Context(), at, n+10)
		if err != nil || dueErr != nil {
			return fmt.Errorf("%w, %w", err, dueErr)
		}
		var lost []metering.Record
		for _, r := range due {
			if r.Timestamp.Truncate(time.Hour).Equal(hour) && r.Quantity <= int64(n)*1_000_000 {
				lost = append(lost, r)
			}
		}
		outcomes := make([]metering.Outcome, len(lost))
		err = l.Sending(s.Context(), at, lost)
		for i := range lost {
			lost[i].State, outcomes[i] = metering.Sent, metering.Outcome{Answer: answer, Error: "AWS's word, \"quoted\""}
		}
		if err == nil {
			_, err = l.Settle(s.Context(), at, lost, outcomes)
		}
		return err
	})
}

// weir runs the command.
func (s *shop) weir(args ...string) (code int, out, said string) {
	s.Helper()
	var stdout, stderr bytes.Buffer
	words := append(args[:2:2], "-config", s.file)
	code = run(context.Background(), &console{&stdout, &stderr, func(string) string { return "" }}, append(words, args[2:]...))
	return code, stdout.String(), stderr.String()
}

func (s *shop) ok(args ...string) string {
	s.Helper()
	code, out, said := s.weir(args...)
	if code != exitOK {
		s.Fatalf("weir %v: %d\n%s", args, code, said)
	}
	return out
}

func (s *shop) wantIn(text string, parts ...string) {
	s.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func lastHour() time.Time { return time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour) }

func TestB21UsageListSaysWhatAWSWillNotBillWhyAndWhatCanBeDone(t *testing.T) {
	for answer, want := range map[metering.Answer][]string{
		metering.Duplicate: {
			"\nconflict: 3 units in 2 records are not billed: AWS already holds another quantity for these hours. First cause: another weir",
			"hint: find and end the other writer, then `weir usage ack acme`; `weir usage rebook ",
		},
		metering.NotSubscribed: {"\nrefused: 3 units in 2 records are not billed: AWS says that the buyer is not subscribed", "hint: once the license is active again"},
		metering.Faulty:        {"\nblocked: 3 units in 2 records are not billed yet", "The earliest deadline is ", "hint: mend what the reason names"},
	} {
		s := newShop(t)
		s.lose(2, lastHour(), answer)
		out := s.ok("usage", "list")
		s.wantIn(out, want...)
		s.wantIn(out, `AWS's word, "quoted"`)
		if strings.Contains(out, "frozen:") {
			t.Errorf("a record that is still to be sent is called lost:\n%s", out)
		}
	}
	s := newShop(t)
	s.lose(2, lastHour(), metering.Ambiguous)
	s.ledger(func(l *metering.Journal) error {
		_, err := l.Expire(s.Context(), lastHour().Add(50*time.Hour))
		return err
	})
	s.wantIn(s.ok("usage", "list"), "\nexpired: 3 units in 2 records are not billed: AWS takes a record for 24 h",
		"AWS may have 3 units of them all the same", "compare with AWS's usage report before you rebook", "hint: `weir usage rebook ")
}

func TestB21UsageRebookMovesUnitsAndSaysWhyNot(t *testing.T) {
	s := newShop(t)
	s.lose(1, lastHour(), metering.Duplicate)
	rows := func(state string) (ids []string) {
		var page api.UsagePage
		if err := json.Unmarshal([]byte(s.ok("usage", "list", "-state", state, "-json")), &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rows {
			ids = append(ids, r.ID)
		}
		return ids
	}
	lost, frozen := rows("conflict"), rows("frozen")
	if len(lost) != 1 || len(frozen) != 1 {
		t.Fatalf("lost %v, frozen %v", lost, frozen)
	}
	s.wantIn(s.ok("usage", "rebook", lost[0]), "rebooked "+lost[0]+": 1 units of calls", "marked late")
	if got := rows("rebooked"); !cmp.Equal(got, lost) || len(rows("open")) != 1 {
		t.Errorf("rebooked %v, want %v and an open row", got, lost)
	}
	for id, want := range map[string]string{
		lost[0]:   "hint: only records that are refused, conflict or expired",
		frozen[0]: "it is frozen\nhint: only records",
		"nothing": "no such record\nhint: `weir usage list` shows the ids",
	} {
		code, _, said := s.weir("usage", "rebook", id)
		if code != exitError {
			t.Errorf("rebook %s: exit code %d", id, code)
		}
		s.wantIn(said, want)
	}
	if code, _, _ := s.weir("usage", "rebook"); code != exitUsage {
		t.Errorf("without an id: exit code %d, want %d", code, exitUsage)
	}
}

func TestB21UsageAckEndsTheSignOfAnotherWriter(t *testing.T) {
	s := newShop(t)
	s.lose(0, lastHour().Add(-time.Hour), metering.Success)
	s.wantIn(s.ok("usage", "ack", "acme"), "product acme has no conflict to acknowledge")
	s.lose(2, lastHour(), metering.Duplicate)
	s.wantIn(s.ok("usage", "ack", "acme"), "acknowledged 2 conflicts of product acme")
	if got := s.ok("usage", "ack", "-json", "acme"); got != `{"product":"acme","conflicts":0}`+"\n" {
		t.Errorf("got %s", got)
	}
	code, _, said := s.weir("usage", "ack", "amce")
	if code != exitError {
		t.Errorf("an unknown product: exit code %d", code)
	}
	s.wantIn(said, "no such product")
}

func TestUsageExportWritesEveryRowOnce(t *testing.T) {
	s := newShop(t)
	for i := range 3 {
		s.lose(999, lastHour().Add(-time.Duration(3-i)*time.Hour), metering.Success)
	}
	table, err := csv.NewReader(strings.NewReader(s.ok("usage", "export"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(table[0], ","), "id,license,dimension,hour,state,quantity,timestamp,late,assumed,meteringRecordId,error,product,ambiguous"; got != want {
		t.Errorf("columns %s, want %s", got, want)
	}
	ids := map[string]bool{}
	states := map[string]int{}
	for _, r := range table[1:] {
		ids[r[0]] = true
		states[r[4]]++
	}
	if want := map[string]int{"accepted": 2997, "frozen": 3}; len(ids) != 3000 || !cmp.Equal(states, want) {
		t.Errorf("%d rows %v, want 3000 %v", len(ids), states, want)
	}

	lines := json.NewDecoder(strings.NewReader(s.ok("usage", "export", "-format", "jsonl", "-state", "frozen")))
	n := 0
	for {
		var row struct {
			State    string
			Quantity int64
		}
		if err := lines.Decode(&row); err == io.EOF {
			break
		} else if err != nil || row.State != "frozen" || row.Quantity != 1000 {
			t.Fatalf("%+v: %v", row, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
	if code, _, said := s.weir("usage", "export", "-format", "xml"); code != exitUsage || !strings.Contains(said, "-format takes csv or jsonl") {
		t.Errorf("an unknown format: %d %s", code, said)
	}
}
