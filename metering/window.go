package metering

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/policy"
)

const (
	// onceFor is how long a request's id is remembered (BILLING B03).
	onceFor = 30 * time.Second
	// turnEvery is how long one generation of ids takes new ones. A generation goes when its
	// youngest id is older than onceFor.
	turnEvery   = 10 * time.Second
	generations = int(onceFor/turnEvery) + 1
	// onceShards spreads the ids over locks; a power of two.
	onceShards = 1 << (64 - numberShift)
	// numberShift is where the shard stands in the number of a check.
	numberShift = 58
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

// onceShard is one part of the ids under its own lock.
type onceShard struct {
	next   atomic.Uint64 // the number of its next check, without the shard
	mu     sync.Mutex
	turn   time.Duration // when the present generation began to take ids
	latest int           // index of the present generation
	taken  [generations]map[onceID]onceEntry
}

// onceID names a request: Envoy's ids, which are numbers of 64 bits, exactly;
// others by two independent hashes that no client knows the seeds of.
type onceID [2]uint64

// onceEntry says who took a request, when, and with which receipt: the same epoch's.
type onceEntry struct {
	at             time.Duration // since the window began
	tally, number  uint64
	quantity, need int64
	minute, terms  uint32
	turn           uint32
	record         uint32 // number of the record
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

// shard is where an id is remembered.
func (w *window) shard(key onceID) (s *onceShard, number uint64) {
	i := (key[0] ^ key[1]*0x9E3779B97F4A7C15) >> numberShift
	return &w.shards[i], i << numberShift
}

// once runs take with a number for the check and the time, unless the request was taken within the
// last 30 s: then own says whether the record itself had taken it, and the receipt is the
// one of then. A take that returns false leaves no trace. Take and remembering are one step.
func (w *window) once(id string, record uint32, take func(number uint64, at time.Duration) (policy.Receipt, bool)) (r policy.Receipt, repeated, own bool) {
	key := w.id(id)
	at := w.now()
	s, number := w.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(at)
	for _, generation := range s.taken {
		e, found := generation[key]
		if !found || at-e.at >= onceFor {
			continue
		}
		if e.record != record {
			return r, true, false
		}
		if e.rpcs < math.MaxUint16 {
			e.rpcs++
			generation[key] = e
		}
		return e.receipt(), true, true
	}
	r, ok := take(number|s.next.Add(1), at)
	if ok {
		s.taken[s.latest][key] = entryOf(&r, record, at)
	}
	return r, false, false
}

// leave takes one check of a request off, whose caller went away. The last one runs
// release, and the id is forgotten: a retry is a request of its own.
func (w *window) leave(id string, number uint64, release func()) {
	key := w.id(id)
	s, _ := w.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, generation := range s.taken {
		e, found := generation[key]
		if !found || e.number != number {
			continue
		}
		if e.rpcs > 1 {
			e.rpcs--
			generation[key] = e
			return
		}
		delete(generation, key)
	}
	release()
}

func entryOf(r *policy.Receipt, record uint32, at time.Duration) onceEntry {
	return onceEntry{
		at: at, tally: r.Tally, number: r.Number, quantity: r.Quantity, need: r.Need,
		minute: uint32(r.Minute), terms: r.Terms, turn: r.Turn, record: record, rpcs: 1, kind: r.Kind,
	}
}

// receipt is the one that the entry was made of, but for its epoch.
func (e *onceEntry) receipt() policy.Receipt {
	return policy.Receipt{
		Kind: e.kind, Tally: e.tally, Number: e.number, Minute: int64(e.minute), Terms: e.terms, Turn: e.turn,
		Quantity: e.quantity, Need: e.need,
	}
}

// advance begins a new generation in the place of the oldest when it is time.
func (s *onceShard) advance(at time.Duration) {
	if s.taken[s.latest] == nil {
		s.taken[s.latest], s.turn = map[onceID]onceEntry{}, at
	}
	if at-s.turn < turnEvery {
		return
	}
	size := len(s.taken[s.latest])
	if at-s.turn >= onceFor+turnEvery {
		s.taken = [generations]map[onceID]onceEntry{}
		size = 0
	}
	s.latest = (s.latest + 1) % generations
	s.taken[s.latest], s.turn = make(map[onceID]onceEntry, size), at
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
