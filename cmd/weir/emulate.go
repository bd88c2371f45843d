package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/marketplace/emulator"
)

// emulate is `weir emulator`: AWS Marketplace on localhost.
func emulate(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:4588", "the `ADDRESS` to listen on")
	scenario := fs.String("scenario", "", "a YAML `FILE` of control calls to make at start")
	credentials := fs.String("credentials", "", "verify signatures by this `KEY:SECRET`; any well-formed one is taken without")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	cfg := emulator.Config{Credentials: *credentials, Log: newLog(c.err, slog.LevelInfo)}
	if err := cfg.Validate(); err != nil {
		return &usageError{err.Error()}
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return withHint(fmt.Errorf("listen on %s: %w", *listen, err), "name another address with -listen; port 0 takes a free one")
	}
	e := emulator.New(cfg)
	if at, ok := lis.Addr().(*net.TCPAddr); ok && !at.IP.IsUnspecified() {
		e.SetEndpoint("http://" + at.String()) // else URLs are as the emulator was addressed
	}
	cfg.Log.Info("listening", "emulator", lis.Addr().String()) // first; who calls already waits for the scenario
	if err := loadScenario(e, *scenario); err != nil {
		return errors.Join(err, lis.Close())
	}
	return serveEmulator(ctx, e, lis)
}

func loadScenario(e *emulator.Emulator, file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read scenario: %w", err)
	}
	defer f.Close()
	return e.LoadScenario(f)
}

// serveEmulator runs the emulator on a listener until the context ends.
func serveEmulator(ctx context.Context, e *emulator.Emulator, lis net.Listener) error {
	srv := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.Run(ctx) })
	g.Go(func() error {
		if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve emulator: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := srv.Shutdown(ending); err != nil {
			return srv.Close()
		}
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
