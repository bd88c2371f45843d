package metering

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/boltfile"
	"github.com/weirhq/weir/policy"
)

// Salvaged is what could be read of a ledger's file, whole or damaged.
type Salvaged struct {
	// Rows are by hour, license and dimension; those of open hours as they stand.
	Rows []SalvagedRow
	// Waiting is what waited for Envoy's access log: of these checks it was not known yet whether they count.
	Waiting []SalvagedChecks
	// Unread is what was there and could not be read.
	Unread []Unread
}

// SalvagedRow is a row that was found with the right checksum.
type SalvagedRow struct {
	Row
	// Stale tells that it comes from a part of the file that was out of use: later changes may be missing.
	Stale bool
}

// SalvagedChecks sums the checks of one license and feature that waited.
type SalvagedChecks struct {
	License policy.Key
	Feature string
	Checks  int64
	Units   int64 // counted units, as far as the checks knew them
	Stale   bool
}

// Unread is something that can't be read.
type Unread struct {
	What   string // a sentence's worth: which page, row or hour
	Offset int64  // in bytes from the start of the file; 0 with a Length of 0: not known
	Length int64  // in bytes
}

// Salvage reads what is whole in a ledger's file, without changing it and without bbolt: page by
// page and value by value, each by its checksum (BILLING B20).
func Salvage(path string) (*Salvaged, error) {
	s := &salvage{
		rows: map[string]*SalvagedRow{}, books: map[string]*salvagedBook{}, strayRows: map[string]*Row{},
		strayBooks: map[string]*book{}, torn: map[string]string{},
	}
	damage, err := boltfile.Read(path, s.visit)
	if err != nil {
		return nil, fmt.Errorf("salvage %s: %w", path, err)
	}
	s.takeStrays()
	found := &Salvaged{Rows: s.list(), Waiting: s.waiting(), Unread: s.missing()}
	for _, d := range damage {
		what := d.Why
		if d.Bucket != "" {
			what = fmt.Sprintf("of the part %q: %s", d.Bucket, d.Why)
		}
		found.Unread = append(found.Unread, Unread{What: what, Offset: d.Offset, Length: d.Length})
	}
	return found, nil
}

// salvage collects what is found, by key.
type salvage struct {
	rows       map[string]*SalvagedRow
	books      map[string]*salvagedBook
	strayRows  map[string]*Row
	strayBooks map[string]*book
	open, due  [][]byte          // keys of the indexes: they say what has to be there
	torn       map[string]string // what is there with a wrong checksum, by its key
}

type salvagedBook struct {
	*book
	stale bool
}

// visit takes what was found at its place in the file.
func (s *salvage) visit(e boltfile.Entry) {
	switch {
	case e.Stray && e.Bucket != bucketOpen && e.Bucket != bucketDue:
		s.visitStray(e)
	case e.Bucket == bucketBooks:
		if k, ok := asBook(e); ok {
			s.books[string(e.Key)] = &salvagedBook{book: k}
		} else {
			s.torn[string(e.Key)] = "the book of " + nameBook(e.Key)
		}
	case e.Bucket == bucketRows:
		if r, ok := asRow(e); ok {
			s.rows[string(e.Key)] = &SalvagedRow{Row: *r}
		} else {
			s.torn[string(e.Key)] = "the row " + nameRow(e.Key)
		}
	case e.Bucket == bucketOpen:
		s.open = append(s.open, bytes.Clone(e.Key))
	case e.Bucket == bucketDue:
		s.due = append(s.due, bytes.Clone(e.Key))
	}
}

// visitStray takes the latest of what was found at no place. What a key and a value
// that fit say was true once.
func (s *salvage) visitStray(e boltfile.Entry) {
	key := string(e.Key)
	if r, ok := asRow(e); ok {
		if known := s.strayRows[key]; known == nil || progress(r.State) >= progress(known.State) {
			s.strayRows[key] = r
		}
	} else if k, ok := asBook(e); ok {
		if known := s.strayBooks[key]; known == nil || k.Counted >= known.Counted {
			s.strayBooks[key] = k
		}
	}
}

// progress orders the states of a row by when it has them.
func progress(s State) int {
	switch s {
	case Frozen:
		return 0
	case Sent, Blocked:
		return 1
	case Rebooked:
		return 3
	default:
		return 2
	}
}

// asRow reads a row; false where the value is none, or not that of the key.
func asRow(e boltfile.Entry) (*Row, bool) {
	r := new(Row)
	if unseal(e.Value, r) != nil || r.ID == "" || !bytes.Equal(e.Key, rowKey(r.Hour, r.ID)) {
		return nil, false
	}
	return r, true
}

func asBook(e boltfile.Entry) (*book, bool) {
	k, err := unsealBook(e.Value)
	if err != nil || k.License == "" || !bytes.Equal(e.Key, bookKey(k.License, k.Feature)) {
		return nil, false
	}
	return k, true
}

// takeStrays fills what is missing at its place. An hour of which there is a row is open no longer.
func (s *salvage) takeStrays() {
	for key, r := range s.strayRows {
		if s.rows[key] == nil {
			s.rows[key] = &SalvagedRow{Row: *r, Stale: true}
		}
	}
	for key, k := range s.strayBooks {
		if s.books[key] == nil {
			s.books[key] = &salvagedBook{book: k, stale: true}
		}
	}
}

// list gives the rows their order, with those of open hours.
func (s *salvage) list() []SalvagedRow {
	var rows []SalvagedRow
	for _, r := range s.rows {
		rows = append(rows, *r)
	}
	for _, k := range s.books {
		for i := range k.Lines {
			for _, o := range k.Lines[i].Open {
				r := k.row(&k.Lines[i], o, true)
				if k.stale && s.rows[string(rowKey(r.Hour, r.ID))] != nil {
					continue
				}
				r.State, r.Units, r.Quantity = Open, o.Units, min(o.Units, math.MaxInt64/millionths)*millionths
				rows = append(rows, SalvagedRow{Row: r, Stale: k.stale})
			}
		}
	}
	slices.SortFunc(rows, func(a, b SalvagedRow) int {
		return cmp.Or(a.Hour.Compare(b.Hour), cmp.Compare(a.License, b.License), cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Feature, b.Feature))
	})
	return rows
}

// waiting sums the checks that waited, by license and feature.
func (s *salvage) waiting() []SalvagedChecks {
	var all []SalvagedChecks
	for _, key := range slices.Sorted(maps.Keys(s.books)) {
		k := s.books[key]
		sum := SalvagedChecks{License: k.License, Feature: k.Feature, Stale: k.stale}
		for i := range k.Pending.Cells {
			sum.Checks += k.Pending.Cells[i].Count
			sum.Units += k.Pending.Cells[i].Units
		}
		if sum.Checks > 0 {
			all = append(all, sum)
		}
	}
	return all
}

// missing names what has to be there and was not found.
func (s *salvage) missing() []Unread {
	lost := maps.Clone(s.torn)
	for _, key := range s.open {
		if len(key) >= 8 && s.books[string(key[8:])] == nil {
			lost[string(key)] = fmt.Sprintf("the units counted in the open hour %s by %s", keyTime(key).Format(time.RFC3339), nameBook(key[8:]))
		}
	}
	for _, key := range s.due {
		if i := bytes.IndexByte(key, 0); i >= 0 && len(key) >= i+17 {
			e := parseDue(key)
			if s.rows[string(e.row)] == nil {
				lost[string(e.row)] = fmt.Sprintf("the unsettled row %s of product %s, which AWS takes until %s",
					nameRow(e.row), e.product, e.deadline.Format(time.RFC3339))
			}
		}
	}
	var unread []Unread
	for _, key := range slices.Sorted(maps.Keys(lost)) {
		if s.rows[key] == nil && (s.books[key] == nil || s.books[key].stale) {
			unread = append(unread, Unread{What: lost[key]})
		}
	}
	return unread
}

func nameBook(key []byte) string {
	license, feature, _ := bytes.Cut(key, []byte{0})
	return fmt.Sprintf("license %q, feature %q", license, feature)
}

func nameRow(key []byte) string {
	if len(key) < 8 {
		return fmt.Sprintf("%q", key)
	}
	return fmt.Sprintf("%q of the hour %s", key[8:], keyTime(key).Format(time.RFC3339))
}
