package metering_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
)

func TestB17NothingIsSentFromAnotherPlaceUntilAllIsSettled(t *testing.T) {
	elsewhere := place()
	elsewhere.Region = "eu-west-1"
	legacy := place()
	legacy.Agreements = map[string]string{"acme": "legacy"}
	for name, other := range map[string]metering.Place{"region": elsewhere, "kind of agreement": legacy} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger")
			now := ledgertest.Hour().Add(66 * time.Minute)
			b := openBolt(t, path, metering.DefaultConfig(), place())
			commitOne(t, b, 1)
			must(t, b.Freeze(t.Context(), now, nil))
			must(t, b.Close())

			b = openBolt(t, path, metering.DefaultConfig(), other)
			if err := b.Place(); !errors.Is(err, metering.ErrPlace) {
				t.Fatalf("place: got %v, want ErrPlace", err)
			}
			if due, err := b.Due(t.Context(), now, 10); err != nil || len(due) > 0 {
				t.Errorf("due: %v, %v; want nothing", due, err)
			}
			commitOne(t, b, 2) // it goes on counting
			must(t, b.Close())

			b = openBolt(t, path, metering.DefaultConfig(), place())
			must(t, b.Place())
			must(t, b.Freeze(t.Context(), now.Add(2*time.Hour), nil))
			due, err := b.Due(t.Context(), now, 10)
			must(t, err)
			must(t, b.Sending(t.Context(), now, due))
			outcomes := make([]metering.Outcome, len(due))
			for i := range due {
				due[i].State, outcomes[i].Answer = metering.Sent, metering.Success
			}
			_, err = b.Settle(t.Context(), now, due, outcomes)
			must(t, err)
			must(t, b.Close())

			b = openBolt(t, path, metering.DefaultConfig(), other)
			must(t, b.Place())
		})
	}
}

func TestB17OpenUnitsBindThePlaceAsWell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	b := openBolt(t, path, metering.DefaultConfig(), place())
	commitOne(t, b, 1)
	must(t, b.Close())
	elsewhere := place()
	elsewhere.Region = "eu-west-1"
	b = openBolt(t, path, metering.DefaultConfig(), elsewhere)
	if err := b.Place(); !errors.Is(err, metering.ErrPlace) {
		t.Errorf("place: got %v, want ErrPlace", err)
	}
	must(t, b.Close())
	b = openBolt(t, path, metering.DefaultConfig(), place())
	must(t, b.Place())
}

func TestB17TheLogSaysWhenNothingIsSentFromHereAndWhenItIsAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	now := ledgertest.Hour().Add(66 * time.Minute)
	b := openBolt(t, path, metering.DefaultConfig(), place())
	commitOne(t, b, 1)
	must(t, b.Freeze(t.Context(), now, nil))
	must(t, b.Close())
	elsewhere := place()
	elsewhere.Region = "eu-west-1"
	cfg := metering.DefaultConfig()
	cfg.Late = metering.LateExpire
	var log bytes.Buffer
	b, err := metering.OpenBolt(path, cfg, elsewhere, time.Now, slog.New(slog.NewTextHandler(&log, nil)), nil)
	must(t, err)
	defer b.Close()
	must(t, b.Freeze(t.Context(), now, nil))
	if got := strings.Count(log.String(), "usage is counted and not sent"); got != 1 || !strings.Contains(log.String(), "us-east-1") {
		t.Errorf("said %d times, want once with the region: %s", got, &log)
	}
	_, err = b.Expire(t.Context(), now.Add(48*time.Hour))
	must(t, err)
	if !strings.Contains(log.String(), "usage is sent again") {
		t.Errorf("log: %s", &log)
	}
}

func commitOne(t *testing.T, b *metering.Bolt, seq uint64) {
	t.Helper()
	_, err := b.Commit(t.Context(), "w", seq, []metering.Delta{ledgertest.Delta(ledgertest.Hour(), 5, ledgertest.Bill(1))})
	must(t, err)
}
