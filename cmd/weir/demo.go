package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

// demo is `weir demo`: the main job on this machine, with AWS played by the emulator.
// It fails when the bill is not what the application served.
func demo(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	keep := fs.Bool("keep", false, "leave everything running, with requests to try, until interrupted")
	asJSON := fs.Bool("json", false, "print what happened as JSON")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	envoy, err := stage.FindEnvoy(c.getenv("WEIR_ENVOY"))
	if err != nil {
		return withHint(err, "`make envoy` fetches it into .cache/envoy; or set WEIR_ENVOY to a binary of Envoy 1.36 or newer")
	}
	weir, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find weir's own binary: %w", err)
	}
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is in the system's directory for what may go
	show := c.out
	if *asJSON {
		show = c.err
	}
	d := &play{out: show}
	d.say("Starting AWS Marketplace (emulated), weir, Envoy and an application, all on this machine ...")
	began := time.Now()
	d.stage, err = stage.Set(ctx, stage.Plan{Dir: dir, Weir: weir, Envoy: envoy, Marketplace: scenarioAt(time.Now())})
	if err != nil {
		return err
	}
	d.say("  ready after %.1f s\n", time.Since(began).Seconds())
	err = d.run(ctx)
	if *asJSON {
		err = errors.Join(err, json.NewEncoder(c.out).Encode(d.report))
	}
	if err == nil && *keep {
		d.keep(ctx)
	}
	return errors.Join(err, d.stage.Close())
}

// scenarioAt is the emulator's scenario with its clock moved, where that is needed, to where
// neither the hour nor the day ends while the demo runs.
func scenarioAt(now time.Time) string {
	now = now.UTC()
	at := now
	if at.Minute() >= 50 {
		at = at.Truncate(time.Hour).Add(65 * time.Minute)
	}
	if at.Hour() >= 21 {
		at = time.Date(at.Year(), at.Month(), at.Day()+1, 1, 5, 0, 0, time.UTC)
	}
	if at.Equal(now) {
		return examples.Marketplace
	}
	return fmt.Sprintf("- PUT clock: {advance: %s}\n%s", at.Sub(now).Round(time.Second), examples.Marketplace)
}

// keep says what to try and waits until the context ends.
func (d *play) keep(ctx context.Context) {
	d.say("\nEverything goes on running. Try:\n")
	for _, line := range []string{
		"curl -i -H 'x-tenant-id: globex' http://" + d.stage.Ingress + "/v1/reports/7",
		"curl -i -H 'x-tenant-id: umbrella' http://" + d.stage.Ingress + "/v1/reports/7",
		"curl -s http://" + d.stage.Admin + "/v1/status",
		"curl -s http://" + d.stage.Admin + "/v1/usage",
		"curl -s http://" + d.stage.Admin + "/metrics | grep ^weir_",
		"curl -s " + d.stage.URL + "/_control/bill",
		"curl -s -X PUT -d '{\"advance\": \"1h\"}' " + d.stage.URL + "/_control/clock",
		strings.Join([]string{os.Args[0], "explain -config", d.stage.ConfigFile, "-tenant initech GET http://acme.test/v1/sso/login"}, " "),
	} {
		d.say("  %s", line)
	}
	d.say("\nCtrl-C ends it.")
	<-ctx.Done()
}
