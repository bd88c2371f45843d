package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/metering"
)

// volume tells whether the state directory can be written, and whether what is written there stays.
func (d *diagnosis) volume() {
	dir := d.cfg.State
	if err := tryWrite(dir); err != nil {
		d.fail(checkState, "let weir's user write there, and mount a volume that is not read-only", "%s can't be written: %v", dir, err)
		return
	}
	held := holder(dir)
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil { // not Linux
		d.ok(checkState, "%s can be written", dir)
		return
	}
	defer mounts.Close()
	found, err := mountOf(mounts, held)
	if err != nil {
		d.skip(checkState, "where %s lies can't be told: %v", dir, err)
		return
	}
	why := found.ephemeral()
	if why == "" {
		d.ok(checkState, "%s can be written, on %s (%s)", dir, found.point, found.kind)
		return
	}
	tell := teller(d.fail)
	if found.kind == kindOverlay && d.cfg.AWS.Endpoint != "" {
		tell = d.warn // nothing real is billed
	}
	tell(checkState, "mount a volume there that outlives weir: what the ledger has not sent is lost with it", "%s is on an ephemeral volume: %s", dir, why)
}

// holder is the nearest directory that is there: serve makes the rest.
func holder(dir string) string {
	at, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	for {
		parent := filepath.Dir(at)
		if found, err := filepath.EvalSymlinks(at); err == nil {
			return found
		} else if parent == at {
			return at
		}
		at = parent
	}
}

// tryWrite writes a file where the state is to be, makes it durable, and takes it away.
func tryWrite(dir string) error {
	if at, err := os.Stat(dir); err == nil && !at.IsDir() {
		return errors.New("it is not a directory")
	}
	f, err := os.CreateTemp(holder(dir), ".weir-doctor-*")
	if err != nil {
		return cause(err)
	}
	_, err = f.WriteString("weir")
	return cause(errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())))
}

// cause is an error without the name of the file, which is no more.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// stored tells what the state of a weir that does not run says.
func (d *diagnosis) stored(ctx context.Context) {
	if _, err := os.Stat(filepath.Join(d.cfg.State, "ledger.db")); err != nil {
		d.ok(checkWriters, "nothing was counted yet")
		return
	}
	ledger, err := openLedger(metering.OpenJournal, d.cfg, now, d.log, prometheus.NewRegistry())
	var h *hinted
	switch {
	case errors.As(err, &h):
		d.fail(checkState, h.hint, "%v", err)
		return
	case err != nil:
		d.fail(checkState, "", "%v", err)
		return
	}
	if err := ledger.Place(); err != nil {
		d.place(err.Error())
	}
	writers, err := ledger.OtherWriters(ctx)
	if err = errors.Join(err, ledger.Close()); err != nil {
		d.fail(checkWriters, "", "%v", err)
		return
	}
	d.writers(writers)
}

// place tells that the ledger sends elsewhere than the configuration says (BILLING B17).
func (d *diagnosis) place(why string) {
	d.fail(checkRegion, "set aws.region and agreements back until everything is settled (`weir usage list`), then change them", "%s", why)
}

// writers tells of records that somebody else seems to have sent (BILLING B21).
func (d *diagnosis) writers(found []metering.OtherWriter) {
	for _, w := range found {
		d.fail(checkWriters, fmt.Sprintf("find and end the other writer, then `weir usage ack %s`; `weir usage rebook ID` gives lost units to the present hour", w.Product),
			"product %s: AWS held another quantity than %d of its records: another weir or program sends for this seller account", w.Product, w.Conflicts)
	}
	if len(found) == 0 {
		d.ok(checkWriters, "AWS knows of no other quantity than the ledger's")
	}
}

// kindOverlay is the file system of a container's own layer.
const kindOverlay = "overlay"

// mount is a line of the mount table.
type mount struct{ root, point, kind string }

// ephemeral says why what is written there does not last; empty: it does, as far as can be seen.
func (m mount) ephemeral() string {
	switch {
	case m.kind == "tmpfs", m.kind == "ramfs":
		return m.kind + " at " + m.point + " is memory, and empty after a restart"
	case m.kind == kindOverlay:
		return "overlay at " + m.point + " is a container's own layer, and gone with the container"
	case strings.Contains(m.root, "/kubernetes.io~empty-dir/"):
		return m.point + " is an emptyDir of Kubernetes, and gone with the pod"
	default:
		return ""
	}
}
