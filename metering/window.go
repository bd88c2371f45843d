package metering

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

const (
	// onceFor is how long a request's id is remembered (BILLING B03).
	onceFor = 30 * time.Second
	// turnEvery is how long one generation of ids takes new ones. A generation goes when its
	// youngest id is older than onceFor.
	turnEvery   = 10 * time.Second
	generations = int(onceFor/turnEvery) + 1
	// onceShards spreads the ids over locks; a power of two.
	onceShards = 64
)

// window remembers for 30 s which license took a request, by the request's id. It
// is exact and never drops an id early; what it holds is bounded by the rate of
// requests. Entries hold no pointers, so that the garbage collector passes them by.
type window struct {
	began  time.Time // stamps count from here
	seeds  [2]maphash.Seed
	shards [onceShards]onceShard
}

// onceShard is one part of the ids under its own lock.
type onceShard struct {
	mu     sync.Mutex
	turn   time.Duration // when the present generation began to take ids
	latest int           // index of the present generation
	taken  [generations]map[onceID]onceEntry
}

// onceID names a request: Envoy's ids, which are numbers of 64 bits, exactly;
// others by two independent hashes that no client knows the seeds of.
type onceID [2]uint64

// onceEntry says who took a request, and when.
type onceEntry struct {
	record uint32        // number of the record
	at     time.Duration // since the window began
}

func newWindow() *window {
	return &window{began: time.Now(), seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

// once runs take, unless the request was taken within the last 30 s: then it says
// whether the record itself had taken it. A take that returns false leaves no trace. Take
// and remembering are one step.
func (w *window) once(id string, record uint32, take func() bool) (repeated, own bool) {
	key := w.id(id)
	at := time.Since(w.began)
	s := &w.shards[(key[0]^key[1]*0x9E3779B97F4A7C15)>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(at)
	for _, generation := range s.taken {
		if e, found := generation[key]; found && at-e.at < onceFor {
			return true, e.record == record
		}
	}
	if take() {
		s.taken[s.latest][key] = onceEntry{record: record, at: at}
	}
	return false, false
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
