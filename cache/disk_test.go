package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

func TestColdStartDecidesFromDiskWithoutNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		source := &aws{}
		source.put(held(arn1, initech, "enterprise"))
		source.put(held(arn2, stranger, "basic"))
		first := run(t, source, dir)
		source.drop(arn2)
		first.hint(t, Hint{Product: "acme", License: arn2, Account: stranger, At: time.Now(), Ended: true})
		if err := first.stop(); err != nil {
			t.Fatal(err)
		}
		starts, _ := first.Snapshot().License("direct:bigcorp")
		time.Sleep(time.Hour)

		down := &aws{err: errors.New("no network")}
		second := run(t, down, dir)
		second.wants(t, "initech", "/sso", policy.Allowed)
		if got := second.decideAccount(t.Context(), stranger); got != policy.LicenseEnded {
			t.Errorf("got %s, want license_ended", got)
		}
		if got := second.Ready(); len(got) != 0 {
			t.Errorf("not ready: %v", got)
		}
		if l, _ := second.Snapshot().License("direct:bigcorp"); !l.Starts.Equal(starts.Starts) {
			t.Errorf("the direct customer began %s, at first %s", l.Starts, starts.Starts)
		}
		info, err := os.Stat(filepath.Join(dir, copyName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("copy: got %v %v, want mode 0600", info, err)
		}
	})
}

func TestCopyIsWrittenWithinASecondOfAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		source := &aws{}
		w := run(t, source, dir)
		settle(5 * time.Second)
		source.put(held(arn1, initech, "basic"))
		w.hint(t, Hint{Product: "acme", License: arn1})
		settle(1100 * time.Millisecond)
		killed := open(t, &aws{}, dir)
		killed.wants(t, "initech", "/any", policy.Allowed)
	})
}

func TestCopyOfAnotherListingIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		source := &aws{}
		source.put(held(arn1, initech, "basic"))
		if err := run(t, source, dir).stop(); err != nil {
			t.Fatal(err)
		}
		w := open(t, &aws{}, dir, func(o *Options) {
			acme := o.Policy.Products["acme"]
			acme.Code = "another"
			o.Policy.Products["acme"] = acme
		})
		if _, ok := w.Snapshot().License(arn1); ok || !w.Snapshot().Confirmed("acme").IsZero() {
			t.Error("the licenses of another product code were taken")
		}
	})
}

// sample has every kind of value in it.
func sample() copied {
	at := time.Date(2026, 3, 1, 12, 0, 0, 7, time.UTC)
	value := func(v policy.Value) policy.Entitlement {
		return policy.Entitlement{Dimension: "d", Value: v, Expires: at}
	}
	return copied{
		products: []copiedProduct{{"acme", "code", at}, {"other", "c2", time.Time{}}},
		licenses: []copiedLicense{
			{&policy.License{
				Key: arn1, Product: "acme", Account: initech, Trial: &policy.Trial{Free: true, Ends: at.AddDate(0, 0, 14), Told: at}, Starts: at, TermStarts: at, Read: at,
				Entitlements: []policy.Entitlement{
					value(policy.Value{Kind: policy.ValueBoolean, Boolean: true}), value(policy.Value{Kind: policy.ValueInteger, Integer: -5}),
					value(policy.Value{Kind: policy.ValueDecimal, Decimal: 2.5}), value(policy.Value{Kind: policy.ValueText, Text: "on"}),
					{Dimension: "e", Expires: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)},
				},
			}, at},
			{&policy.License{Key: "code/c", Product: "acme", Customer: "c", Suspended: true, Renewal: policy.RenewalNone, Starts: at, TermStarts: at, Read: at, Ended: at}, time.Time{}},
			{&policy.License{Key: "direct:x", Plan: "basic", Direct: "x", Starts: at, TermStarts: at, Read: at}, at},
		},
	}
}

func TestCopyKeepsEverything(t *testing.T) {
	got, err := decode(encode(sample()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got, cmp.AllowUnexported(copied{}, copiedProduct{}, copiedLicense{})); diff != "" {
		t.Errorf("read back, -want +got:\n%s", diff)
	}
}

func TestCopyCutOffOrDamagedAtAnyByteIsNoticed(t *testing.T) {
	whole := encode(sample())
	for i := range whole {
		if _, err := decode(whole[:i]); err == nil {
			t.Errorf("cut off at byte %d: not noticed", i)
		}
		for _, flip := range []byte{1, 0x80, 0xff} {
			damaged := bytes.Clone(whole)
			damaged[i] ^= flip
			if _, err := decode(damaged); err == nil {
				t.Errorf("byte %d changed by %x: not noticed", i, flip)
			}
		}
	}
	if _, err := decode(append(whole, 0)); err == nil {
		t.Error("a byte too many: not noticed")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(sample())[len(copyMagic):])
	f.Fuzz(func(t *testing.T, b []byte) {
		// The sum is right and the content is anything: no panic, and bounded memory.
		_, _ = decode(sum(append([]byte(copyMagic), b...)))
	})
}

func TestDamagedCopyIsSetAsideAndTold(t *testing.T) {
	dir := t.TempDir()
	whole := encode(sample())
	if err := os.WriteFile(filepath.Join(dir, copyName), whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	d := newDisk(dir, osFiles{}, slog.New(slog.NewTextHandler(&told, nil)))
	if got := d.load(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)); len(got.licenses) != 0 {
		t.Errorf("got %d licenses of a damaged copy", len(got.licenses))
	}
	aside, err := os.ReadFile(filepath.Join(dir, "entitlements.damaged-20260301T000000Z"))
	if err != nil || !bytes.Equal(aside, whole[:len(whole)/2]) {
		t.Errorf("set aside: %v, or not as it was", err)
	}
	if _, err := os.Stat(filepath.Join(dir, copyName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged copy is still in its place: %v", err)
	}
	if !strings.Contains(told.String(), "set aside") {
		t.Errorf("log: got %q", told.String())
	}
}

// faulty is a file system that fails at one step, and notes the steps.
type faulty struct {
	osFiles
	failAt string
	steps  *[]string
}

func (f faulty) step(name string) error {
	*f.steps = append(*f.steps, name)
	if name == f.failAt {
		return fmt.Errorf("%s: %w", name, errFaulty)
	}
	return nil
}

var errFaulty = errors.New("the disk is broken")

func (f faulty) Create(name string) (file, error) {
	if err := f.step("create"); err != nil {
		return nil, err
	}
	made, err := f.osFiles.Create(name)
	return faultyFile{made, f}, err
}

func (f faulty) Rename(from, to string) error {
	if err := f.step("rename"); err != nil {
		return err
	}
	return f.osFiles.Rename(from, to)
}

func (f faulty) SyncDir(dir string) error {
	return errors.Join(f.step("sync directory"), f.osFiles.SyncDir(dir))
}

type faultyFile struct {
	file
	fs faulty
}

// Write writes half before it fails, as a full disk does.
func (f faultyFile) Write(b []byte) (int, error) {
	if err := f.fs.step("write"); err != nil {
		n, _ := f.file.Write(b[:len(b)/2])
		return n, err
	}
	return f.file.Write(b)
}

func (f faultyFile) Sync() error  { return errors.Join(f.fs.step("sync"), f.file.Sync()) }
func (f faultyFile) Close() error { return errors.Join(f.file.Close(), f.fs.step("close")) }

func TestFailingDiskLeavesAWholeCopy(t *testing.T) {
	steps := []string{"create", "write", "sync", "close", "rename", "sync directory"}
	old, next := copied{products: []copiedProduct{{name: "old"}}}, copied{products: []copiedProduct{{name: "new"}}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, step := range append(steps, "") {
		t.Run("fails at "+step, func(t *testing.T) {
			dir, done := t.TempDir(), []string{}
			if err := newDisk(dir, osFiles{}, log).store(encode(old)); err != nil {
				t.Fatal(err)
			}
			err := newDisk(dir, faulty{failAt: step, steps: &done}, log).store(encode(next))
			if got := errors.Is(err, errFaulty); got != (step != "") {
				t.Errorf("got error %v", err)
			}
			want := "old"
			if step == "" || step == "sync directory" {
				want = "new" // it has its name already, if not for certain
			}
			if got := newDisk(dir, osFiles{}, log).load(time.Now()); len(got.products) != 1 || got.products[0].name != want {
				t.Errorf("got %v, want the %s copy", got.products, want)
			}
			if step == "" && !slices.Equal(done, steps) {
				t.Errorf("steps: got %v, want %v", done, steps)
			}
		})
	}
}

func TestCopyIsWrittenAgainWhenTheDiskReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, source, done := t.TempDir(), &aws{}, []string{}
		source.put(held(arn1, initech, "basic"))
		w := open(t, source, dir)
		w.disk.files = faulty{failAt: "sync", steps: &done}
		if err := w.sweep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if err := w.save(); !errors.Is(err, errFaulty) {
			t.Errorf("got %v, want the disk's error", err)
		}
		done = nil
		w.disk.files = faulty{steps: &done}
		for range 2 { // the second time there is nothing new
			if err := w.save(); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := strings.Join(done, ", "), "create, write, sync, close, rename, sync directory"; got != want {
			t.Errorf("steps: got %s, want %s", got, want)
		}
		open(t, &aws{}, dir).wants(t, "initech", "/any", policy.Allowed)
	})
}
