package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/metering"
)

func TestAStateInUseIsToldBeforeAWSIsAskedForItsTime(t *testing.T) {
	dir := t.TempDir()
	other, err := metering.OpenJournal(filepath.Join(dir, "ledger.db"), metering.Config{}, metering.Place{}, time.Now,
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	file := filepath.Join(dir, "weir.yaml")
	const nobody = "http://127.0.0.1:1" // who asks there for the time waits for seconds, and says so
	weir := fmt.Sprintf("{state: %s, listen: {grpc: 127.0.0.1:0, http: 127.0.0.1:0, admin: 127.0.0.1:0}, aws: {endpoint: %q}}", dir, nobody)
	if err := os.WriteFile(file, []byte(weir), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := &console{out: io.Discard, err: &said, getenv: func(string) string { return "" }}
	if code := run(t.Context(), c, []string{"serve", "-config", file}); code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	if got := said.String(); !strings.Contains(got, "state is in use by another weir") || strings.Contains(got, "time not known") {
		t.Errorf("got %s", got)
	}
}
