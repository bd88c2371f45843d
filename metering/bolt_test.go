package metering_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
)

// place is where the tests send from.
func place() metering.Place {
	return metering.Place{Region: "us-east-1", Agreements: map[string]string{"acme": "concurrent"}}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openBolt opens a ledger that is closed with the test.
func openBolt(t testing.TB, path string, cfg metering.Config, p metering.Place) *metering.Bolt {
	t.Helper()
	b, err := metering.OpenBolt(path, cfg, p, time.Now, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// openJournal opens a ledger with its journal, closed with the test.
func openJournal(t testing.TB, path string, cfg metering.Config) *metering.Journal {
	t.Helper()
	j, err := metering.OpenJournal(path, cfg, place(), time.Now, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func TestAJournalIsALedger(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T, cfg metering.Config) metering.Ledger {
		return openJournal(t, filepath.Join(t.TempDir(), "ledger"), cfg)
	})
}

func TestBoltIsALedger(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T, cfg metering.Config) metering.Ledger {
		return openBolt(t, filepath.Join(t.TempDir(), "ledger"), cfg, place())
	})
}
