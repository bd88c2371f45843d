package metering

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/weirhq/weir/policy"
)

// Bolt is the ledger on a local file. Every method that changes it is one
// transaction, or several that each leave it whole.
type Bolt struct {
	file    *ledgerFile
	cfg     Config
	place   Place
	now     func() time.Time
	log     *slog.Logger
	metrics *boltMetrics
	// placeErr holds why nothing may be sent from here, or nil (BILLING B17); unset until that is known.
	placeErr atomic.Pointer[error]
	// begun is what the file remembers of a damaged one in whose place it is, or nil.
	begun atomic.Pointer[beginning]
}

var _ Ledger = (*Bolt)(nil)

// format is the version of the file's content; another one is refused, not guessed.
const (
	formatName = "weir-ledger-"
	format     = formatName + "4"
)

// The buckets. Values carry a checksum; those of open and due are empty, their
// keys are what they hold:
//
//	meta   format, closed, place, states, writers, presence, begun, forgotten
//	books  license NUL feature -> book, in binary
//	open   hour, key of the book: where Freeze looks
//	rows   hour, id of the row -> Row
//	events id of a usage event -> when it came, in seconds, and a checksum of both
//	arrivals  when, number -> ids of usage events: where Forget looks
//	due    product NUL deadline, key of the row: the unsettled rows, as they have to be sent
//	waiting  key of the book: those of which checks wait for their access log entry
//	tokens   epoch, number / 4096: which tokens are used, in binary
//	lost   key of the row: the rows that AWS will not bill, for people to look at
const (
	bucketMeta    = "meta"
	bucketBooks   = "books"
	bucketOpen    = "open"
	bucketRows    = "rows"
	bucketDue     = "due"
	bucketLost    = "lost"
	bucketWaiting = "waiting"
	bucketTokens  = "tokens"

	bucketEvents   = "events"
	bucketArrivals = "arrivals"

	metaFormat = "format"
	metaClosed = "closed"
	metaPlace  = "place"
	metaStates = "states"
	// metaWriters holds the signs of other writers, by product (BILLING B21).
	metaWriters = "writers"
	// metaPresence holds when weir was running (BILLING B16).
	metaPresence = "presence"
	// metaBegun tells of a damaged file in whose place this one is (BILLING B20).
	metaBegun = "begun"
	// metaEvents holds the number of ids of usage events.
	metaEvents = "events"
	// metaForgotten is up to when used tokens may be forgotten.
	metaForgotten = "forgotten"
)

// boltTx is one transaction on the ledger's buckets.
type boltTx struct {
	meta, books, open, rows, due, lost *bbolt.Bucket
	events, arrivals, waiting, tokens  *bbolt.Bucket

	begun   *beginning
	now     time.Time // AWS time, in a transaction that gives rows their end
	moved   []Row     // rows whose state this transaction changed, as they are now
	left    []State
	carried int64
}

// book reads one book.
func (t *boltTx) book(key []byte) (*book, error) {
	value := t.books.Get(key)
	if value == nil {
		return nil, nil
	}
	b, err := unsealBook(value)
	if err != nil {
		return nil, fmt.Errorf("read book of %q: %w", key, err)
	}
	return b, nil
}

// putBook writes a book; before are the hours that it held open when it was read.
func (t *boltTx) putBook(key []byte, b *book, before []time.Time) error {
	value := sealBook(b)
	after := b.hours()
	for _, h := range before {
		if slices.ContainsFunc(after, h.Equal) {
			continue
		}
		if err := t.open.Delete(openKey(h, key)); err != nil {
			return err
		}
	}
	for _, h := range after {
		if slices.ContainsFunc(before, h.Equal) {
			continue
		}
		if err := t.open.Put(openKey(h, key), nil); err != nil {
			return err
		}
	}
	if err := t.putWaiting(key, b); err != nil {
		return err
	}
	return t.books.Put(key, value)
}

// putWaiting keeps the index of the books that hold checks in flight.
func (t *boltTx) putWaiting(key []byte, b *book) error {
	if len(b.Pending.Cells) == 0 {
		return t.waiting.Delete(key)
	}
	return t.waiting.Put(key, nil)
}

// row reads one row; nil where there is none.
func (t *boltTx) row(key []byte) (*Row, error) {
	value := t.rows.Get(key)
	if value == nil {
		return nil, nil
	}
	r := new(Row)
	if err := unseal(value, r); err != nil {
		return nil, fmt.Errorf("read row %q: %w", key, err)
	}
	return r, nil
}

// indexed reads a row that an index names.
func (t *boltTx) indexed(key []byte) (*Row, error) {
	r, err := t.row(key)
	if err == nil && r == nil {
		err = fmt.Errorf("%w: row %q is missing", ErrCorrupt, key)
	}
	return r, err
}

// putRow writes a row that was as before, nil for a new one.
func (t *boltTx) putRow(before, r *Row) error {
	if !r.State.unsettled() && r.Settled.IsZero() {
		r.Settled = t.now
	}
	value, err := seal(r)
	if err != nil {
		return err
	}
	if err := t.putDue(before, r); err != nil {
		return err
	}
	if before == nil || before.State != r.State {
		t.moved = append(t.moved, *r)
	}
	if before != nil && before.State != r.State {
		t.left = append(t.left, before.State)
	}
	return t.rows.Put(rowKey(r.Hour, r.ID), value)
}

// putDue keeps the indexes of what has to be sent and of what is lost.
func (t *boltTx) putDue(before, r *Row) error {
	if err := t.putLost(before, r); err != nil {
		return err
	}
	if before != nil && before.State.unsettled() {
		if err := t.due.Delete(dueKey(before)); err != nil {
			return err
		}
	}
	if !r.State.unsettled() {
		return nil
	}
	return t.due.Put(dueKey(r), nil)
}

// countStates keeps the number of rows in each state, which nobody could count
// over the rows of a year.
func (t *boltTx) countStates() error {
	if len(t.moved)+len(t.left) == 0 {
		return nil
	}
	states, err := t.states()
	if err != nil {
		return err
	}
	for _, s := range t.left {
		states[s]--
	}
	for i := range t.moved {
		states[t.moved[i].State]++
	}
	return t.putMeta(metaStates, states)
}

func (t *boltTx) states() (map[State]int64, error) {
	states := map[State]int64{}
	err := t.getMeta(metaStates, &states)
	return states, err
}

// closed is the first hour that is open.
func (t *boltTx) closed() (time.Time, error) {
	var h time.Time
	err := t.getMeta(metaClosed, &h)
	return latest(h, t.begun.from()), err
}

// getMeta reads a value into v, which stays as it is where there is none.
func (t *boltTx) getMeta(key string, v any) error {
	value := t.meta.Get([]byte(key))
	if value == nil {
		return nil
	}
	if err := unseal(value, v); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

func (t *boltTx) putMeta(key string, v any) error {
	value, err := seal(v)
	if err != nil {
		return err
	}
	return t.meta.Put([]byte(key), value)
}

// seal encodes a value behind its checksum: bbolt's own covers its meta pages only.
func seal(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode ledger value: %w", err)
	}
	return sum(body), nil
}

// sum puts a checksum before a value.
func sum(body []byte) []byte {
	value := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), crc32.Checksum(body, castagnoli()))
	return append(value, body...)
}

// unseal decodes a value whose checksum is right.
func unseal(value []byte, v any) error {
	body, err := unsum(value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// unsum is a value without its checksum, which has to be right.
func unsum(value []byte) ([]byte, error) {
	if len(value) < 4 || binary.BigEndian.Uint32(value) != crc32.Checksum(value[4:], castagnoli()) {
		return nil, fmt.Errorf("%w: checksum is wrong", ErrCorrupt)
	}
	return value[4:], nil
}

// castagnoli is the table of CRC-32C, which the package crc32 makes once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func bookKey(license policy.Key, feature string) []byte {
	return []byte(string(license) + "\x00" + feature)
}

func openKey(hour time.Time, book []byte) []byte { return append(timeKey(nil, hour), book...) }

func rowKey(hour time.Time, id string) []byte { return append(timeKey(nil, hour), id...) }

func dueKey(r *Row) []byte {
	key := timeKey(append([]byte(r.Product), 0), r.Deadline)
	return append(key, rowKey(r.Hour, r.ID)...)
}

// timeKey appends a time so that keys sort by it.
func timeKey(key []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(key, uint64(max(t.Unix(), 0)))
}

// keyTime is the time at the beginning of a key.
func keyTime(key []byte) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(key)), 0).UTC()
}

// eachDue visits the unsettled rows with a deadline after the given time, by product
// and deadline, until visit wants no more of a product.
func (t *boltTx) eachDue(after time.Time, visit func(*Row) (bool, error)) error {
	c := t.due.Cursor()
	k, _ := c.First()
	for k != nil {
		product := bytes.Clone(k[:bytes.IndexByte(k, 0)+1])
		more := true
		for k, _ = c.Seek(timeKey(bytes.Clone(product), after.Add(time.Second))); more && bytes.HasPrefix(k, product); k, _ = c.Next() {
			r, err := t.indexed(k[len(product)+8:])
			if err != nil {
				return err
			}
			if more, err = visit(r); err != nil {
				return err
			}
		}
		product[len(product)-1] = 1 // the next product: no name holds NUL
		k, _ = c.Seek(product)
	}
	return nil
}
