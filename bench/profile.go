package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// profileFor is how long weir is profiled.
const profileFor = 5 * time.Second

// profile writes what weir does in the base case, at one pace, for `go tool pprof`.
func (b *bench) profile(ctx context.Context, file, at string) error {
	paces, err := pacesOf(at)
	if err != nil {
		return err
	}
	return b.with(ctx, base(), func(_, weir *target) error {
		conns, plans, err := dial(ctx, weir, paces[0], base().ask())
		if err != nil {
			return err
		}
		defer conns[0].Close()
		var group errgroup.Group
		group.Go(func() error {
			_, err := drive(conns, plans, profileFor+2*time.Second)
			return err
		})
		group.Go(func() error { return weir.writeProfile(ctx, file) })
		return group.Wait()
	})
}

func (t *target) writeProfile(ctx context.Context, file string) error {
	from := fmt.Sprintf("%s/debug/pprof/profile?seconds=%.0f", strings.TrimSuffix(t.metrics, "/metrics"), profileFor.Seconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s", resp.Status)
	}
	to, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	_, err = io.Copy(to, resp.Body)
	return errors.Join(err, to.Close())
}
