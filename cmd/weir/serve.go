package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/internal/listen"
)

// serve is `weir serve`: it decides, counts and bills until SIGTERM.
func serve(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	cfg, err := loadConfig(*file)
	if err != nil {
		return err
	}
	log := newLog(c.err, levelOf(cfg.Log.Level))
	if err := refuse(cfg, filepath.Base(*file)); err != nil {
		return err
	}
	doors, err := openDoors(ctx, cfg, c.getenv("WEIR_TOKEN"))
	if err != nil {
		return err
	}
	log.Info("listening", "grpc", doors.grpc.String(), "admin", doors.admin.String())
	warn(cfg, log)
	n, err := newNode(ctx, cfg, doors, log)
	if err != nil {
		return errors.Join(err, doors.grpc.Close(), doors.admin.Close())
	}
	return n.run(ctx)
}

// refuse refuses what the file asks for and weir does not do yet, where a bill or a
// decision would be another one.
func refuse(cfg *config.Config, name string) error {
	var errs []error
	for _, n := range cfg.NotYet() {
		if n.Refuse {
			errs = append(errs, fmt.Errorf("serve %s", n.Text(name)))
		}
	}
	return withHint(errors.Join(errs...), "take these keys out, or let their routes be in shadow mode; `weir validate` names them all")
}

// warn names the rest of what the file asks for and weir does not do yet.
func warn(cfg *config.Config, log *slog.Logger) {
	for _, n := range cfg.NotYet() {
		log.Warn("key not acted on yet", "key", n.Path, "line", n.Line, "what", n.Msg)
	}
}

// doors are the open listeners.
type doors struct{ grpc, admin *listen.Listener }

// openDoors opens every address of the configuration before anything else is done, so
// that a port that is taken is said at once.
func openDoors(ctx context.Context, cfg *config.Config, token string) (doors, error) {
	access := listen.Access{Token: token}
	var err error
	if access.TLS, err = cfg.Listen.TLS.Load(); err != nil {
		return doors{}, err
	}
	var d doors
	if d.grpc, err = openDoor(ctx, cfg.Listen.GRPC, access); err != nil {
		return doors{}, err
	}
	if d.admin, err = openDoor(ctx, cfg.Listen.Admin, access); err != nil {
		return doors{}, errors.Join(err, d.grpc.Close())
	}
	return d, nil
}

func openDoor(ctx context.Context, address string, access listen.Access) (*listen.Listener, error) {
	a, err := listen.Parse(address)
	if err != nil {
		return nil, err
	}
	l, err := listen.Open(ctx, a, access)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, withHint(err, "make the directory of the socket, where weir and Envoy may write")
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(err, "another process listens there: is a weir running already?")
	}
	return l, err
}

// makeState makes the state directory, which only weir may read.
func makeState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return withHint(fmt.Errorf("make state directory: %w", err), "name a directory that weir may write with the key state")
	}
	return nil
}
