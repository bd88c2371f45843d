package metering_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// commitOnes commits one unit of n licenses, with an event of each, as a writer's next.
func commitOnes(t testing.TB, l metering.Ledger, seq uint64, n int) error {
	deltas := licenses(n)
	for i := range deltas {
		deltas[i].Quantity = 1
		deltas[i].Seen = ledgertest.Hour()
		deltas[i].Events = []metering.EventID{eventOf(seq, i)}
	}
	_, err := l.Commit(t.Context(), "w", seq, deltas)
	return err
}

func eventOf(seq uint64, i int) metering.EventID {
	return metering.NewEventID("journal", fmt.Sprint(seq, " ", i))
}

// counted is what the ledger holds of each of n licenses.
func counted(t testing.TB, l metering.Ledger, n int) []int64 {
	t.Helper()
	totals, err := l.Totals(t.Context(), "w")
	must(t, err)
	must(t, ledgertest.Conserved(t.Context(), l))
	sums := make([]int64, n)
	for i, d := range licenses(n) {
		for _, total := range totals {
			if total.License == d.License {
				sums[i] += total.Counted
			}
		}
	}
	return sums
}

// each is a number for each of n licenses.
func each(number int64, n int) []int64 {
	all := make([]int64, n)
	for i := range all {
		all[i] = number
	}
	return all
}

// crashed makes commits and ends without a fold: it returns the ledger's path, and the journal's
// only file with its content and where the last commit begins in it.
func crashed(t *testing.T, commits, n int) (path, file string, content []byte, last int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ledger")
	j := openJournal(t, path, metering.DefaultConfig())
	for seq := range commits {
		if files := journalFiles(t, path); len(files) == 1 {
			info, err := os.Stat(files[0])
			must(t, err)
			last = int(info.Size())
		}
		must(t, commitOnes(t, j, uint64(seq+1), n))
	}
	must(t, j.Crash())
	file = journalFiles(t, path)[0]
	content, err := os.ReadFile(file)
	must(t, err)
	return path, file, content, last
}

func journalFiles(t testing.TB, path string) []string {
	t.Helper()
	files, err := filepath.Glob(path + ".journal-*")
	must(t, err)
	return files
}

func TestB07WhatIsInTheJournalIsCountedOnceAfterACrash(t *testing.T) {
	path, file, content, _ := crashed(t, 5, 3)
	for range 3 { // the file is there again, as where its removal was not durable
		must(t, os.WriteFile(file, content, 0o600))
		j := openJournal(t, path, metering.DefaultConfig())
		if diff := cmp.Diff(each(5, 3), counted(t, j, 3)); diff != "" {
			t.Fatalf("counted (-want +got):\n%s", diff)
		}
		memory, err := j.Recall(t.Context(), ledgertest.Hour(), []metering.EventID{eventOf(1, 0), eventOf(5, 2), eventOf(6, 0)})
		must(t, err)
		if want := (metering.Memory{Known: []bool{true, true, false}, Held: 15, Oldest: ledgertest.Hour()}); !cmp.Equal(memory, want) {
			t.Errorf("memory is %+v, want %+v", memory, want)
		}
		must(t, j.Close())
		if left := journalFiles(t, path); len(left) > 0 {
			t.Errorf("files are left: %v", left)
		}
	}
}

// TestB20AJournalCutAnywhereInItsLastCommitsHoldsThoseBefore cuts at every byte of the last two.
func TestB20AJournalCutAnywhereInItsLastCommitsHoldsThoseBefore(t *testing.T) {
	path, file, content, last := crashed(t, 3, 2)
	ledger, err := os.ReadFile(path)
	must(t, err)
	for cut := 0; cut <= len(content); cut++ {
		must(t, os.WriteFile(path, ledger, 0o600))
		must(t, os.WriteFile(file, content[:cut], 0o600))
		j := openJournal(t, path, metering.DefaultConfig())
		got := counted(t, j, 2)
		if got[0] != got[1] || cut >= last && got[0] < 2 || cut < last && got[0] > 1 || (got[0] == 3) != (cut == len(content)) {
			t.Fatalf("cut to %d of %d bytes, of which the last commit begins at %d: counted %v", cut, len(content), last, got)
		}
		must(t, commitOnes(t, j, 4, 2))
		if diff := cmp.Diff(each(got[0]+1, 2), counted(t, j, 2)); diff != "" {
			t.Fatalf("cut to %d, after another commit (-want +got):\n%s", cut, diff)
		}
		must(t, j.Close())
	}
}

// TestB20ADamagedJournalIsSetAsideOnceWhatIsWholeIsCounted flips every byte of all but the last commit. The
// first one says what those behind it are of: 0 of 4 is what is left without it.
func TestB20ADamagedJournalIsSetAsideOnceWhatIsWholeIsCounted(t *testing.T) {
	path, file, content, last := crashed(t, 4, 2)
	ledger, err := os.ReadFile(path)
	must(t, err)
	outcomes := map[int64]int{}
	for at := range last {
		must(t, os.WriteFile(path, ledger, 0o600))
		bad := bytes.Clone(content)
		bad[at] ^= 0x10
		must(t, os.WriteFile(file, bad, 0o600))
		if _, err := metering.OpenJournal(path, metering.DefaultConfig(), place(), time.Now, discard(), nil); !errors.Is(err, metering.ErrCorrupt) {
			t.Fatalf("byte %d: got %v, want ErrCorrupt", at, err)
		}
		if left, err := os.ReadFile(file); err != nil || !bytes.Equal(left, bad) {
			t.Fatalf("byte %d: the file was changed: %v", at, err)
		}
		var said bytes.Buffer
		j, err := metering.OpenJournalOrSetAside(path, metering.DefaultConfig(), place(), time.Now, slog.New(slog.NewTextHandler(&said, nil)), nil)
		must(t, err)
		got := counted(t, j, 2)
		if got[0] != got[1] {
			t.Fatalf("byte %d of %d: counted %v", at, len(content), got)
		}
		outcomes[got[0]]++
		aside := j.Damaged()
		if len(aside) != 1 || !strings.Contains(said.String(), "level=ERROR") {
			t.Fatalf("byte %d: set aside %v, and said %q", at, aside, said.String())
		}
		if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, bad) {
			t.Fatalf("byte %d: what was set aside is not what was there: %v", at, err)
		}
		must(t, j.Close())
		must(t, os.Remove(aside[0]))
	}
	if len(outcomes) != 3 || outcomes[0] == 0 || outcomes[3] == 0 || outcomes[4] == 0 {
		t.Errorf("counted, with how many bytes: %v; want 0, 3 and 4", outcomes)
	}
}

func TestAJournalOfAnotherVersionIsRefusedAndLeftAsItIs(t *testing.T) {
	path, file, _, _ := crashed(t, 1, 1)
	other := metering.JournalFrame(1, []byte("\x0eweir-journal-9"))
	must(t, os.WriteFile(file, other, 0o600))
	_, err := metering.OpenJournalOrSetAside(path, metering.DefaultConfig(), place(), time.Now, discard(), nil)
	if err == nil || errors.Is(err, metering.ErrCorrupt) || !strings.Contains(err.Error(), "weir-journal-9") {
		t.Errorf("got %v, want an error that names the version", err)
	}
	if left, err := os.ReadFile(file); err != nil || !bytes.Equal(left, other) {
		t.Errorf("the file was changed: %v", err)
	}
}

// faults makes files that fail on demand.
type faults struct {
	create, write, sync atomic.Bool
	half                atomic.Bool // of what is written with an error, half is there
	synced              atomic.Int64
}

func (f *faults) open(path string) (metering.JournalFile, error) {
	if f.create.Load() {
		return nil, syscall.ENOSPC
	}
	file, err := metering.CreateJournalFile(path)
	return &faultyFile{JournalFile: file, faults: f}, err
}

type faultyFile struct {
	metering.JournalFile
	faults *faults
	failed bool
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if f.failed {
		panic("a file is written that has failed")
	}
	if f.faults.write.Load() {
		f.failed = true
		if f.faults.half.Load() {
			_, _ = f.JournalFile.Write(p[:len(p)/2])
		}
		return len(p) / 2, syscall.EIO
	}
	return f.JournalFile.Write(p)
}

func (f *faultyFile) Datasync() error {
	if f.failed {
		panic("a file is synced that has failed")
	}
	if f.faults.sync.Load() {
		f.failed = true
		return syscall.EIO
	}
	f.faults.synced.Add(1)
	return f.JournalFile.Datasync()
}

// TestB20AFailedFileOfTheJournalIsGivenUpAndItsCommitWrittenAgain has each kind of fault come between commits,
// for one file or for a while, and weir end after it in each way.
func TestB20AFailedFileOfTheJournalIsGivenUpAndItsCommitWrittenAgain(t *testing.T) {
	for name, fault := range map[string]func(*faults) *atomic.Bool{
		"write":  func(f *faults) *atomic.Bool { return &f.write },
		"half":   func(f *faults) *atomic.Bool { f.half.Store(true); return &f.write },
		"sync":   func(f *faults) *atomic.Bool { return &f.sync },
		"create": func(f *faults) *atomic.Bool { return &f.create },
	} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", crash ", crash), func(t *testing.T) {
				path, f := filepath.Join(t.TempDir(), "ledger"), new(faults)
				j := openJournal(t, path, metering.DefaultConfig()).Creating(f.open)
				want := int64(0)
				for seq := uint64(1); seq <= 9; seq++ {
					fault(f).Store(seq%3 == 0)
					err := commitOnes(t, j, seq, 2)
					if seq%3 == 0 && name != "create" && err == nil {
						t.Fatalf("commit %d succeeded", seq)
					}
					if fault(f).Store(false); err != nil {
						must(t, commitOnes(t, j, seq, 2)) // as a Meter does
					}
					want++
				}
				if crash {
					must(t, j.Crash())
				} else {
					must(t, j.Close())
				}
				j = openJournal(t, path, metering.DefaultConfig())
				if diff := cmp.Diff(each(want, 2), counted(t, j, 2)); diff != "" {
					t.Errorf("counted (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestB20AFaultOfOneFileIsNoFailureOfTheCommit lets one fdatasync fail.
func TestB20AFaultOfOneFileIsNoFailureOfTheCommit(t *testing.T) {
	path, f := filepath.Join(t.TempDir(), "ledger"), new(faults)
	j := openJournal(t, path, metering.DefaultConfig())
	once := func(path string) (metering.JournalFile, error) {
		file, err := f.open(path)
		f.sync.Store(false) // the next file is sound
		return file, err
	}
	j.Creating(once)
	must(t, commitOnes(t, j, 1, 2))
	f.sync.Store(true)
	must(t, commitOnes(t, j, 2, 2))
	if files := journalFiles(t, path); len(files) != 2 {
		t.Errorf("got %v, want a file that was given up and another", files)
	}
	must(t, j.Crash())
	j = openJournal(t, path, metering.DefaultConfig())
	if diff := cmp.Diff(each(2, 2), counted(t, j, 2)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

func TestB20AJournalWhoseFileIsRemovedLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	j := openJournal(t, path, metering.DefaultConfig())
	must(t, commitOnes(t, j, 1, 2))
	must(t, os.Remove(journalFiles(t, path)[0]))
	must(t, commitOnes(t, j, 2, 2))
	if files := journalFiles(t, path); len(files) != 1 {
		t.Errorf("a commit went into a file that nobody will find: %v", files)
	}
	if diff := cmp.Diff(each(2, 2), counted(t, j, 2)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

// TestB20AJournalThatCantBeFoldedSaysSoAndKeepsWhatItHas damages the ledger's file while weir runs.
func TestB20AJournalThatCantBeFoldedSaysSoAndKeepsWhatItHas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	j := openJournal(t, path, metering.DefaultConfig())
	must(t, commitOnes(t, j, 1, 2))
	must(t, j.Fold(t.Context()))
	must(t, commitOnes(t, j, 2, 2))
	held, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Remove(path))
	if err := j.Fold(t.Context()); err == nil {
		t.Fatal("it was folded into nothing")
	}
	if _, err := j.Expire(t.Context(), ledgertest.Hour()); err == nil {
		t.Error("Expire does not say that the ledger can't be written")
	}
	if err := commitOnes(t, j, 3, 2); err == nil {
		t.Error("a commit is taken that the ledger can't take over")
	}
	must(t, os.WriteFile(path, held, 0o600))
	for end := time.Now().Add(20 * time.Second); j.Fold(t.Context()) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(j.Fold(t.Context()))
		}
	}
	must(t, commitOnes(t, j, 3, 2))
	if diff := cmp.Diff(each(3, 2), counted(t, j, 2)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

func TestAJournalThatIsFullIsFoldedByTheCommit(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig()).Bounded(20_000)
	folds, before := 0, int64(0)
	for seq := uint64(1); seq <= 40; seq++ {
		must(t, commitOnes(t, j, seq, 50))
		waits := j.Waiting()
		if waits > 20_000+20_000 {
			t.Fatalf("%d bytes wait", waits)
		}
		if waits < before {
			folds++
		}
		before = waits
	}
	if folds == 0 {
		t.Error("it was never folded")
	}
	if diff := cmp.Diff(each(40, 50), counted(t, j, 50)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

// TestB01AJournalAndALedgerComeOutAlike commits the same to both, and folds the one seldom.
func TestB01AJournalAndALedgerComeOutAlike(t *testing.T) {
	j, b := openJournal(t, filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig()), bolt(t)
	monthly, daily := ledgertest.Bill(7), policy.Terms{Included: 40, Every: policy.Day, Then: policy.ThenDeny}
	monthly.Included = 100
	for seq := uint64(1); seq <= 60; seq++ {
		minute := ledgertest.Hour().Add(time.Duration(seq/20) * time.Minute)
		deltas := []metering.Delta{
			ledgertest.Delta(ledgertest.Hour(), int64(seq%5)+1, monthly), ledgertest.Delta(ledgertest.Hour().Add(time.Hour*time.Duration(seq%2)), 3, daily),
			ledgertest.Delta(ledgertest.Hour(), 2, monthly),
		}
		for i, kind := range []metering.Kind{metering.Issued, metering.Issued, metering.Moved, metering.Resolved} {
			d := metering.Delta{
				Kind: kind, License: ledgertest.License, Account: "111122223333", Product: "acme", Feature: "apiCalls", Terms: monthly,
				Minute: minute, Count: 1, Quantity: 2, Held: 1, Epoch: 5, Turn: uint32(seq),
			}
			switch token := (metering.Token{Epoch: 5, Number: seq}); kind {
			case metering.Moved:
				d.To, d.Tokens = minute.Add(time.Minute), metering.Tokens{token}
			case metering.Resolved:
				if d.Minute, d.Tokens = minute.Add(time.Minute), (metering.Tokens{token}); seq%3 == 0 {
					continue
				}
			}
			d.Count = int64(1 + i%2)
			if kind != metering.Issued {
				d.Count = 1
			}
			deltas = append(deltas, d)
		}
		got, err := j.Commit(t.Context(), "w", seq, deltas)
		must(t, err)
		want, err := b.Commit(t.Context(), "w", seq, deltas)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("totals of commit %d (-ledger +journal):\n%s", seq, diff)
		}
	}
	same(t, b, j)
	now := ledgertest.Hour().Add(66 * time.Minute)
	must(t, errors.Join(j.Freeze(t.Context(), now, nil), b.Freeze(t.Context(), now, nil)))
	same(t, b, j)
}

// TestB04ACheckThatWasMovedBetweenCommitsEndsWhereItIs has others end at that minute before.
func TestB04ACheckThatWasMovedBetweenCommitsEndsWhereItIs(t *testing.T) {
	j, b := openJournal(t, filepath.Join(t.TempDir(), "ledger"), metering.DefaultConfig()), bolt(t)
	early, late := ledgertest.Hour(), ledgertest.Hour().Add(time.Minute)
	for i, d := range []metering.Delta{
		{Kind: metering.Issued, Minute: early, Count: 2},
		{Kind: metering.Issued, Minute: late, Count: 2},
		{Kind: metering.Resolved, Minute: late, Count: 1, Tokens: metering.Tokens{{Number: 1}}},
		{Kind: metering.Moved, Minute: early, To: late, Count: 1, Tokens: metering.Tokens{{Number: 2}}},
		{Kind: metering.Resolved, Minute: late, Count: 1, Tokens: metering.Tokens{{Number: 2}}},
	} {
		d.License, d.Product, d.Feature, d.Terms = ledgertest.License, "acme", "apiCalls", ledgertest.Bill(1)
		for _, l := range []metering.Ledger{j, b} {
			_, err := l.Commit(t.Context(), "w", uint64(i+1), []metering.Delta{d})
			must(t, err)
		}
	}
	same(t, b, j)
}

// same fails unless two ledgers hold the same.
func same(t *testing.T, a, b metering.Ledger) {
	t.Helper()
	type content struct {
		Rows   []metering.Row
		Totals []metering.Total
		Tokens []metering.TokenBlock
	}
	read := func(l metering.Ledger) (c content) {
		var err error
		c.Rows, err = ledgertest.AllRows(t.Context(), l)
		must(t, err)
		c.Totals, err = l.Totals(t.Context(), "w")
		must(t, err)
		c.Tokens, _, err = l.Tokens(t.Context())
		must(t, err)
		return c
	}
	if diff := cmp.Diff(read(a), read(b)); diff != "" {
		t.Errorf("content (-ledger +journal):\n%s", diff)
	}
}

// TestB07CommitsGoOnWhileTheJournalIsFolded runs both at once.
func TestB07CommitsGoOnWhileTheJournalIsFolded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	j := openJournal(t, path, metering.DefaultConfig())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		for ctx.Err() == nil {
			if err := j.Fold(context.Background()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for seq := uint64(1); seq <= 50; seq++ {
		must(t, commitOnes(t, j, seq, 20))
		if memory, err := j.Recall(t.Context(), ledgertest.Hour(), []metering.EventID{eventOf(seq, 3), eventOf(1, 0)}); err != nil || !memory.Known[0] || !memory.Known[1] {
			t.Errorf("after commit %d its events are not known: %+v %v", seq, memory, err)
		}
	}
	cancel()
	must(t, <-done)
	must(t, j.Crash())
	j = openJournal(t, path, metering.DefaultConfig())
	if diff := cmp.Diff(each(50, 20), counted(t, j, 20)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}
