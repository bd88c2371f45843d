// Package kit finds the real servers and tools that tests run and `make test-real` fetches.
//
// A test that finds none is skipped, and fails where WEIR_REQUIRE_REAL is 1, as it is for `make test-real`.
package kit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program is the path of one of them: in the directory of `make test-real` (WEIR_REAL), or installed.
func Program(t *testing.T, name string) string {
	t.Helper()
	if dir, ok := directory(t); ok {
		return filepath.Join(dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is not at hand: `make test-real` fetches it")
	}
	return path
}

// Dir is the directory of all of them.
func Dir(t *testing.T) string {
	t.Helper()
	dir, ok := directory(t)
	if !ok {
		missing(t, "WEIR_REAL names no directory of real tools: `make test-real` makes one")
	}
	return dir
}

func directory(t *testing.T) (dir string, ok bool) {
	t.Helper()
	if dir = os.Getenv("WEIR_REAL"); dir == "" {
		return "", false
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, true
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("WEIR_REQUIRE_REAL") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
