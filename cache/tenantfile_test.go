package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/internal/boltfile"
	"github.com/weirhq/weir/policy"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// written makes a file with tenants in a directory of its own.
func written(t testing.TB, tenants ...stored) (dir string) {
	t.Helper()
	dir = t.TempDir()
	f, _, err := openTenants(dir, time.Now(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.write(tenants, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func someTenants(n int) (all []stored) {
	for i := range n {
		made := tenant{buyer: policy.Subject{Kind: policy.SubjectAccount, ID: fmt.Sprintf("%012d", i)}, products: []string{"acme"}}
		all = append(all, stored{fmt.Sprintf("tenant-%06d", i), made.tied()})
	}
	return all
}

func TestTiedTenantComesApartAsItWasPutTogether(t *testing.T) {
	since := time.Date(2026, 3, 1, 12, 0, 0, 7, time.UTC)
	for _, want := range []tenant{
		{buyer: policy.Subject{Kind: policy.SubjectAccount, ID: initech}},
		{buyer: policy.Subject{Kind: policy.SubjectCustomer, ID: "c"}, products: []string{"acme", "other"}, pins: []pin{{"acme", arn1}, {"acme", arn2}, {"other", arn3}}},
		{buyer: policy.Subject{Kind: policy.SubjectLicense, ID: "direct:x"}, plan: "basic", since: since, products: []string{"acme"}},
		{},
	} {
		made := want.tied()
		if diff := cmp.Diff(want, made.parts(), cmp.AllowUnexported(tenant{}, pin{})); diff != "" {
			t.Errorf("%q, -want +got:\n%s", made, diff)
		}
	}
}

func TestFindingATenantAllocatesNothing(t *testing.T) {
	w := open(t, &aws{}, t.TempDir())
	w.Cache.mu.Lock()
	e := w.edit()
	for i, account := range []string{initech, stranger} {
		l := held([]policy.Key{arn1, arn2}[i], account, "basic")
		l.Product = "acme"
		e.put(&record{license: &l})
	}
	made := tenant{buyer: policy.Subject{Kind: policy.SubjectAccount, ID: stranger}, products: []string{"acme", "other"}, pins: []pin{{"acme", arn2}}}
	e.tie("pinned", made.tied(), time.Now())
	w.publish(e)
	w.Cache.mu.Unlock()
	s := w.Snapshot()
	for _, id := range []string{"initech", "pinned", "bigcorp"} {
		who := policy.Subject{Kind: policy.SubjectTenant, ID: id}
		if _, known := s.Find(who, "acme"); known != policy.Present {
			t.Errorf("%s: got %v", id, known)
		}
		if got := testing.AllocsPerRun(100, func() { s.Find(who, "acme") }); got != 0 {
			t.Errorf("%s: %v allocations", id, got)
		}
	}
}

func TestTiesSurviveARestartWithoutTheEntitlementCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "hooli", Tie{Account: stranger})
		claim := claimOf("c", arn1)
		w.tie(t, "claimed", Tie{Claim: claim})
		info, err := os.Stat(filepath.Join(w.dir, tenantsName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file: %v %v, want mode 0600", info, err)
		}
		w.restart(t)
		w.wantsKeys(t, "claimed", "l-1")
		w.wantsKeys(t, "hooli")
		if _, err := w.Tie(t.Context(), "other", Tie{Claim: claim}); !errors.Is(err, ErrClaimUsed) {
			t.Errorf("a used claim after a restart: got %v", err)
		}
	})
}

func TestTieThatIsAnsweredSurvivesAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.tie(t, "hooli", Tie{Plan: "basic"})
		copied := t.TempDir() // what a machine that loses its power has on disk
		b, err := os.ReadFile(filepath.Join(w.dir, tenantsName))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, tenantsName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, &aws{}, copied).wants(t, "hooli", "/any", policy.Allowed)
	})
}

func TestFileThatIsDamagedAnywhereIsNoticedAndSetAside(t *testing.T) {
	dir := written(t, someTenants(50)...)
	whole, err := os.ReadFile(filepath.Join(dir, tenantsName))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	check := func(what string, b []byte) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, tenantsName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		var told bytes.Buffer
		f, all, err := openTenants(dir, now, slog.New(slog.NewTextHandler(&told, nil)))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		defer f.close()
		if len(all) == 50 {
			return // a byte that says nothing
		}
		if len(all) != 0 {
			t.Errorf("%s: %d of 50 tenants", what, len(all))
		}
		if _, err := os.Stat(filepath.Join(dir, tenantsAsideName+"20260301T000000Z")); err != nil || !strings.Contains(told.String(), "set aside") {
			t.Errorf("%s: not set aside or not told: %v %s", what, err, told.String())
		}
		if err := f.write(someTenants(1), nil, now); err != nil {
			t.Errorf("%s: the next tie: %v", what, err)
		}
	}
	for n := 0; n < len(whole); n += 1021 {
		check(fmt.Sprintf("cut off at byte %d", n), whole[:n])
	}
	for n := 0; n < len(whole); n += 307 {
		damaged := bytes.Clone(whole)
		damaged[n] ^= 0x55
		check(fmt.Sprintf("byte %d changed", n), damaged)
	}
	check("empty", nil)
	check("something else", bytes.Repeat([]byte("tenants"), 4096))
}

func TestMissingOrForeignTenantIsNoticed(t *testing.T) {
	for name, change := range map[string]func(tx *bbolt.Tx) error{
		"a tenant is missing": func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketTenants)).Delete([]byte("tenant-000001")) },
		"a tenant's value is another's": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucketTenants))
			return b.Put([]byte("tenant-000001"), bytes.Clone(b.Get([]byte("tenant-000002"))))
		},
		"a part is missing": func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(bucketClaims)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := written(t, someTenants(3)...)
			db, err := bbolt.Open(filepath.Join(dir, tenantsName), 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(change), db.Close()); err != nil {
				t.Fatal(err)
			}
			f, all, err := openTenants(dir, time.Now(), quiet())
			if err != nil || len(all) != 0 {
				t.Errorf("got %d tenants, %v", len(all), err)
			}
			f.close()
		})
	}
}

func TestFileOfAnotherVersionIsLeftAlone(t *testing.T) {
	dir := written(t, someTenants(3)...)
	db, err := bbolt.Open(filepath.Join(dir, tenantsName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketMeta)).Put([]byte(metaFormat), boltfile.Seal([]byte(metaFormat), []byte("2")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openTenants(dir, time.Now(), quiet()); !errors.Is(err, errTenantsFormat) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, tenantsName)); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestFileOfARunningWeirIsInUse(t *testing.T) {
	dir := written(t, someTenants(3)...)
	f, _, err := openTenants(dir, time.Now(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, _, err := openTenants(dir, time.Now(), quiet()); !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("got %v", err)
	}
}

func TestTieThatCannotBeWrittenChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.tie(t, "hooli", Tie{Plan: "basic"})
		w.file.db.Close() // the disk fails
		_, err := w.Tie(t.Context(), "hooli", Tie{Plan: "enterprise"})
		if !errors.Is(err, ErrDisk) {
			t.Errorf("tie: got %v", err)
		}
		if err := w.Untie(t.Context(), "hooli"); !errors.Is(err, ErrDisk) {
			t.Errorf("untie: got %v", err)
		}
		w.wants(t, "hooli", "/any", policy.Allowed)
		w.wants(t, "hooli", "/sso", policy.FeatureMissing)
	})
}

func TestMovedPinIsWrittenWhenTheDiskReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		w.tie(t, "hooli", Tie{License: arn1})
		w.source.put(held(arn2, stranger, "basic"))
		w.Cache.mu.Lock()
		w.file.db.Close()
		w.Cache.mu.Unlock()
		w.end(t, arn1, stranger)
		settle(time.Second)
		w.wants(t, "hooli", "/any", policy.Allowed) // it moved all the same
		if len(w.unwritten) != 1 {
			t.Fatalf("unwritten: %v", w.unwritten)
		}
		w.Cache.mu.Lock()
		err := w.file.open()
		w.Cache.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		w.Cache.mu.Lock()
		all, err := w.file.read()
		w.Cache.mu.Unlock()
		if err != nil || len(all) != 1 || !strings.Contains(string(all[0].tied), string(arn2)) {
			t.Errorf("on disk: %v %v", all, err)
		}
	})
}

func TestUsedClaimsAreForgottenAnHourAfterTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, &aws{}, t.TempDir())
		w.source.put(held(arn1, stranger, "basic"))
		old := claimOf("old", arn1)
		w.tie(t, "hooli", Tie{Claim: old})
		time.Sleep(3 * time.Hour)
		w.tie(t, "hooli", Tie{Claim: claimOf("new", arn1)})
		if user, err := w.file.claimedBy(old); user != "" || err != nil {
			t.Errorf("remembered: %q %v", user, err)
		}
	})
}

func BenchmarkOpen200000Tenants(b *testing.B) {
	dir := written(b, someTenants(200_000)...)
	w := open(&testing.T{}, &aws{}, b.TempDir())
	defer w.Close()
	for b.Loop() {
		f, all, err := openTenants(dir, time.Now(), quiet())
		if err != nil {
			b.Fatal(err)
		}
		w.Cache.mu.Lock()
		e := w.edit()
		for _, each := range all {
			e.tie(each.id, each.tied, time.Now())
		}
		w.publish(e)
		w.Cache.mu.Unlock()
		f.close()
	}
}

func BenchmarkTieAmong200000Tenants(b *testing.B) {
	dir := written(b, someTenants(200_000)...)
	w := open(&testing.T{}, &aws{}, dir)
	defer w.Close()
	for i := 0; b.Loop(); i++ {
		if _, err := w.Tie(context.Background(), fmt.Sprintf("direct-%d", i), Tie{Plan: "basic"}); err != nil {
			b.Fatal(err)
		}
	}
}
