// Command weir decides requests from the entitlements of AWS Marketplace buyers,
// counts what was served and bills it, exactly once. One file for each verb; this
// one finds the verb. `weir serve` (serve.go) wires the packages together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/weirhq/weir/config"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// console is where a verb reads its arguments and environment and writes to.
type console struct {
	out    io.Writer
	err    io.Writer
	getenv func(string) string
}

// verb is one thing that weir does.
type verb struct {
	name    string // of one or two words
	args    string // after the flags, for the usage line
	summary string
	run     func(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error
}

func verbs() []verb {
	return []verb{
		{"serve", "", "decide, count and bill, until SIGTERM", serve},
		{"validate", "", "check a configuration: every mistake at once, with line and cure", validate},
		{"explain", "METHOD URL", "the decision on a request and each step to it", explain},
		{"doctor", "", "try credentials, clock, region, listing, dimensions, queues and state, and say what cures what is wrong", doctor},
		{"usage list", "", "the ledger: counted, frozen, sent, answered", usageList},
		{"usage export", "", "every row of the ledger as CSV or JSON lines", usageExport},
		{"usage rebook", "ID", "give the units of a record that AWS will not bill to the present hour", usageRebook},
		{"usage ack", "PRODUCT", "the conflicts of a product are dealt with: records of 0 go on", usageAck},
		{"usage salvage", "FILE", "what is whole in a damaged ledger that was set aside", usageSalvage},
		{"tenants list", "", "who is tied to whom, and what each tenant holds", tenantsList},
		{"tenants set", "TENANT", "tie a tenant to a buyer or a license, or make a direct customer", tenantsSet},
		{"tenants remove", "TENANT", "tie a tenant to nothing", tenantsRemove},
		{"emulator", "", "AWS Marketplace on localhost", emulate},
		{"demo", "", "emulator, weir, Envoy and an application, driven by real requests", demo},
		{"version", "", "which weir this is", version},
	}
}

// later are the verbs that are reserved.
func later() []string {
	return []string{"grants", "procurement"}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, &console{out: os.Stdout, err: os.Stderr, getenv: os.Getenv}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run finds the verb, runs it and says what went wrong.
func run(ctx context.Context, c *console, args []string) int {
	if group, ok := asksHelp(args); ok {
		usage(c.out, group)
		return exitOK
	}
	for _, v := range verbs() {
		if rest, ok := cutVerb(v.name, args); ok {
			return runVerb(ctx, c, v, rest)
		}
	}
	for _, name := range later() {
		if _, ok := cutVerb(name, args); ok {
			fmt.Fprintf(c.err, "weir: %s: not yet\n", name)
			return exitError
		}
	}
	if len(args) > 0 {
		fmt.Fprintf(c.err, "weir: no verb %q\n", strings.Join(args[:min(2, len(args))], " "))
	}
	usage(c.err, "")
	return exitUsage
}

// asksHelp tells whether the arguments ask which verbs there are: all of them, or those of a
// group, which begin with one word, as in `weir usage -h`.
func asksHelp(args []string) (group string, ok bool) {
	if len(args) > 1 && slices.ContainsFunc(verbs(), func(v verb) bool { return strings.HasPrefix(v.name, args[0]+" ") }) {
		group, args = args[0]+" ", args[1:]
	}
	return group, len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0])
}

// cutVerb takes the verb's words off the arguments.
func cutVerb(name string, args []string) (rest []string, ok bool) {
	words := strings.Fields(name)
	if len(args) < len(words) {
		return nil, false
	}
	for i, w := range words {
		if args[i] != w {
			return nil, false
		}
	}
	return args[len(words):], true
}

func runVerb(ctx context.Context, c *console, v verb, args []string) int {
	fs := flag.NewFlagSet("weir "+v.name, flag.ContinueOnError)
	fs.SetOutput(c.err)
	fs.Usage = func() {} // errors are said below; -h goes to standard output
	err := v.run(ctx, c, fs, args)
	var wrong *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(c.out, "usage: weir %s\n\n%s\n", strings.TrimSpace(v.name+" [flags] "+v.args), v.summary)
		fs.SetOutput(c.out)
		fs.PrintDefaults()
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(c.err, "weir: %s: %s\nusage: weir %s\n", v.name, wrong.msg, strings.TrimSpace(v.name+" [flags] "+v.args))
		return exitUsage
	default:
		sayError(c.err, err)
		return exitError
	}
}

// usageError is a mistake in the arguments.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// parse reads the flags and checks how many arguments follow.
func parse(fs *flag.FlagSet, args []string, n int) ([]string, error) {
	fs.SetOutput(io.Discard) // the flag package would print the mistake by itself
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, &usageError{err.Error()}
	}
	if fs.NArg() != n {
		return nil, &usageError{fmt.Sprintf("takes %d arguments after the flags, got %d", n, fs.NArg())}
	}
	return fs.Args(), nil
}

// hinted is an error with a cure.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// withHint adds a cure to an error.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// sayError prints an error the way all of weir's are printed.
func sayError(w io.Writer, err error) {
	var mistakes *config.Error
	if errors.As(err, &mistakes) { // a line each, which it writes whole
		fmt.Fprintln(w, mistakes)
		return
	}
	fmt.Fprintf(w, "weir: %s\n", err)
	var h *hinted
	if errors.As(err, &h) {
		fmt.Fprintf(w, "hint: %s\n", h.hint)
	}
}

// usage writes the verbs whose names begin with group; "" is all of them.
func usage(w io.Writer, group string) {
	fmt.Fprintf(w, "usage: weir %sVERB [flags]\n\n", group)
	for _, v := range verbs() {
		if strings.HasPrefix(v.name, group) {
			fmt.Fprintf(w, "  %-14s %s\n", v.name, v.summary)
		}
	}
	fmt.Fprintf(w, "\n`weir %sVERB -h` shows the flags of a verb.", group)
	if group == "" {
		fmt.Fprintf(w, " Not yet: %s.", strings.Join(later(), ", "))
	}
	fmt.Fprintln(w)
}
