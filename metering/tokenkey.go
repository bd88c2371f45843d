package metering

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// TokenKey is what tokens are authenticated with. It outlives the process, so that
// a token is good across a restart (BILLING B04).
type TokenKey [32]byte

const tokenKeyFile = "token.key"

// OpenTokenKey reads the key in the state directory, and makes one where there is none.
func OpenTokenKey(dir string) (TokenKey, error) {
	path := filepath.Join(dir, tokenKeyFile)
	key, err := readTokenKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeTokenKey(path); err == nil {
			key, err = readTokenKey(path)
		}
	}
	if err != nil {
		return TokenKey{}, fmt.Errorf("open key of tokens: %w", err)
	}
	return key, nil
}

func readTokenKey(path string) (key TokenKey, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return key, err
	}
	if len(content) != len(key) {
		return key, fmt.Errorf("%s holds %d bytes, not %d; take it away and a new one is made: checks that wait for their access log entry then end as unconfirmed",
			path, len(content), len(key))
	}
	copy(key[:], content)
	return key, nil
}

// makeTokenKey writes a new key under another name and links it to path, so that a
// crash leaves a whole key or none, and of two processes one makes it.
func makeTokenKey(path string) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, tokenKeyFile+".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temp.Name())) }()
	key := newTokenKey()
	_, err = temp.Write(key[:])
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func newTokenKey() (key TokenKey) {
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	return key
}
