package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/weirhq/weir/config"
)

// level is how bad a finding is.
type level string

// The levels. Skipped: it could not be looked at, and a finding says why.
const (
	levelOK      level = "ok"
	levelSkipped level = "skipped"
	levelWarning level = "warning"
	levelFailure level = "failure"
)

// What is looked at, in the order in which findings are told.
const (
	checkConfiguration = "configuration"
	checkCredentials   = "credentials"
	checkNetwork       = "network"
	checkClock         = "clock"
	checkRegion        = "region"
	checkIAM           = "iam"
	checkListing       = "listing"
	checkDimensions    = "dimensions"
	checkQueues        = "queues"
	checkState         = "state"
	checkWeir          = "weir"
	checkAccessLog     = "access log"
	checkHeaders       = "headers"
	checkWriters       = "writers"
)

func checks() []string {
	return []string{
		checkConfiguration, checkCredentials, checkNetwork, checkClock, checkRegion, checkIAM, checkListing, checkDimensions,
		checkQueues, checkState, checkWeir, checkAccessLog, checkHeaders, checkWriters,
	}
}

// finding is one thing that doctor has found out.
type finding struct {
	// Check is what was looked at.
	Check string `json:"check"`
	// Status is ok, skipped, warning or failure.
	Status level `json:"status"`
	// Message is a sentence about it.
	Message string `json:"message"`
	// Hint is the cure, or empty.
	Hint string `json:"hint,omitempty"`
}

// diagnosis is all that was found.
type diagnosis struct {
	cfg      *config.Config
	log      *slog.Logger
	findings []finding
}

// add adds a finding, once: several products can have the same trouble.
func (d *diagnosis) add(f finding) {
	if !slices.Contains(d.findings, f) {
		d.findings = append(d.findings, f)
	}
}

func (d *diagnosis) ok(check, format string, args ...any) {
	d.add(finding{Check: check, Status: levelOK, Message: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) skip(check, format string, args ...any) {
	d.add(finding{Check: check, Status: levelSkipped, Message: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) warn(check, hint, format string, args ...any) {
	d.add(finding{check, levelWarning, fmt.Sprintf(format, args...), hint})
}

func (d *diagnosis) fail(check, hint, format string, args ...any) {
	d.add(finding{check, levelFailure, fmt.Sprintf(format, args...), hint})
}

// has tells whether there is a finding on a check.
func (d *diagnosis) has(check string) bool {
	return slices.ContainsFunc(d.findings, func(f finding) bool { return f.Check == check })
}

// count counts the findings of a level.
func (d *diagnosis) count(l level) (n int) {
	for _, f := range d.findings {
		if f.Status == l {
			n++
		}
	}
	return n
}

// doctor is `weir doctor`: it tries what weir needs, changes nothing at AWS, and says what is wrong and what cures it.
func doctor(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	asJSON := fs.Bool("json", false, "print JSON")
	envoy := urlFlag(fs, "url", "a `URL` behind Envoy: one GET with a forged x-weir- header is sent there", "http://127.0.0.1:10000/")
	if _, err := parse(fs, args, 0); err != nil {
		return err
	}
	cfg, err := loadConfig(*file)
	if err != nil {
		return err
	}
	d := &diagnosis{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	d.configuration(filepath.Base(*file))
	d.aws(ctx)
	d.volume()
	if weir := d.findRunning(ctx, newAdmin(*at, cfg, c.getenv("WEIR_TOKEN")), *at != ""); weir != nil {
		d.running(ctx, weir, *envoy)
	}
	slices.SortStableFunc(d.findings, func(a, b finding) int { return slices.Index(checks(), a.Check) - slices.Index(checks(), b.Check) })
	if err := d.show(c.out, *asJSON); err != nil {
		return err
	}
	if n := d.count(levelFailure); n > 0 {
		return fmt.Errorf("doctor: failures: %d", n)
	}
	return nil
}

// configuration tells what is no mistake in the file and still stands in the way.
func (d *diagnosis) configuration(name string) {
	for _, n := range d.cfg.NotYet() {
		if n.Refuse {
			d.fail(checkConfiguration, "take this key out", "serve will not start: %s", n.Text(name))
		}
	}
	for _, w := range d.cfg.Warnings() {
		d.warn(checkConfiguration, w.Hint, "%s", w.Text(name))
	}
	if !d.has(checkConfiguration) {
		d.ok(checkConfiguration, "%s is valid", name)
	}
}

// show prints the findings, and what Envoy needs.
func (d *diagnosis) show(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
			Envoy    []string  `json:"envoy"`
		}{d.count(levelFailure) == 0, d.findings, d.cfg.EnvoyLines()})
	}
	for _, f := range d.findings {
		fmt.Fprintf(w, "%-8s %-13s %s\n", f.Status, f.Check, f.Message)
		if f.Hint != "" {
			fmt.Fprintf(w, "%-22s hint: %s\n", "", f.Hint)
		}
	}
	fmt.Fprintf(w, "\nfailures: %d, warnings: %d. Envoy needs:\n\n", d.count(levelFailure), d.count(levelWarning))
	for _, line := range d.cfg.EnvoyLines() {
		fmt.Fprintf(w, "    %s\n", line)
	}
	return nil
}
