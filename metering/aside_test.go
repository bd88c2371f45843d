package metering_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/internal/race"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// present is in the hour in which the files of these tests get damaged.
func present() time.Time { return ledgertest.Hour().Add(15*time.Hour + 20*time.Minute) }

// openAnyway opens a ledger as weir does when it serves, without its journal.
func openAnyway(t testing.TB, path string, now func() time.Time, log *slog.Logger) *metering.Bolt {
	t.Helper()
	b, err := metering.OpenBoltOrSetAside(path, metering.DefaultConfig(), place(), now, log, nil)
	must(t, err)
	return b
}

// setAsideOnce is the one file that was set aside, as it was.
func setAsideOnce(t testing.TB, b *metering.Bolt, want []byte) {
	t.Helper()
	names := b.Aside()
	if len(names) != 1 {
		t.Fatalf("set aside: %v, want one file", names)
	}
	info, err := os.Stat(names[0])
	must(t, err)
	got, err := os.ReadFile(names[0])
	must(t, err)
	if info.Mode() != 0o600 || !bytes.Equal(got, want) {
		t.Fatalf("%s has mode %v and %d bytes, want 600 and the %d that were there", names[0], info.Mode(), len(got), len(want))
	}
}

// countsOnward counts one unit in the present hour and fails unless it went to the next, of which
// alone records are made.
func countsOnward(t testing.TB, b *metering.Bolt, seq uint64) {
	t.Helper()
	hour := present().Truncate(time.Hour)
	_, err := b.Commit(t.Context(), "w", seq, []metering.Delta{ledgertest.Delta(hour, 1, ledgertest.Bill(1))})
	must(t, err)
	zero := []metering.ZeroKey{{License: ledgertest.License, Product: "acme", Dimension: "calls", Hour: hour}}
	must(t, b.Freeze(t.Context(), present().Add(time.Hour), zero))
	rows, err := ledgertest.AllRows(t.Context(), b)
	must(t, err)
	if len(rows) != 1 || rows[0].State != metering.Open || !rows[0].Hour.Equal(hour.Add(time.Hour)) {
		t.Fatalf("got %+v, want one open row in the hour after the present one", rows)
	}
	must(t, ledgertest.Conserved(t.Context(), b))
}

func TestB20AFileCutAnywhereIsSetAsideAndCountingGoesOn(t *testing.T) {
	if race.Detector {
		t.Skip("a damaged page is too much for the race detector: make test runs this without it")
	}
	whole, err := os.ReadFile(written(t))
	must(t, err)
	var cuts []int
	for at := 0; at <= len(whole); at += os.Getpagesize() {
		cuts = append(cuts, at)
	}
	for range 30 {
		cuts = append(cuts, rand.IntN(len(whole)))
	}
	aside := 0
	for _, cut := range cuts {
		aside += damageAndOpen(t, whole[:cut])
	}
	if aside < len(cuts)/4 { // the rest of the cuts took only free pages
		t.Errorf("of %d cut files %d were set aside", len(cuts), aside)
	}
}

func TestB20AFileWithAnyByteChangedIsSetAsideOrRight(t *testing.T) {
	if race.Detector {
		t.Skip("a damaged page is too much for the race detector: make test runs this without it")
	}
	whole, err := os.ReadFile(written(t))
	must(t, err)
	aside := 0
	for range 120 {
		bad := bytes.Clone(whole)
		for range 1 + rand.IntN(3) {
			bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
		}
		aside += damageAndOpen(t, bad)
	}
	if aside == 0 {
		t.Error("no damage was noticed")
	}
}

// damageAndOpen opens a damaged file twice, and tells whether it was set aside: then it is
// as it was, and otherwise nothing is missing.
func damageAndOpen(t *testing.T, content []byte) (aside int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, os.WriteFile(path, content, 0o600))
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	b := openAnyway(t, path, present, log)
	if len(b.Aside()) == 0 {
		defer b.Close()
		totals, err := b.Totals(t.Context(), "w")
		if err != nil || len(totals) != 1 || totals[0].Counted != 100 {
			t.Fatalf("it opens with %+v, %v", totals, err)
		}
		return 0
	}
	setAsideOnce(t, b, content)
	if !strings.Contains(said.String(), "weir usage salvage "+b.Aside()[0]) {
		t.Errorf("the log does not tell the cure: %s", said.String())
	}
	countsOnward(t, b, 1)
	must(t, b.Close())
	b = openAnyway(t, path, present, discard())
	defer b.Close()
	setAsideOnce(t, b, content)
	totals, err := b.Totals(t.Context(), "w")
	if err != nil || len(totals) != 1 || totals[0].Counted != 1 {
		t.Fatalf("after another start: %+v, %v", totals, err)
	}
	return 1
}

func TestB20AFileDamagedAgainAndAgainIsSetAsideEachTime(t *testing.T) {
	path := written(t)
	for n := 1; n <= 5; n++ {
		must(t, os.Truncate(path, int64(1000*n)))
		b := openAnyway(t, path, present, discard())
		if got := len(b.Aside()); got != n {
			t.Fatalf("after %d times %d files are set aside", n, got)
		}
		countsOnward(t, b, 1)
		must(t, b.Close())
	}
}

func TestB20HoursThatTheDamagedLedgerHadClosedStayClosed(t *testing.T) {
	path := written(t) // 10 hours are closed in it
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	must(t, f.Truncate(int64(fileLength(t, path)-1)))
	must(t, f.Close())
	early := ledgertest.Hour().Add(2 * time.Hour) // a clock that is behind
	b := openAnyway(t, path, func() time.Time { return early }, discard())
	defer b.Close()
	if len(b.Aside()) == 0 {
		t.Skip("the last byte is of no page")
	}
	_, err = b.Commit(t.Context(), "w", 1, []metering.Delta{ledgertest.Delta(early.Truncate(time.Hour), 1, ledgertest.Bill(1))})
	must(t, err)
	rows, err := ledgertest.AllRows(t.Context(), b)
	must(t, err)
	if want := ledgertest.Hour().Add(9 * time.Hour); len(rows) != 1 || rows[0].Hour.Before(want) {
		t.Errorf("got %+v, want a row not before %s", rows, want)
	}
}

func fileLength(t testing.TB, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return int(info.Size())
}

// TestB20TheFirstHourIsByAWSsTime opens with a local clock that is two hours behind.
func TestB20TheFirstHourIsByAWSsTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, os.WriteFile(path, nil, 0o600))
	now := present().Add(-2 * time.Hour)
	b := openAnyway(t, path, func() time.Time { return now }, discard())
	defer b.Close()
	now = present()
	countsOnward(t, b, 1)
}

// whileItRuns commits, does something to the file, and then commits until that works: a
// batch whose outcome is not known is repeated with its sequence.
func whileItRuns(t *testing.T, damage func(path string)) *metering.Bolt {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	b := openAnyway(t, path, present, discard())
	t.Cleanup(func() { b.Close() })
	hour := present().Truncate(time.Hour)
	for seq := range uint64(20) {
		_, err := b.Commit(t.Context(), "w", seq+1, []metering.Delta{ledgertest.Delta(hour, 1, ledgertest.Bill(1))})
		must(t, err)
	}
	damage(path)
	failed := 0
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := b.Commit(t.Context(), "w", 21, []metering.Delta{ledgertest.Delta(hour, 1, ledgertest.Bill(1))})
		if err == nil {
			break
		}
		if failed++; time.Now().After(end) {
			t.Fatalf("after %d attempts: %v", failed, err)
		}
	}
	return b
}

func TestB20DamageWhileItRunsIsSetAside(t *testing.T) {
	for name, damage := range map[string]func(path string){
		"nonsense": func(path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			junk := bytes.Repeat([]byte{0xA5}, fileLength(t, path)-2*os.Getpagesize())
			_, err = f.WriteAt(junk, int64(2*os.Getpagesize()))
			must(t, err)
		},
		"all nonsense": func(path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			_, err = f.WriteAt(bytes.Repeat([]byte{0x5A}, fileLength(t, path)), 0)
			must(t, err)
		},
		"cut off": func(path string) { must(t, os.Truncate(path, int64(os.Getpagesize()))) },
		"emptied": func(path string) { must(t, os.Truncate(path, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := whileItRuns(t, damage)
			if got := b.Aside(); len(got) != 1 {
				t.Errorf("set aside: %v, want one file", got)
			}
			totals, err := b.Totals(t.Context(), "w")
			if err != nil || len(totals) != 1 || totals[0].Counted != 1 {
				t.Errorf("the new file holds %+v, %v", totals, err)
			}
		})
	}
}

func TestB20AFileThatIsRemovedWhileItRunsIsNotBegunAnewInSilence(t *testing.T) {
	b := whileItRuns(t, func(path string) { must(t, os.Remove(path)) })
	rows, err := ledgertest.AllRows(t.Context(), b)
	must(t, err)
	if len(rows) != 1 || !rows[0].Hour.Equal(present().Truncate(time.Hour).Add(time.Hour)) {
		t.Errorf("got %+v, want one row in the hour after the present one", rows)
	}
}

func TestB20AFileThatCantBeReadIsNoReasonToBeginAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, os.Mkdir(path, 0o700))
	_, err := metering.OpenBoltOrSetAside(path, metering.DefaultConfig(), place(), time.Now, discard(), nil)
	if err == nil {
		t.Fatal("a directory opened as a ledger")
	}
	if info, err := os.Stat(path); err != nil || info.Mode()&fs.ModeDir == 0 {
		t.Errorf("it is gone: %v %v", info, err)
	}
}

func TestB20AMeterGoesOnOverDamageAndForgetsNoQuota(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	c := new(clock).at(present())
	b := openAnyway(t, path, c.now, discard())
	defer b.Close()
	m := newMeter(t, b, c)
	counter := m.Counter(license(ledgertest.License))
	for range 5 {
		counter.Take(one("", c.now(), monthly(10, policy.ThenDeny)))
	}
	must(t, m.Flush(t.Context()))
	must(t, os.Truncate(path, 100))
	for range 5 {
		counter.Take(one("", c.now(), monthly(10, policy.ThenDeny)))
	}
	if got := counter.Take(one("", c.now(), monthly(10, policy.ThenDeny))); got.OK {
		t.Error("the quota begins anew")
	}
	for end := time.Now().Add(20 * time.Second); m.Flush(context.WithoutCancel(t.Context())) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(m.Writable())
		}
	}
	if err := m.Writable(); err != nil {
		t.Error(err)
	}
	if got := total(t, b); got.Counted != 5 {
		t.Errorf("the new file holds %+v, want what the damaged one did not", got)
	}
}

func TestB20AFileOfAnotherVersionIsNotTakenForDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket([]byte("meta"))
		must(t, err)
		return meta.Put([]byte("format"), []byte("weir-ledger-1"))
	}))
	must(t, db.Close())
	_, err = metering.OpenBoltOrSetAside(path, metering.DefaultConfig(), place(), time.Now, discard(), nil)
	if err == nil || errors.Is(err, metering.ErrCorrupt) || !strings.Contains(err.Error(), "weir-ledger-1") {
		t.Errorf("got %v, want it to name the version", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}
