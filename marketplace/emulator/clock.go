package emulator

import (
	"container/heap"
	"time"
)

// The clock is business time: when agreements begin and end, which hours can be metered, what Date says.

// Modes of the clock, as GET /_control/clock names them.
const (
	clockReal   = "real"   // the machine's time
	clockOffset = "offset" // runs, but somewhere else
	clockStill  = "still"  // stands at one instant until it is moved
)

// clock is the emulator's time. The zero value is real time.
type clock struct {
	still  time.Time     // where it stands; zero while it runs
	offset time.Duration // of a running clock, emulator minus machine
}

func (c clock) now() time.Time {
	if !c.still.IsZero() {
		return c.still
	}
	return time.Now().Add(c.offset).UTC()
}

func (c clock) mode() string {
	switch {
	case !c.still.IsZero():
		return clockStill
	case c.offset != 0:
		return clockOffset
	}
	return clockReal
}

// advance moves the clock and leaves it running or standing as it was.
func (c *clock) advance(d time.Duration) {
	if !c.still.IsZero() {
		c.still = c.still.Add(d)
		return
	}
	c.offset += d
}

// dueItem is something that happens by itself at an instant of the emulator's clock.
type dueItem struct {
	at   time.Time
	seq  int // items of one instant happen in the order they were scheduled
	fire func(at time.Time)
}

// dueList is a heap of what is still to happen, earliest first.
type dueList struct {
	items []dueItem
	last  int
}

func (d *dueList) Len() int { return len(d.items) }

func (d *dueList) Less(i, j int) bool {
	a, b := d.items[i], d.items[j]
	if a.at.Equal(b.at) {
		return a.seq < b.seq
	}
	return a.at.Before(b.at)
}

func (d *dueList) Swap(i, j int) { d.items[i], d.items[j] = d.items[j], d.items[i] }

// Push is for container/heap.
func (d *dueList) Push(x any) { d.items = append(d.items, x.(dueItem)) }

// Pop is for container/heap.
func (d *dueList) Pop() any {
	last := d.items[len(d.items)-1]
	d.items[len(d.items)-1] = dueItem{}
	d.items = d.items[:len(d.items)-1]
	return last
}

// schedule makes fire happen at an instant of the emulator's clock, with e.mu held. What it does must check that
// it still applies: nothing is ever taken off the list.
func (e *Emulator) schedule(at time.Time, fire func(at time.Time)) {
	e.due.last++
	heap.Push(&e.due, dueItem{at: at, seq: e.due.last, fire: fire})
	e.nudge()
}

// settle lets everything happen that is due by now, in order of time, with e.mu held. Each sees its own instant
// as the time, however far the clock was moved.
func (e *Emulator) settle() time.Time {
	now := e.clock.now()
	for e.due.Len() > 0 && !e.due.items[0].at.After(now) {
		item := heap.Pop(&e.due).(dueItem)
		item.fire(item.at)
	}
	return now
}

// longestSleep bounds Run's sleep, so that a jump of the machine's own clock is noticed.
const longestSleep = time.Minute

// settleAll lets happen what is due and says how long nothing else can be.
func (e *Emulator) settleAll() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.settle()
	if e.due.Len() == 0 || e.clock.mode() == clockStill {
		return longestSleep
	}
	return min(longestSleep, e.due.items[0].at.Sub(now))
}

// nudge tells Run to look again.
func (e *Emulator) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// now is the emulator's time.
func (e *Emulator) now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock.now()
}
