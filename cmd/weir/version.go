package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

// build is what a binary knows of itself.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// thisBuild reads what the Go toolchain wrote into the binary.
func thisBuild() build {
	b := build{Version: "dev", Commit: "unknown", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	return b
}

func version(_ context.Context, c *console, fs *flag.FlagSet, args []string) error {
	asJSON := fs.Bool("json", false, "print JSON")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	b := thisBuild()
	if *asJSON {
		return json.NewEncoder(c.out).Encode(b)
	}
	_, err := fmt.Fprintf(c.out, "weir %s, commit %s, %s\n", b.Version, b.Commit, b.Go)
	return err
}
