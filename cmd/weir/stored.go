package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// stored is the state on disk of a weir that does not run: read, never changed, and
// nothing is asked of AWS.
type stored struct {
	ledger *metering.Journal
	cache  *cache.Cache
	gate   *cache.Gate
}

// openStored opens the state directory of the configuration.
func openStored(cfg *config.Config, log *slog.Logger) (*stored, error) {
	if _, err := os.Stat(filepath.Join(cfg.State, "ledger.db")); err != nil {
		return nil, withHint(fmt.Errorf("open state: %w", err),
			"no weir runs at %s and %s holds no state of one; name a running one with -admin URL", cfg.Listen.Admin, cfg.State)
	}
	p, err := policy.Compile(cfg.Policy)
	if err != nil {
		return nil, fmt.Errorf("compile configuration: %w", err)
	}
	reg := prometheus.NewRegistry()
	s := &stored{}
	if s.ledger, err = openLedger(metering.OpenJournal, cfg, now, log, reg); err != nil {
		return nil, err
	}
	meter, err := metering.NewMeter(context.Background(), cfg.Metering, s.ledger, metering.TokenKey{}, p.Features(), now, log, reg)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	o := cache.Options{Updates: cfg.Updates, Policy: cfg.Policy}
	if s.cache, err = cache.New(o, p, nil, cfg.State, meter.Counter, now, log, reg); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.gate, err = cache.NewGate(s.cache, cfg.Policy.Routes, reg); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// now is local time: nobody is asked for AWS's.
func now() time.Time { return time.Now().UTC() }

// close closes what was opened.
func (s *stored) close() error {
	if s.cache != nil {
		s.cache.Close()
	}
	return s.ledger.Close()
}
