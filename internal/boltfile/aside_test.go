package boltfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/internal/boltfile"
)

func nothing(*bbolt.Tx, string) error { return nil }

func TestAFileThatAnotherHasOpenIsNotSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := boltfile.OpenFile(path, func(*bbolt.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := boltfile.SetAside(path, time.Now(), nothing); !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := boltfile.SetAside(path, time.Now(), nothing); err != nil {
		t.Errorf("once it is closed: %v", err)
	}
}

func TestFilesSetAsideInOneSecondHaveNamesOfTheirOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	at := time.Date(2026, 3, 10, 14, 0, 5, 0, time.UTC)
	for i, want := range []string{"", ".corrupt-20260310T140005Z", ".corrupt-20260310T140005Z-2", ".corrupt-20260310T140005Z-3"} {
		got, err := boltfile.SetAside(path, at, nothing)
		if err != nil || want != "" && got != path+want || want == "" && got != "" {
			t.Fatalf("time %d: %q %v, want %q", i, got, err, want)
		}
		if i > 0 {
			if info, err := os.Stat(got); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v %v", got, info, err)
			}
		}
	}
	names, err := boltfile.Asides(path)
	if err != nil || len(names) != 3 {
		t.Errorf("got %v %v", names, err)
	}
}

func TestAnAttemptToSetAsideThatWasCutShortIsGoneOnWith(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	half := path + ".corrupt-20260310T140005Z"
	if err := os.Link(path, half); err != nil {
		t.Fatal(err)
	}
	got, err := boltfile.SetAside(path, time.Now(), nothing)
	if err != nil || got != half {
		t.Fatalf("got %q %v, want %q", got, err, half)
	}
	if left, err := os.ReadFile(half); err != nil || string(left) != "damaged" {
		t.Errorf("it holds %q %v", left, err)
	}
	if f, err := boltfile.OpenFile(path, nil); err != nil {
		t.Error(err)
	} else if err := f.Release(); err != nil {
		t.Error(err)
	}
}

func TestAFileWithOneDamagedMetaPageIsNotTakenForAnOlderOne(t *testing.T) {
	for _, offset := range []int64{20, int64(os.Getpagesize()) + 70} {
		path := filepath.Join(t.TempDir(), "file")
		f, err := boltfile.OpenFile(path, func(*bbolt.Tx) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Release(); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteAt([]byte{0xFF}, offset); err != nil {
			t.Fatal(err)
		}
		if _, err := boltfile.OpenFile(path, nil); !errors.Is(err, boltfile.ErrDamaged) {
			t.Errorf("byte %d: got %v, want ErrDamaged", offset, err)
		}
	}
}
