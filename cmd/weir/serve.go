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
	log.Info("listening", doors.shown()...)
	warn(cfg, log)
	tune := &tuner{getenv: c.getenv, log: log}
	tune.start()
	n, err := newNode(ctx, cfg, doors, log)
	if err != nil {
		return errors.Join(err, doors.close())
	}
	return n.run(ctx, tune.run)
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
	return withHint(errors.Join(errs...), "take these keys out; `weir validate` names them all")
}

// warn names the rest of what the file asks for and weir does not do yet.
func warn(cfg *config.Config, log *slog.Logger) {
	for _, n := range cfg.NotYet() {
		log.Warn("key not acted on yet", "key", n.Path, "line", n.Line, "what", n.Msg)
	}
}

// doors are the open listeners; nil: the configuration names no address.
type doors struct{ grpc, http, admin, public *listen.Listener }

// openDoors opens every address of the configuration before anything else is done, so
// that a port that is taken is said at once.
func openDoors(ctx context.Context, cfg *config.Config, token string) (d doors, err error) {
	access := listen.Access{Token: token}
	if access.TLS, err = cfg.Listen.TLS.Load(); err != nil {
		return doors{}, err
	}
	for _, each := range []struct {
		address string
		access  listen.Access
		door    **listen.Listener
	}{
		{cfg.Listen.GRPC, access, &d.grpc},
		{cfg.Listen.HTTP, access, &d.http},
		{cfg.Listen.Admin, access, &d.admin},
		{cfg.Listen.Public, listen.Access{Everybody: true}, &d.public},
	} {
		if each.address == "" {
			continue
		}
		if *each.door, err = openDoor(ctx, each.address, each.access); err != nil {
			return doors{}, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// door is an open listener and its key under listen.
type door struct {
	name     string
	listener *listen.Listener
}

// each lists the doors that are open.
func (d doors) each() (open []door) {
	for _, one := range []door{{"grpc", d.grpc}, {"http", d.http}, {"admin", d.admin}, {"public", d.public}} {
		if one.listener != nil {
			open = append(open, one)
		}
	}
	return open
}

// shown are the addresses that were bound, for the log.
func (d doors) shown() (pairs []any) {
	for _, one := range d.each() {
		pairs = append(pairs, one.name, one.listener.String())
	}
	return pairs
}

func (d doors) close() error {
	var errs []error
	for _, one := range d.each() {
		errs = append(errs, one.listener.Close())
	}
	return errors.Join(errs...)
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
