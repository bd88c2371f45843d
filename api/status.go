package api

import (
	"net/http"

	"github.com/weirhq/weir/metering"
)

// Reason is why a process is not ready.
type Reason struct {
	// Reason is one word: no_entitlements, entitlements_stale, ledger, place or draining; of a
	// warning ledger_set_aside or conflict.
	Reason string `json:"reason"`
	// Detail is a sentence for the operator.
	Detail string `json:"detail"`
}

// Status is how a process stands.
type Status struct {
	// Sources are those of entitlements, by product.
	Sources map[string]SourceStatus `json:"sources"`
	// Ledger counts rows by state.
	Ledger map[metering.State]int64 `json:"ledger"`
	// Disk tells whether the ledger can be written, and what was set aside.
	Disk DiskStatus `json:"disk"`
	// Conflicts are the signs of other writers that nobody has acknowledged.
	Conflicts []metering.OtherWriter `json:"conflicts"`
	// Clock is AWS's, as far as it is known.
	Clock ClockStatus `json:"clock"`
	// Feeds count what arrived, by feed and then by kind.
	Feeds map[string]map[string]int64 `json:"feeds"`
	// Pins are those that an operator has to settle.
	Pins []Pin `json:"pins"`
	// Listen holds the addresses that were bound, by their keys under listen.
	Listen map[string]string `json:"listen"`
	// Build is what runs.
	Build Build `json:"build"`
}

// DiskStatus is how the ledger's file stands.
type DiskStatus struct {
	// Writable tells that counts reach the disk; else they are kept in memory.
	Writable bool `json:"writable"`
	// Error is why the ledger can't be written or read.
	Error string `json:"error,omitempty"`
	// SetAside are the damaged files that were set aside and are still there.
	SetAside []string `json:"setAside,omitempty"`
}

// SourceStatus is how the entitlements of a product stand.
type SourceStatus struct {
	// Age is how long ago they were last confirmed, in seconds; nil: never.
	Age *float64 `json:"age"`
	// Licenses is how many memory holds.
	Licenses int `json:"licenses"`
	// State is fresh, stale or never.
	State string `json:"state"`
}

// ClockStatus is how AWS's clock stands.
type ClockStatus struct {
	// Offset is AWS's time minus local time, in seconds.
	Offset float64 `json:"offset"`
}

// Pin is a tenant whose pinned license has ended while several could take its place.
type Pin struct {
	Tenant     string   `json:"tenant"`
	License    string   `json:"license"`
	Candidates []string `json:"candidates"`
}

// Build is what was built, and by which Go.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func (a *Admin) livez(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, struct {
		Live bool `json:"live"`
	}{true})
}

func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	reasons := a.sources.Ready()
	status := http.StatusOK
	if len(reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, struct {
		Ready    bool     `json:"ready"`
		Reasons  []Reason `json:"reasons"`
		Warnings []Reason `json:"warnings,omitempty"`
	}{len(reasons) == 0, append([]Reason{}, reasons...), a.sources.Warnings()})
}

func (a *Admin) status(w http.ResponseWriter, r *http.Request) {
	s, err := a.sources.Status(r.Context())
	if err != nil {
		a.log.Error("status not available", "error", err)
		fail(w, http.StatusServiceUnavailable, reasonFault, "The status can't be told at the moment; the log says why.")
		return
	}
	answer(w, http.StatusOK, s.filled())
}

// filled has an empty list or object where there is nothing, so that readers need not tell null apart.
func (s Status) filled() Status {
	if s.Sources == nil {
		s.Sources = map[string]SourceStatus{}
	}
	if s.Ledger == nil {
		s.Ledger = map[metering.State]int64{}
	}
	if s.Conflicts == nil {
		s.Conflicts = []metering.OtherWriter{}
	}
	if s.Feeds == nil {
		s.Feeds = map[string]map[string]int64{}
	}
	if s.Pins == nil {
		s.Pins = []Pin{}
	}
	if s.Listen == nil {
		s.Listen = map[string]string{}
	}
	return s
}
