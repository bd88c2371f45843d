package emulator

import "time"

// keptCalls is how many AWS calls are remembered.
const keptCalls = 100_000

// callEntry is one AWS call as /_control/calls shows it.
type callEntry struct {
	Operation string    `json:"operation"`
	At        time.Time `json:"at"`     // the emulator's clock, whole seconds
	Status    int       `json:"status"` // HTTP; 0 when the connection was dropped, or is still open
}

// callList is the last calls, oldest first.
type callList struct{ entries []*callEntry }

func (l *callList) add(entry *callEntry) {
	if len(l.entries) >= 2*keptCalls {
		l.entries = append([]*callEntry(nil), l.last()...)
	}
	l.entries = append(l.entries, entry)
}

func (l *callList) last() []*callEntry {
	return l.entries[max(0, len(l.entries)-keptCalls):]
}

// note lists a call at its arrival, so that one which is never answered is seen too.
func (e *Emulator) note(x *exchange, operation string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x.entry = &callEntry{Operation: clip(operation), At: wholeSecond(e.clock.now())}
	e.calls.add(x.entry)
}

// answered fills in how a call ended, before the first byte of the answer.
func (c *callEntry) answered(e *Emulator, status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.Status = status
}

// wholeSecond is the form in which the control API shows and keeps times.
func wholeSecond(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
