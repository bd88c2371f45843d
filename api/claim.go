package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	claimKeyName = "claims.key"
	claimKeySize = 32 // bytes: as long as SHA-256's sum
	// claimLife is how long a buyer has to come from the redirect to a tenant, AWS time.
	claimLife = time.Hour
	// maxClaim bounds what is read of a claim, in bytes: four times what the longest ids make.
	maxClaim = 4 << 10
)

var (
	// ErrClaimForged tells that a text is no claim that was signed here.
	ErrClaimForged = errors.New("the claim is not one of this weir's")
	// ErrClaimExpired tells that a claim is older than an hour.
	ErrClaimExpired = errors.New("the claim has expired")
)

// Claims signs and reads claims: what AWS said of a buyer who registered, as a text that
// can travel through the buyer's browser and be believed when it comes back.
type Claims struct {
	key []byte
	now func() time.Time // AWS time
}

// OpenClaims makes Claims with the key in the state directory, and makes the key at the
// first start. Only its owner may read it.
func OpenClaims(dir string, now func() time.Time) (*Claims, error) {
	path := filepath.Join(dir, claimKeyName)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open key of claims: %w", err)
	}
	if len(key) != claimKeySize {
		return nil, fmt.Errorf("open key of claims: %s has %d bytes of %d: remove it, and a new one is made; claims of the last hour are lost", path, len(key), claimKeySize)
	}
	return &Claims{key, now}, nil
}

// makeKey writes a new key, whole or not at all.
func makeKey(path string) (key []byte, err error) {
	key = make([]byte, claimKeySize)
	_, _ = rand.Read(key) // it never fails (crypto/rand)
	temp, err := os.CreateTemp(filepath.Dir(path), claimKeyName+".new-*")
	if err != nil {
		return nil, err
	}
	_, err = temp.Write(key)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(temp.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return key, errors.Join(dir.Sync(), dir.Close())
}

// claimed is a claim as it is signed.
type claimed struct {
	ID       string     `json:"i"`
	Until    int64      `json:"u"` // seconds since 1970
	Product  string     `json:"p"`
	Account  string     `json:"a,omitempty"`
	Customer string     `json:"c,omitempty"`
	License  policy.Key `json:"l,omitempty"`
}

// Issue signs a claim for the buyer who registered, good for an hour. Each one is
// another, also for the same buyer.
func (c *Claims) Issue(r Registered) string {
	b, err := json.Marshal(claimed{
		ID: rand.Text(), Until: c.now().Add(claimLife).Unix(),
		Product: r.Product, Account: r.Account, Customer: r.Customer, License: r.License,
	})
	if err != nil {
		panic(err) // texts and a number can always be written
	}
	said := base64.RawURLEncoding.EncodeToString(b)
	return said + "." + base64.RawURLEncoding.EncodeToString(c.sign(said))
}

// Read believes a claim that was signed here and has not expired.
func (c *Claims) Read(text string) (cache.Claim, error) {
	if len(text) > maxClaim {
		return cache.Claim{}, ErrClaimForged
	}
	said, shown, _ := strings.Cut(text, ".")
	sum, err := base64.RawURLEncoding.Strict().DecodeString(shown)
	if err != nil || !hmac.Equal(sum, c.sign(said)) {
		return cache.Claim{}, ErrClaimForged
	}
	b, err := base64.RawURLEncoding.DecodeString(said)
	var read claimed
	if err != nil || json.Unmarshal(b, &read) != nil {
		return cache.Claim{}, ErrClaimForged
	}
	until := time.Unix(read.Until, 0).UTC()
	if !c.now().Before(until) {
		return cache.Claim{}, ErrClaimExpired
	}
	return cache.Claim{
		ID: read.ID, Until: until, Product: read.Product, Account: read.Account, Customer: read.Customer, License: read.License,
	}, nil
}

func (c *Claims) sign(said string) []byte {
	mac := hmac.New(sha256.New, c.key)
	mac.Write([]byte("weir claim 1\n" + said))
	return mac.Sum(nil)
}
