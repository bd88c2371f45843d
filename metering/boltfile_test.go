package metering_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
)

// written makes a ledger with something in every bucket and returns its path, closed.
func written(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	b := openBolt(t, path, metering.DefaultConfig(), place())
	for i := range 20 {
		hour := ledgertest.Hour().Add(time.Duration(i) * time.Hour)
		_, err := b.Commit(t.Context(), "w", uint64(i+1), []metering.Delta{ledgertest.Delta(hour, 5, ledgertest.Bill(2))})
		must(t, err)
	}
	must(t, b.Freeze(t.Context(), ledgertest.Hour().Add(10*time.Hour), nil))
	must(t, b.Close())
	return path
}

func reopen(path string) (*metering.Bolt, error) {
	return metering.OpenBolt(path, metering.DefaultConfig(), place(), time.Now, discard(), nil)
}

func TestB07CommittedIsThereAfterReopening(t *testing.T) {
	b, err := reopen(written(t))
	must(t, err)
	defer b.Close()
	must(t, ledgertest.Conserved(t.Context(), b))
	totals, err := b.Totals(t.Context(), "w")
	must(t, err)
	if len(totals) != 1 || totals[0].Counted != 100 || totals[0].Seq != 20 {
		t.Errorf("got %+v, want 100 units counted up to sequence 20", totals)
	}
}

func TestB20TornFileIsDetectedAndNeverEmptied(t *testing.T) {
	path := written(t)
	whole, err := os.ReadFile(path)
	must(t, err)
	for cut := 0; cut < len(whole); cut += 509 {
		must(t, os.WriteFile(path, whole[:cut], 0o600))
		b, err := reopen(path)
		if err == nil { // only pages that were never used are missing
			must(t, ledgertest.Conserved(t.Context(), b))
			totals, err := b.Totals(t.Context(), "w")
			if err != nil || len(totals) != 1 || totals[0].Counted != 100 || cut < len(whole)/2 {
				t.Fatalf("cut to %d of %d bytes it opens with %+v, %v", cut, len(whole), totals, err)
			}
			must(t, b.Close())
			continue
		}
		if !errors.Is(err, metering.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: got %v, want ErrCorrupt", cut, err)
		}
		left, err := os.ReadFile(path)
		must(t, err)
		if !bytes.Equal(left, whole[:cut]) {
			t.Fatalf("cut to %d bytes the file was changed", cut)
		}
	}
}

// TestB20CorruptFileNeverOpensWithOtherCounts flips a byte all over the file: none of these leads bbolt
// out of its mapping, which weir survives and the race detector does not.
func TestB20CorruptFileNeverOpensWithOtherCounts(t *testing.T) {
	path := written(t)
	whole, err := os.ReadFile(path)
	must(t, err)
	refused := 0
	for at := 0; at < len(whole); at += 199 {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x10
		must(t, os.WriteFile(path, bad, 0o600))
		b, err := reopen(path)
		if err != nil {
			refused++
			continue
		}
		totals, err := b.Totals(t.Context(), "w")
		if err == nil && (len(totals) != 1 || totals[0].Counted != 100) {
			t.Errorf("with byte %d flipped it opens with %+v", at, totals)
		}
		must(t, b.Close())
	}
	if refused == 0 {
		t.Error("no corruption was noticed")
	}
}

func TestB20AChangedValueIsNoticedByItsChecksum(t *testing.T) {
	path := written(t)
	whole, err := os.ReadFile(path)
	must(t, err)
	bad := bytes.ReplaceAll(whole, []byte(`111122223333`), []byte(`111122223334`))
	if bytes.Equal(bad, whole) {
		t.Fatal("the file does not hold the account as this test expects it")
	}
	must(t, os.WriteFile(path, bad, 0o600))
	if _, err := reopen(path); !errors.Is(err, metering.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

func TestALedgerInUseIsRefusedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	openBolt(t, path, metering.DefaultConfig(), place())
	if _, err := reopen(path); !errors.Is(err, metering.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
}

func TestTheLedgerIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	openBolt(t, path, metering.DefaultConfig(), place())
	info, err := os.Stat(path)
	must(t, err)
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode is %o, want 600", got)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("other files are left: %v", entries)
	}
}
