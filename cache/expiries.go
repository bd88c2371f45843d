package cache

import (
	"container/heap"
	"iter"
	"time"

	"github.com/weirhq/weir/policy"
)

// expiry is when time alone changes what a license grants, AWS time.
type expiry struct {
	at  time.Time
	key policy.Key
}

// expiries are ordered by time. An entry that no longer holds stays until its time
// comes: whoever takes it compares it with the license.
type expiries []expiry

func (x *expiries) push(e expiry) { heap.Push((*expiryHeap)(x), e) }

// due takes the entries whose time has come.
func (x *expiries) due(now time.Time) iter.Seq2[policy.Key, time.Time] {
	return func(yield func(policy.Key, time.Time) bool) {
		for len(*x) > 0 && !now.Before((*x)[0].at) {
			e := heap.Pop((*expiryHeap)(x)).(expiry)
			if !yield(e.key, e.at) {
				return
			}
		}
	}
}

type expiryHeap []expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(e any)        { *h = append(*h, e.(expiry)) }

func (h *expiryHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = expiry{}
	*h = (*h)[:len(*h)-1]
	return last
}
