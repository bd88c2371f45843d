package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// The bounds of one page of a list.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// millionths is how many of the ledger's numbers make a billed unit (BILLING B08).
const millionths = 1_000_000

// UsageSource lists ledger rows.
type UsageSource interface {
	Rows(ctx context.Context, f metering.Filter) (rows []metering.Row, next string, err error)
}

var _ UsageSource = metering.Ledger(nil)

// UsagePage is a page of the ledger, as the API and the command line show it.
type UsagePage struct {
	Rows []UsageRow `json:"rows"`
	// Next is what to ask for after this page; empty: it is the last.
	Next string `json:"next,omitempty"`
}

// UsageRow is one row of the ledger.
type UsageRow struct {
	ID string `json:"id"`
	// Product is the configuration's key; empty where a direct customer may use every product.
	Product   string    `json:"product,omitempty"`
	License   string    `json:"license"`
	Dimension string    `json:"dimension"`
	Hour      time.Time `json:"hour"`
	State     string    `json:"state"`
	// Quantity is in billed units, written without an exponent.
	Quantity json.Number `json:"quantity"`
	// Timestamp is that of the record; an open hour has none yet.
	Timestamp        time.Time `json:"timestamp,omitzero"`
	Late             bool      `json:"late"`
	Assumed          bool      `json:"assumed"`
	MeteringRecordID string    `json:"meteringRecordId"`
	Error            string    `json:"error"`
	// Ambiguous tells that AWS may have it: an attempt had no clear answer.
	Ambiguous bool `json:"ambiguous,omitempty"`
	// Deadline is when AWS stops to take it; of rows that are still to be sent.
	Deadline time.Time `json:"deadline,omitzero"`
}

// NewUsagePage shows rows of the ledger.
func NewUsagePage(rows []metering.Row, next string) UsagePage {
	p := UsagePage{Rows: make([]UsageRow, len(rows)), Next: next}
	for i := range rows {
		p.Rows[i] = NewUsageRow(&rows[i])
	}
	return p
}

// NewUsageRow shows one row.
func NewUsageRow(r *metering.Row) UsageRow {
	shown := UsageRow{
		ID: r.ID, Product: r.Product, License: string(r.License), Dimension: r.Dimension, Hour: r.Hour.UTC(), State: string(r.State),
		Quantity: quantity(r.Quantity), Late: r.Late, Assumed: r.Assumed,
		MeteringRecordID: r.MeteringRecordID, Error: r.Error, Ambiguous: r.Ambiguous,
	}
	if !r.Timestamp.IsZero() {
		shown.Timestamp = r.Timestamp.UTC()
	}
	if slices.Contains([]metering.State{metering.Frozen, metering.Sent, metering.Blocked}, r.State) {
		shown.Deadline = r.Deadline.UTC()
	}
	return shown
}

// quantity writes millionths as units.
func quantity(n int64) json.Number {
	whole, rest := n/millionths, n%millionths
	if rest == 0 {
		return json.Number(strconv.FormatInt(whole, 10))
	}
	return json.Number(strings.TrimRight(fmt.Sprintf("%d.%06d", whole, rest), "0"))
}

// UsageFilter reads the query of /v1/usage: license, dimension, state, hour (RFC 3339), limit, after.
func UsageFilter(q url.Values) (metering.Filter, error) {
	f := metering.Filter{
		License: policy.Key(q.Get("license")), Dimension: q.Get("dimension"),
		State: metering.State(q.Get("state")), After: q.Get("after"),
	}
	if f.State != "" && !slices.Contains(rowStates(), f.State) {
		return f, fmt.Errorf("read state: %q is none of %s", f.State, join(rowStates()))
	}
	if text := q.Get("hour"); text != "" {
		hour, err := time.Parse(time.RFC3339, text)
		if err != nil || !hour.Equal(hour.Truncate(time.Hour)) {
			return f, fmt.Errorf("read hour: %q is not the start of an hour, such as 2026-03-10T14:00:00Z", text)
		}
		f.Hour = hour.UTC()
	}
	var err error
	f.Limit, err = limit(q)
	return f, err
}

// limit reads how long a page may be.
func limit(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, fmt.Errorf("read limit: %q is not a number from 1 to %d", text, maxLimit)
	}
	return n, nil
}

func rowStates() []metering.State {
	return []metering.State{
		metering.Open, metering.Frozen, metering.Sent, metering.Blocked, metering.Accepted, metering.Refused,
		metering.Conflict, metering.Expired, metering.Rebooked, metering.Stranded, metering.Dry,
	}
}

func join(states []metering.State) string {
	words := make([]string, len(states))
	for i, s := range states {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

func (a *Admin) usage(w http.ResponseWriter, r *http.Request) {
	f, err := UsageFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, reasonInvalid, err.Error())
		return
	}
	rows, next, err := a.sources.Usage.Rows(r.Context(), f)
	switch {
	case errors.Is(err, metering.ErrNoPage):
		fail(w, http.StatusBadRequest, reasonInvalid, err.Error())
		return
	case err != nil:
		a.log.Error("usage not listed", "error", err)
		fail(w, http.StatusServiceUnavailable, reasonFault, "The ledger can't be read at the moment; the log says why.")
		return
	}
	answer(w, http.StatusOK, NewUsagePage(rows, next))
}
