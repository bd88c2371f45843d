package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weirhq/weir/policy"
)

// The copy is: magic, products, licenses, SHA-256 of all that. Numbers are varints,
// texts are a length and their bytes, times are seconds and nanoseconds since 1970.
// Another layout gets another magic.
const copyMagic = "weir entitlements 1\n"

// copied is what the disk copy holds.
type copied struct {
	products []copiedProduct
	licenses []copiedLicense
}

type copiedProduct struct {
	name      string
	code      string // product code: under another one the licenses are those of another listing
	confirmed time.Time
}

type copiedLicense struct {
	license *policy.License
	changed time.Time
}

var errDamaged = errors.New("the file is cut off or damaged")

func encode(c copied) []byte {
	w := writer{b: make([]byte, 0, len(copyMagic)+256*len(c.licenses)+1024)}
	w.b = append(w.b, copyMagic...)
	w.natural(len(c.products))
	for i := range c.products {
		p := &c.products[i]
		w.text(p.name)
		w.text(p.code)
		w.time(p.confirmed)
	}
	w.natural(len(c.licenses))
	for i := range c.licenses {
		w.license(&c.licenses[i])
	}
	return sum(w.b)
}

// sum ends a copy with its checksum.
func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return append(b, s[:]...)
}

func decode(b []byte) (copied, error) {
	end := len(b) - sha256.Size
	if end < len(copyMagic) || !bytes.HasPrefix(b, []byte("weir entitlements ")) {
		return copied{}, errDamaged
	}
	if s := sha256.Sum256(b[:end]); !bytes.Equal(s[:], b[end:]) {
		return copied{}, errDamaged
	}
	if !bytes.HasPrefix(b, []byte(copyMagic)) {
		return copied{}, errors.New("the file is of another version of weir")
	}
	r := reader{b: b[len(copyMagic):end], texts: map[string]string{}}
	var c copied
	for range r.count() {
		c.products = append(c.products, copiedProduct{name: r.text(), code: r.text(), confirmed: r.time()})
	}
	for range r.count() {
		c.licenses = append(c.licenses, r.license())
	}
	if r.failed || len(r.b) > 0 {
		return copied{}, fmt.Errorf("%w: its parts don't fit together", errDamaged)
	}
	return c, nil
}

const (
	flagTrial = 1 << iota // something is known of a trial, and follows
	flagSuspended
)

// renewalBit is where the license's renewal begins in the flags; it takes two bits.
const renewalBit = 2

func (w *writer) license(c *copiedLicense) {
	l := c.license
	w.text(string(l.Key))
	for _, s := range []string{l.Product, l.Account, l.Customer, l.Plan, l.Direct} {
		w.text(s)
	}
	flags := 0
	if l.Trial != nil {
		flags |= flagTrial
	}
	if l.Suspended {
		flags |= flagSuspended
	}
	w.natural(flags | int(l.Renewal)<<renewalBit)
	if l.Trial != nil {
		w.boolean(l.Trial.Free)
		w.time(l.Trial.Ends)
		w.time(l.Trial.Told)
	}
	for _, t := range []time.Time{l.Starts, l.TermStarts, l.Read, l.Ended, c.changed} {
		w.time(t)
	}
	w.natural(len(l.Entitlements))
	for i := range l.Entitlements {
		e := &l.Entitlements[i]
		w.text(e.Dimension)
		w.value(&e.Value)
		w.time(e.Expires)
	}
}

func (r *reader) license() copiedLicense {
	l := &policy.License{
		Key: policy.Key(r.text()), Product: r.common(), Account: r.text(), Customer: r.text(), Plan: r.common(), Direct: r.text(),
	}
	flags := r.natural()
	l.Suspended = flags&flagSuspended != 0
	l.Renewal = policy.Renewal(flags >> renewalBit & 3)
	if flags&flagTrial != 0 {
		l.Trial = &policy.Trial{Free: r.natural() == 1, Ends: r.time(), Told: r.time()}
	}
	l.Starts, l.TermStarts, l.Read, l.Ended = r.time(), r.time(), r.time(), r.time()
	c := copiedLicense{license: l, changed: r.time()}
	for range r.count() {
		l.Entitlements = append(l.Entitlements, policy.Entitlement{Dimension: r.common(), Value: r.value(), Expires: r.time()})
	}
	return c
}

func (w *writer) value(v *policy.Value) {
	w.natural(int(v.Kind))
	switch v.Kind {
	case policy.ValueBoolean:
		w.boolean(v.Boolean)
	case policy.ValueInteger:
		w.number(v.Integer)
	case policy.ValueDecimal:
		w.b = binary.BigEndian.AppendUint64(w.b, math.Float64bits(v.Decimal))
	case policy.ValueText:
		w.text(v.Text)
	case policy.ValueNone:
	}
}

func (r *reader) value() (v policy.Value) {
	kind := r.natural()
	v.Kind = policy.ValueKind(min(kind, math.MaxUint8)) // an unknown kind fails below
	switch v.Kind {
	case policy.ValueBoolean:
		v.Boolean = r.natural() == 1
	case policy.ValueInteger:
		v.Integer = r.number()
	case policy.ValueDecimal:
		if b := r.take(8); len(b) == 8 {
			v.Decimal = math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	case policy.ValueText:
		v.Text = r.text()
	case policy.ValueNone:
	default:
		r.failed = true
	}
	return v
}

// writer appends to a copy.
type writer struct{ b []byte }

func (w *writer) natural(n int)  { w.b = binary.AppendUvarint(w.b, uint64(n)) }
func (w *writer) number(n int64) { w.b = binary.AppendVarint(w.b, n) }

func (w *writer) boolean(b bool) {
	n := 0
	if b {
		n = 1
	}
	w.natural(n)
}

func (w *writer) text(s string) {
	w.natural(len(s))
	w.b = append(w.b, s...)
}

func (w *writer) time(t time.Time) {
	w.number(t.Unix())
	w.natural(t.Nanosecond())
}

// reader takes from a copy. After a failure it gives zeros.
type reader struct {
	b      []byte
	texts  map[string]string // texts that many licenses share are held once
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n < 0 || n > len(r.b) {
		r.failed = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// count is a number of things that follow: never more than there are bytes, so that
// a wrong one can't ask for much memory or time.
func (r *reader) count() int {
	n := r.natural()
	if n > len(r.b) {
		r.failed = true
		return 0
	}
	return n
}

// natural is a number from 0 to 2^30.
func (r *reader) natural() int {
	n, used := binary.Uvarint(r.b)
	if used <= 0 || n > 1<<30 {
		r.failed = true
	}
	if r.failed {
		return 0
	}
	r.b = r.b[used:]
	return int(n)
}

func (r *reader) number() int64 {
	n, used := binary.Varint(r.b)
	if used <= 0 {
		r.failed = true
	}
	if r.failed {
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reader) text() string { return string(r.take(r.count())) }

// common is a text that many licenses share.
func (r *reader) common() string {
	b := r.take(r.count())
	if s, ok := r.texts[string(b)]; ok {
		return s
	}
	s := string(b)
	r.texts[s] = s
	return s
}

func (r *reader) time() time.Time {
	seconds, nanoseconds := r.number(), r.natural()
	return time.Unix(seconds, int64(nanoseconds)).UTC()
}
