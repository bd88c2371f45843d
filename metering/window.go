package metering

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/policy"
)

const (
	// onceFor is how long a request's id is remembered (BILLING B03).
	onceFor = 30 * time.Second
	// onceShards spreads the ids over locks; a power of two.
	onceShards = 1 << (64 - numberShift)
	// numberShift is where the shard stands in the number of a check.
	numberShift = 58
	// chunkEntries is how many entries memory is taken for at a time: 20 KiB.
	chunkEntries = 256
	// minSlots is the least that the slots of a shard that is used take: 512 bytes.
	minSlots = 64
	// sweepMost is how many ids one request forgets at most: more than come meanwhile, and so few that
	// it need not wait after a burst.
	sweepMost = 16
)

// window gives every check its number, and remembers for 30 s which license took a
// request, by the request's id, and with which receipt. It is exact and never drops an
// id early; what it holds is bounded by the rate of requests. Entries hold no pointers,
// so that the garbage collector passes them by.
type window struct {
	began  time.Time // stamps count from here
	seeds  [2]maphash.Seed
	shards [onceShards]onceShard
}

// onceShard is one part of the ids under its own lock. It keeps what it remembers in the order in which
// that came, and finds it by slots of 8 bytes. Since most ids are new, and the memory of
// 30 s is in no processor's cache, a check should touch little of it: a few slots beside each other, the end of
// the entries, and their beginning, where those go that are old.
type onceShard struct {
	next atomic.Uint64 // the number of its next check, without the shard
	mu   sync.Mutex
	// slots is a table with open addressing, at most half full; its length is a power of two, or 0.
	slots []onceSlot
	used  int // slots that are not empty
	// chunks hold the entries of the places from first on, of which those from oldest to end are in use.
	chunks             []*onceChunk
	spare              *onceChunk    // the last one that was given up
	first, oldest, end uint32        // places; they may wrap around
	due                time.Duration // nothing gets old before
}

type onceChunk [chunkEntries]onceEntry

// onceSlot says where the entry of an id is. The zero slot is empty.
type onceSlot struct{ tag, place uint32 }

// home is where the search for a tag begins.
func (s *onceShard) home(tag uint32) uint32 { return tag >> 1 & s.mask() }

func (s *onceShard) mask() uint32 { return uint32(len(s.slots) - 1) }

// onceID names a request: Envoy's ids, which are numbers of 64 bits, exactly;
// others by two independent hashes that no client knows the seeds of.
type onceID [2]uint64

// onceEntry says who took a request, when, and with which receipt: the same epoch's.
type onceEntry struct {
	id             onceID
	at             time.Duration // since the window began
	tally, number  uint64
	quantity, need int64
	minute, terms  uint32
	turn           uint32
	record         uint32 // number of the record
	tag            uint32 // of its slot; 0: it has none, for the request was left
	rpcs           uint16 // checks that were given the receipt
	kind           policy.ReceiptKind
}

func newWindow() *window {
	return &window{began: time.Now(), seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

// now is a stamp: the local time since the window began.
func (w *window) now() time.Duration { return time.Since(w.began) }

// number is that of a check whose request has no id.
func (w *window) number() uint64 {
	shard := rand.Uint64() >> numberShift
	return shard<<numberShift | w.shards[shard].next.Add(1)
}

// shard is where an id is remembered, with the tag of its slot. Both are of a hash that no client knows the seed
// of, so that none can choose ids that meet.
func (w *window) shard(id onceID) (s *onceShard, number uint64, tag uint32) {
	hash := id[1]
	if id[0] == 0 {
		var bytes [8]byte
		binary.LittleEndian.PutUint64(bytes[:], id[1])
		hash = maphash.Bytes(w.seeds[1], bytes[:])
	}
	i := hash >> numberShift
	return &w.shards[i], i << numberShift, uint32(hash) | 1
}

// once runs take with a number for the check and the time, unless the request was taken within the
// last 30 s: then own says whether the record itself had taken it, and the receipt is the
// one of then. A take that returns false leaves no trace. Take and remembering are one step.
func (w *window) once(id string, record uint32, take func(number uint64, at time.Duration) (policy.Receipt, bool)) (r policy.Receipt, repeated, own bool) {
	key := w.id(id)
	s, number, tag := w.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := w.now() // under the lock: entries are in the order of their time
	s.sweep(at)
	for i, e := s.find(key, tag); e != nil; i, e = s.findFrom(i+1, key, tag) {
		if at-e.at >= onceFor {
			continue
		}
		if e.record != record {
			return r, true, false
		}
		if e.rpcs < math.MaxUint16 {
			e.rpcs++
		}
		return e.receipt(), true, true
	}
	r, ok := take(number|s.next.Add(1), at)
	if ok {
		e := s.add(tag)
		e.id, e.record, e.at, e.rpcs = key, record, at, 1
		e.keep(&r)
	}
	return r, false, false
}

// leave takes one check of a request off, whose caller went away. The last one runs
// release, and the id is forgotten: a retry is a request of its own.
func (w *window) leave(id string, number uint64, release func()) {
	key := w.id(id)
	s, _, tag := w.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := s.find(key, tag); e != nil; i, e = s.findFrom(i+1, key, tag) {
		if e.number != number {
			continue
		}
		if e.rpcs > 1 {
			e.rpcs--
			return
		}
		e.tag = 0
		s.empty(i)
		break
	}
	release()
}

// keep takes a receipt over, but for its epoch.
func (e *onceEntry) keep(r *policy.Receipt) {
	e.kind, e.tally, e.number, e.quantity, e.need = r.Kind, r.Tally, r.Number, r.Quantity, r.Need
	e.minute, e.terms, e.turn = uint32(r.Minute), r.Terms, r.Turn
}

// receipt is the one that the entry was made of, but for its epoch.
func (e *onceEntry) receipt() policy.Receipt {
	return policy.Receipt{
		Kind: e.kind, Tally: e.tally, Number: e.number, Minute: int64(e.minute), Terms: e.terms, Turn: e.turn,
		Quantity: e.quantity, Need: e.need,
	}
}

// entry is that of a place in use.
func (s *onceShard) entry(place uint32) *onceEntry {
	i := place - s.first
	return &s.chunks[i/chunkEntries][i%chunkEntries]
}

// find finds an entry of an id, and its slot; nil: there is none. There may be further ones, which are too old.
func (s *onceShard) find(id onceID, tag uint32) (slot uint32, e *onceEntry) {
	if len(s.slots) == 0 {
		return 0, nil
	}
	return s.findFrom(s.home(tag), id, tag)
}

// findFrom goes on with the search from a slot on.
func (s *onceShard) findFrom(i uint32, id onceID, tag uint32) (slot uint32, e *onceEntry) {
	for i &= s.mask(); s.slots[i].tag != 0; i = (i + 1) & s.mask() {
		if s.slots[i].tag == tag {
			if e := s.entry(s.slots[i].place); e.id == id {
				return i, e
			}
		}
	}
	return i, nil
}

// add makes the next entry, with its slot.
func (s *onceShard) add(tag uint32) *onceEntry {
	if 2*(s.used+1) > len(s.slots) {
		s.resize(max(minSlots, 2*len(s.slots)))
	}
	s.put(onceSlot{tag, s.end})
	if int(s.end-s.first) == len(s.chunks)*chunkEntries {
		if s.spare == nil {
			s.spare = new(onceChunk)
		}
		s.chunks, s.spare = append(s.chunks, s.spare), nil
	}
	s.end++
	e := s.entry(s.end - 1)
	e.tag = tag
	return e
}

func (s *onceShard) put(slot onceSlot) {
	i := s.home(slot.tag)
	for s.slots[i].tag != 0 {
		i = (i + 1) & s.mask()
	}
	s.slots[i] = slot
	s.used++
}

// empty empties a slot, and moves those behind it up that would not be found across it.
func (s *onceShard) empty(i uint32) {
	mask := s.mask()
	for j := (i + 1) & mask; s.slots[j].tag != 0; j = (j + 1) & mask {
		if (j-s.home(s.slots[j].tag))&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = onceSlot{}
	s.used--
}

func (s *onceShard) resize(n int) {
	old := s.slots
	s.slots, s.used = make([]onceSlot, n), 0
	for _, slot := range old {
		if slot.tag != 0 {
			s.put(slot)
		}
	}
}

// sweep forgets the oldest ids, if they are old enough.
func (s *onceShard) sweep(at time.Duration) {
	if at < s.due || s.oldest == s.end {
		return
	}
	if at-s.entry(s.end-1).at >= onceFor { // after a pause all of them
		s.slots, s.used, s.chunks, s.spare, s.first, s.oldest = nil, 0, nil, nil, s.end, s.end
		return
	}
	for range sweepMost { // the youngest is not old enough: this ends before it
		e := s.entry(s.oldest)
		if s.due = e.at + onceFor; at < s.due {
			return
		}
		if e.tag != 0 {
			s.forget(onceSlot{e.tag, s.oldest})
		}
		if s.oldest++; s.oldest-s.first == chunkEntries {
			s.spare = s.chunks[0]
			s.chunks = slices.Delete(s.chunks, 0, 1)
			s.first = s.oldest
		}
	}
}

// forget empties the slot of an entry; it shrinks a table that has become too large.
func (s *onceShard) forget(slot onceSlot) {
	i := s.home(slot.tag)
	for s.slots[i] != slot {
		i = (i + 1) & s.mask()
	}
	s.empty(i)
	if len(s.slots) > minSlots && 16*s.used < len(s.slots) {
		s.resize(len(s.slots) / 4)
	}
}

// id is the key of a request's id.
func (w *window) id(id string) onceID {
	if n, ok := number(id); ok {
		return onceID{0, n}
	}
	return onceID{maphash.String(w.seeds[0], id) | 1, maphash.String(w.seeds[1], id)}
}

// number reads a number of 64 bits in the one way of writing it. Unlike
// strconv.ParseUint it makes no error, which would cost an allocation.
func number(id string) (n uint64, ok bool) {
	const digits = len("18446744073709551615")
	if id == "" || len(id) > digits || (id[0] == '0' && len(id) > 1) {
		return 0, false
	}
	for i := range len(id) {
		d := uint64(id[i] - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = 10*n + d
	}
	return n, true
}
