package cache

import (
	"hash/maphash"
	"iter"
)

// shards is how many maps a table is made of: of 100,000 entries, a change of one
// copies 400.
const shards = 256

// table is an immutable map from an id to a value. Its zero value is not usable:
// tables begin with newTable and go on by tableEdit.
type table[V any] struct {
	seed   maphash.Seed
	shards *[shards]map[string]V
}

func newTable[V any](seed maphash.Seed) table[V] {
	return table[V]{seed: seed, shards: new([shards]map[string]V)}
}

func (t table[V]) shard(id string) int { return int(maphash.String(t.seed, id) % shards) }

func (t table[V]) get(id string) (V, bool) {
	v, ok := t.shards[t.shard(id)][id]
	return v, ok
}

// all yields every entry, in no order.
func (t table[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, shard := range t.shards {
			for id, v := range shard {
				if !yield(id, v) {
					return
				}
			}
		}
	}
}

func (t table[V]) len() int {
	n := 0
	for _, shard := range t.shards {
		n += len(shard)
	}
	return n
}

// tableEdit makes the next table: it copies a shard when it first changes it, and
// nothing else.
type tableEdit[V any] struct {
	table[V]
	own [shards]bool // shards that are copies already
	any bool         // whether the array of shards is one
}

func editTable[V any](t table[V]) *tableEdit[V] { return &tableEdit[V]{table: t} }

func (e *tableEdit[V]) set(id string, v V) { e.writable(id)[id] = v }

func (e *tableEdit[V]) del(id string) {
	if _, ok := e.get(id); ok {
		delete(e.writable(id), id)
	}
}

func (e *tableEdit[V]) writable(id string) map[string]V {
	if !e.any {
		copied := *e.shards
		e.shards, e.any = &copied, true
	}
	i := e.shard(id)
	if !e.own[i] {
		copied := make(map[string]V, len(e.shards[i])+1)
		for k, v := range e.shards[i] {
			copied[k] = v
		}
		e.shards[i], e.own[i] = copied, true
	}
	return e.shards[i]
}
