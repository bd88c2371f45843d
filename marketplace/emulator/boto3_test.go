package emulator_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/marketplace/emulator"
)

// boto3Version is the one whose service models the emulator is compared with.
const boto3Version = "1.44.5"

// python finds an interpreter with boto3: $WEIR_PYTHON, else the one that `make test` sets up below .cache. Without
// one the test is skipped, or fails where WEIR_REQUIRE_BOTO3=1.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("WEIR_PYTHON")
	if path == "" {
		path = filepath.Join("..", "..", ".cache", "venv", "bin", "python")
	}
	out, err := exec.Command(path, "-c", "import boto3; print(boto3.__version__)").CombinedOutput()
	if err == nil && strings.TrimSpace(string(out)) == boto3Version {
		return path
	}
	cure := "set WEIR_PYTHON to a Python with boto3==" + boto3Version + ", or run `make test`, which installs one"
	if os.Getenv("WEIR_REQUIRE_BOTO3") == "1" {
		t.Fatalf("%s has no boto3 %s (%v %s): %s", path, boto3Version, err, out, cure)
	}
	t.Skipf("no boto3 %s: %s", boto3Version, cure)
	return ""
}

func TestBoto3AndItsServiceModelsAgreeWithTheEmulator(t *testing.T) {
	path := python(t)
	server := httptest.NewServer(emulator.New(emulator.Config{}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, path, "-B", filepath.Join("testdata", "test_boto3.py"))
	command.Env = append(os.Environ(), "WEIR_EMULATOR="+server.URL, "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent",
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
