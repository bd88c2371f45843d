// Package pace keeps calls within a quota that is counted by the second.
//
// A [Window] lets calls that come at once leave at once, and still no more than the quota in any second, which
// a token bucket does not: it lets nearly twice as many through in the first second of a flood.
package pace

import (
	"sync"
	"time"
)

// Window lets at most so many through in any second.
type Window struct {
	mu    sync.Mutex
	taken []time.Time // a ring of the last turns
	next  int
}

// NewWindow makes a window for so many a second.
func NewWindow(perSecond int) *Window { return &Window{taken: make([]time.Time, perSecond)} }

// Reserve takes the next turn, in the order of calls, and says when it comes: now or later. False: it would come after
// the given instant, and is not taken; the zero instant is never.
func (w *Window) Reserve(now, until time.Time) (turn time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	turn = now
	if last := w.taken[w.next]; !last.IsZero() && now.Sub(last) <= time.Second {
		turn = last.Add(time.Second + time.Nanosecond)
	}
	if !until.IsZero() && turn.After(until) {
		return turn, false
	}
	w.taken[w.next] = turn
	w.next = (w.next + 1) % len(w.taken)
	return turn, true
}
