package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"

	"github.com/weirhq/weir/config"
)

// keeper is where a verb's answer comes from: a weir that runs, or the state on disk.
type keeper struct {
	admin *admin
	cfg   *config.Config
	named bool // a running weir was named: the state on disk is none of our business
	log   *slog.Logger
}

// newKeeper reads the configuration, which may be missing where a running weir is named.
func newKeeper(c *console, file, at string) (*keeper, error) {
	cfg, err := loadConfig(file)
	if err != nil && at == "" {
		return nil, err
	}
	return &keeper{newAdmin(at, cfg, c.getenv("WEIR_TOKEN")), cfg, at != "", newLog(c.err, slog.LevelWarn)}, nil
}

// call asks the running weir; where none runs and none was named, do does it with the
// state on disk.
func (k *keeper) call(ctx context.Context, method, path string, query url.Values, body, out any, do func(*stored) error) error {
	err := k.admin.call(ctx, method, path, query, body, out)
	if !errors.Is(err, errNotRunning) || k.named {
		return err
	}
	s, err := openStored(k.cfg, k.log)
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.close())
}
