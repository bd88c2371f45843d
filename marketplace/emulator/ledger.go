package emulator

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

const (
	// keptRecords is how many usage records /_control/records shows; the bill keeps all that AWS took.
	keptRecords = 200_000
	// maxBilled bounds the bill; beyond it AWS's service "fails" until a reset.
	maxBilled = 2_000_000
)

// ledger is what AWS remembers of the usage that was sent.
type ledger struct {
	records []record // every one that arrived, refused ones too, oldest first
	billed  map[hour]billed
}

// hour is what AWS takes one record for: concurrent agreements by license, customer, hour and dimension; legacy
// ones by product, customer, hour and dimension, which is their license key.
type hour struct {
	license   string
	dimension string
	start     int64 // Unix seconds of the UTC hour
}

// billed is the record that won its hour.
type billed struct {
	id       string
	quantity quantity
}

// record is a usage record as /_control/records shows it.
type record struct {
	ID         string      `json:"id,omitempty"`
	License    string      `json:"license"`
	Customer   string      `json:"customer"`
	Product    string      `json:"product"`
	Dimension  string      `json:"dimension"`
	Timestamp  time.Time   `json:"timestamp"`
	Quantity   json.Number `json:"quantity"`
	Status     string      `json:"status,omitempty"`
	Error      string      `json:"error,omitempty"`
	ReceivedAt time.Time   `json:"receivedAt"`
}

// billLine is one line of what AWS would bill.
type billLine struct {
	License   string      `json:"license"`
	Dimension string      `json:"dimension"`
	Hour      time.Time   `json:"hour"`
	Quantity  json.Number `json:"quantity"`
}

func newLedger() ledger { return ledger{billed: map[hour]billed{}} }

func (l *ledger) note(r record) {
	if len(l.records) >= 2*keptRecords {
		l.records = append([]record(nil), l.last()...)
	}
	l.records = append(l.records, r)
}

func (l *ledger) last() []record { return l.records[max(0, len(l.records)-keptRecords):] }

// bill has one line per license, dimension and hour, in that order, zero records too.
func (l *ledger) bill() []billLine {
	lines := make([]billLine, 0, len(l.billed))
	for h, b := range l.billed {
		lines = append(lines, billLine{h.license, h.dimension, time.Unix(h.start, 0).UTC(), b.quantity.number()})
	}
	slices.SortFunc(lines, func(a, b billLine) int {
		return cmp.Or(cmp.Compare(a.License, b.License), cmp.Compare(a.Dimension, b.Dimension), a.Hour.Compare(b.Hour))
	})
	return lines
}
