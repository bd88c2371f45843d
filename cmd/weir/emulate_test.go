package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// logUntil keeps a log, and ends the run when a line holds the word.
type logUntil struct {
	bytes.Buffer
	word string
	end  func()
}

func (l *logUntil) Write(line []byte) (int, error) {
	if strings.Contains(string(line), l.word) {
		l.end()
	}
	return l.Buffer.Write(line)
}

func TestTheEmulatorSaysFirstWhereItListens(t *testing.T) {
	scenario := filepath.Join(t.TempDir(), "scenario.yaml")
	const calls = `
- PUT products/code: {id: prod-1, dimensions: [{key: basic, types: [Entitled]}]}
- PUT feeds: {eventbridge: {queue: weir}}
- POST licenses: {product: code, account: "111122223333", entitlements: [{dimension: basic, value: 1}]}
`
	if err := os.WriteFile(scenario, []byte(calls), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := &logUntil{word: "License Updated", end: cancel}
	err := emulate(ctx, &console{out: io.Discard, err: log}, flag.NewFlagSet("emulator", flag.ContinueOnError),
		[]string{"-listen", "127.0.0.1:0", "-scenario", scenario})
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(log.String(), "\n")
	if !strings.Contains(first, `"msg":"listening","emulator":"127.0.0.1:`) {
		t.Errorf("the first line is %s", first)
	}
}
