package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/weirhq/weir/config"
)

// defaultConfig is the configuration's file where no flag names one.
const defaultConfig = "weir.yaml"

// maxConfig bounds what is read of a configuration file, a byte more than config.Load takes.
const maxConfig = 4<<20 + 1

func validate(_ context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	cfg, err := loadConfig(*file)
	if err != nil {
		return err
	}
	name := filepath.Base(*file)
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(c.err, "weir: warning: %s\n", w.Text(name))
		if w.Hint != "" {
			fmt.Fprintf(c.err, "hint: %s\n", w.Hint)
		}
	}
	for _, n := range cfg.NotYet() {
		word := "not yet"
		if n.Refuse {
			word = "not yet, so serve will not start"
		}
		fmt.Fprintf(c.err, "weir: %s: %s\n", word, n.Text(name))
	}
	fmt.Fprintf(c.out, "%s is valid. Envoy needs:\n\n", name)
	for _, line := range cfg.EnvoyLines() {
		fmt.Fprintf(c.out, "    %s\n", line)
	}
	return nil
}

// loadConfig reads and checks the configuration.
func loadConfig(file string) (*config.Config, error) {
	f, err := os.Open(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, withHint(fmt.Errorf("read configuration: %w", err), "name it with -config FILE")
		}
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return config.Load(filepath.Base(file), data)
}
