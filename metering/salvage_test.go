package metering_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
)

// holdings is what a ledger's file holds, read in the ordinary way, by row.
func holdings(t testing.TB, path string) map[string]int64 {
	t.Helper()
	b, err := reopen(path)
	must(t, err)
	defer b.Close()
	rows, err := ledgertest.AllRows(t.Context(), b)
	must(t, err)
	held := map[string]int64{}
	for _, r := range rows {
		held[r.ID+" "+string(r.State)] += r.Units
	}
	return held
}

func salvaged(s *metering.Salvaged) map[string]int64 {
	held := map[string]int64{}
	for _, r := range s.Rows {
		held[r.ID+" "+string(r.State)] += r.Units
	}
	return held
}

func salvage(t testing.TB, content []byte) *metering.Salvaged {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db.corrupt-20261231T230000Z")
	must(t, os.WriteFile(path, content, 0o400))
	s, err := metering.Salvage(path)
	must(t, err)
	left, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(left, content) {
		t.Fatal("the file was changed")
	}
	return s
}

func TestB20SalvageReadsAWholeFileAsTheLedgerDoes(t *testing.T) {
	path := written(t)
	content, err := os.ReadFile(path)
	must(t, err)
	s := salvage(t, content)
	if diff := cmp.Diff(holdings(t, path), salvaged(s)); diff != "" {
		t.Errorf("-ledger +salvaged\n%s", diff)
	}
	if len(s.Unread) > 0 {
		t.Errorf("unread: %+v", s.Unread)
	}
	for _, r := range s.Rows {
		if r.Stale {
			t.Errorf("%s is called stale", r.ID)
		}
	}
}

// TestB20SalvageOfADamagedFileTellsNothingThatNeverWas cuts and changes a file: what is found
// was there, what is missing is told, and nothing panics.
func TestB20SalvageOfADamagedFileTellsNothingThatNeverWas(t *testing.T) {
	path := written(t)
	whole, err := os.ReadFile(path)
	must(t, err)
	want := holdings(t, path)
	found := 0
	for i := range 300 {
		bad := bytes.Clone(whole)
		if i%2 == 0 {
			bad = bad[:rand.IntN(len(bad))]
		}
		for range min(i%5, len(bad)) {
			bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
		}
		s := salvage(t, bad)
		got := salvaged(s)
		stale := false
		for _, r := range s.Rows {
			stale = stale || r.Stale
			if units, ok := want[r.ID+" "+string(r.State)]; !r.Stale && (!ok || units != r.Units) {
				t.Fatalf("damage %d: found %+v, which the file did not hold", i, r)
			}
		}
		found += len(got)
		if !stale && len(s.Unread) == 0 && !cmp.Equal(want, got) {
			t.Fatalf("damage %d: something is missing, and nothing is told:\n%s", i, cmp.Diff(want, got))
		}
	}
	if found == 0 {
		t.Error("nothing was ever found")
	}
}

func TestB20SalvageFindsRowsThoughNothingSaysWhatTheFileIs(t *testing.T) {
	path := written(t)
	content, err := os.ReadFile(path)
	must(t, err)
	clear(content[:2*os.Getpagesize()])
	s := salvage(t, content)
	got := salvaged(s)
	for key, units := range holdings(t, path) {
		if got[key] != units {
			t.Errorf("of %s %d units were found, want %d", key, got[key], units)
		}
	}
	if len(s.Unread) == 0 || len(s.Rows) == 0 || !s.Rows[0].Stale {
		t.Errorf("got %+v, want it told that the beginning is missing", s.Unread)
	}
}

func TestB20SalvageNamesTheHourWhoseUnitsAreLost(t *testing.T) {
	path := written(t)
	content, err := os.ReadFile(path)
	must(t, err)
	s := salvage(t, bytes.ReplaceAll(content, []byte("\x0c111122223333"), []byte("\x0c111122223334"))) // in every version of the book
	lost := 0
	for _, u := range s.Unread {
		if bytes.Contains([]byte(u.What), []byte("the units counted in the open hour 2027-01-01T")) && bytes.Contains([]byte(u.What), []byte(ledgertest.License)) {
			lost++
		}
	}
	if lost != 11 { // of 20 hours the last are open
		t.Errorf("%d lost hours are named, want 11: %+v", lost, s.Unread)
	}
}

func TestSalvageOfWhatIsNoFileIsAnError(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if s, err := metering.Salvage(path); err == nil {
			t.Errorf("%s: %+v", path, s)
		}
	}
	if s := salvage(t, nil); len(s.Rows) > 0 || len(s.Unread) == 0 {
		t.Errorf("an empty file: %+v", s)
	}
}

func TestB20SalvageTellsOfChecksThatWaited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	b := openBolt(t, path, metering.DefaultConfig(), place())
	d := ledgertest.Delta(ledgertest.Hour(), 7, ledgertest.Bill(1))
	d.Kind, d.Minute, d.Count, d.Epoch, d.Turn = metering.Issued, ledgertest.Hour(), 2, 1, 1
	_, err := b.Commit(t.Context(), "w", 1, []metering.Delta{d})
	must(t, err)
	must(t, b.Close())
	s, err := metering.Salvage(path)
	must(t, err)
	want := []metering.SalvagedChecks{{License: ledgertest.License, Feature: "apiCalls", Checks: 2, Units: 7}}
	if diff := cmp.Diff(want, s.Waiting); diff != "" || len(s.Rows) > 0 {
		t.Errorf("-want +got\n%s and rows %+v", diff, s.Rows)
	}
}
