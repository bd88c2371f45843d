package api

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// buyer is who registers in these tests.
var buyer = Registered{
	Product: "acme", Account: "123456789012", Customer: "ifAPi5AcF3",
	License: "arn:aws:license-manager::294406859311:license:l-2f6b",
}

// openClaims opens the claims of a directory, at noon.
func openClaims(t *testing.T, dir string) *Claims {
	t.Helper()
	c, err := OpenClaims(dir, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaimReadsBackWhatWasSigned(t *testing.T) {
	tests := map[string]Registered{
		"everything is known":  buyer,
		"only the account":     {Product: "acme", Account: "123456789012"},
		"only the customer":    {Product: "acme", Customer: "ifAPi5AcF3", License: "4ab/ifAPi5AcF3"},
		"the longest ids":      {Product: strings.Repeat("p", 64), Account: "123456789012", Customer: strings.Repeat("c", 255), License: policy.Key(strings.Repeat("l", 255))},
		"signs that JSON bars": {Product: `"<&>\` + "\u2028", Account: "123456789012"},
	}
	for name, r := range tests {
		t.Run(name, func(t *testing.T) {
			c := openClaims(t, t.TempDir())
			got, err := c.Read(c.Issue(r))
			if err != nil {
				t.Fatal(err)
			}
			want := cache.Claim{
				Until: noon.Add(time.Hour), Product: r.Product, Account: r.Account, Customer: r.Customer, License: r.License,
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(cache.Claim{}, "ID")); diff != "" {
				t.Error(diff)
			}
			if got.ID == "" {
				t.Error("the claim has no id")
			}
		})
	}
}

func TestClaimNeedsNoEscapingInAURL(t *testing.T) {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	if claim := openClaims(t, t.TempDir()).Issue(buyer); strings.Trim(claim, plain) != "" {
		t.Errorf("%q would be escaped", claim)
	}
}

func TestEveryClaimOfABuyerHasItsOwnID(t *testing.T) {
	c := openClaims(t, t.TempDir())
	seen := map[string]bool{}
	for range 100 {
		claim, err := c.Read(c.Issue(buyer))
		if err != nil {
			t.Fatal(err)
		}
		if seen[claim.ID] {
			t.Fatalf("id %s twice", claim.ID)
		}
		seen[claim.ID] = true
	}
}

func TestClaimExpiresAnHourAfterItWasSignedByAWSTime(t *testing.T) {
	now := noon
	c, err := OpenClaims(t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	claim := c.Issue(buyer)
	for _, tt := range []struct {
		after time.Duration
		want  error
	}{
		{0, nil},
		{time.Hour - time.Nanosecond, nil},
		{time.Hour, ErrClaimExpired},
		{24 * time.Hour, ErrClaimExpired},
		{-time.Minute, nil}, // AWS time was set back
	} {
		now = noon.Add(tt.after)
		if _, err := c.Read(claim); !errors.Is(err, tt.want) {
			t.Errorf("after %s: %v, want %v", tt.after, err, tt.want)
		}
	}
}

func TestTextThatWasNotSignedHereIsForged(t *testing.T) {
	c := openClaims(t, t.TempDir())
	signed := c.Issue(buyer)
	said, sum, _ := strings.Cut(signed, ".")
	other, _, _ := strings.Cut(c.Issue(Registered{Product: "acme", Account: "999999999999"}), ".")
	tests := map[string]string{
		"nothing":                  "",
		"a dot":                    ".",
		"no signature":             said,
		"an empty signature":       said + ".",
		"half a signature":         said + "." + sum[:len(sum)/2],
		"a signature of zeros":     said + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		"a padded signature":       signed + "=",
		"a third part":             signed + "." + sum,
		"another one's signature":  other + "." + sum,
		"another weir's":           openClaims(t, t.TempDir()).Issue(buyer),
		"only a signature":         "." + sum,
		"no base64":                "%%%." + sum,
		"signed, but no base64":    signedAs(c, "%%%"),
		"signed, but no JSON":      signedAs(c, base64.RawURLEncoding.EncodeToString([]byte("no"))),
		"signed, but over 4 KiB":   c.Issue(Registered{Product: strings.Repeat("p", 4<<10)}),
		"a megabyte of signatures": said + "." + strings.Repeat("A", 1<<20),
	}
	for name, claim := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := c.Read(claim); !errors.Is(err, ErrClaimForged) || got != (cache.Claim{}) {
				t.Errorf("read %+v, %v", got, err)
			}
		})
	}
}

// signedAs signs a text that Issue would not.
func signedAs(c *Claims, said string) string {
	return said + "." + base64.RawURLEncoding.EncodeToString(c.sign(said))
}

func TestClaimOfWhichAnyByteIsChangedIsForged(t *testing.T) {
	c := openClaims(t, t.TempDir())
	signed := c.Issue(buyer)
	for i := range signed {
		for _, b := range []byte("A_.=\n\x00") {
			changed := []byte(signed)
			if changed[i] == b {
				continue
			}
			changed[i] = b
			if _, err := c.Read(string(changed)); !errors.Is(err, ErrClaimForged) {
				t.Errorf("byte %d made %q: %v", i, b, err)
			}
		}
		// The next sign: as the last one it differs in bits only that encode nothing.
		changed := []byte(signed)
		changed[i]++
		if _, err := c.Read(string(changed)); !errors.Is(err, ErrClaimForged) {
			t.Errorf("byte %d made the next one: %v", i, err)
		}
	}
}

func TestKeyOfClaimsIsItsOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	openClaims(t, dir)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "claims.key" {
		t.Fatalf("the directory holds %v, %v; want claims.key alone", entries, err)
	}
	info, err := entries[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 || info.Size() != 32 {
		t.Errorf("the key has mode %s and %d bytes, want -rw------- and 32", info.Mode(), info.Size())
	}
}

func TestKeyOfClaimsOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	claim := openClaims(t, dir).Issue(buyer)
	if _, err := openClaims(t, dir).Read(claim); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestKeyOfAnotherSizeIsRefusedWithTheCure(t *testing.T) {
	for _, size := range []int{0, 31, 33} {
		dir := t.TempDir()
		path := filepath.Join(dir, "claims.key")
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenClaims(dir, time.Now)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestKeyThatCannotBeMadeIsAnError(t *testing.T) {
	_, err := OpenClaims(filepath.Join(t.TempDir(), "nowhere"), time.Now)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "claims.key"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenClaims(dir, time.Now); err == nil {
		t.Error("a directory was taken for the key")
	}
}
