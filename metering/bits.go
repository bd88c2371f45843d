package metering

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// A block holds one bit for each of blockTokens numbers in a row: whether that check
// has ended, or was moved to another minute, so that its token is used up.
const (
	blockShift  = 12
	blockTokens = 1 << blockShift
)

// TokenBlock tells which of the numbers from First on are used.
type TokenBlock struct {
	Epoch, First uint64
	Minute       time.Time // the latest minute of a check in it
	Used         [blockTokens / 64]uint64
}

// blockID names a block.
type blockID struct{ epoch, block uint64 }

func blockOf(t Token) blockID { return blockID{t.Epoch, t.Number >> blockShift} }

// set marks a token as used and tells whether it was not.
func (b *TokenBlock) set(t Token, minute time.Time) bool {
	b.Minute = latest(b.Minute, minute)
	word, bit := &b.Used[t.Number%blockTokens/64], uint64(1)<<(t.Number%64)
	fresh := *word&bit == 0
	*word |= bit
	return fresh
}

func (b *TokenBlock) has(t Token) bool {
	return b.Used[t.Number%blockTokens/64]&(1<<(t.Number%64)) != 0
}

// usedTokens remembers which tokens are used. It is sharded like the window that gives the numbers.
type usedTokens struct{ shards [onceShards]usedShard }

type usedShard struct {
	mu     sync.Mutex
	blocks map[blockID]*TokenBlock
}

func (u *usedTokens) shard(number uint64) *usedShard { return &u.shards[number>>numberShift] }

func (u *usedTokens) has(t Token) bool {
	s := u.shard(t.Number)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blocks[blockOf(t)]
	return b != nil && b.has(t)
}

// set marks a token as used and tells whether it was not. The minute is the latest that is known of its check.
func (u *usedTokens) set(t Token, minute time.Time) bool {
	s := u.shard(t.Number)
	s.mu.Lock()
	defer s.mu.Unlock()
	id := blockOf(t)
	b := s.blocks[id]
	if b == nil {
		b = &TokenBlock{Epoch: t.Epoch, First: id.block << blockShift}
		s.put(id, b)
	}
	return b.set(t, minute)
}

// load takes over what the ledger has.
func (u *usedTokens) load(blocks []TokenBlock) {
	for i := range blocks {
		s := u.shard(blocks[i].First)
		s.put(blockID{blocks[i].Epoch, blocks[i].First >> blockShift}, &blocks[i])
	}
}

func (s *usedShard) put(id blockID, b *TokenBlock) {
	if s.blocks == nil {
		s.blocks = map[blockID]*TokenBlock{}
	}
	s.blocks[id] = b
}

// forget removes the blocks whose latest minute is before an instant.
func (u *usedTokens) forget(before time.Time) {
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		maps.DeleteFunc(s.blocks, func(_ blockID, b *TokenBlock) bool { return b.Minute.Before(before) })
		s.mu.Unlock()
	}
}

// blocksOf marks the tokens of deltas in blocks that read finds, and returns these in the order of their ids.
func blocksOf(deltas []Delta, read func(blockID) (*TokenBlock, error)) ([]*TokenBlock, error) {
	blocks := map[blockID]*TokenBlock{}
	for i := range deltas {
		for _, t := range deltas[i].Tokens {
			id := blockOf(t)
			if blocks[id] == nil {
				b, err := read(id)
				if err != nil {
					return nil, err
				}
				if b == nil {
					b = &TokenBlock{Epoch: id.epoch, First: id.block << blockShift}
				}
				blocks[id] = b
			}
			blocks[id].set(t, latest(deltas[i].Minute, deltas[i].To))
		}
	}
	return slices.SortedFunc(maps.Values(blocks), func(a, b *TokenBlock) int {
		return slices.Compare([]uint64{a.Epoch, a.First}, []uint64{b.Epoch, b.First})
	}), nil
}
