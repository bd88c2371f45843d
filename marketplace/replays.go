package marketplace

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxReplays bounds the messages that are remembered. Only messages that SNS signed are: a listing has one in seconds.
const maxReplays = 100_000

// replays remembers the messages that were accepted, for as long as they are fresh; after that they are refused as stale.
type replays struct {
	mu   sync.Mutex
	seen map[string]accepted
}

// accepted is a message that has its effect, or is about to.
type accepted struct {
	content [sha256.Size]byte
	at      time.Time // its own time
	done    bool
}

// verdict is what begin says of a message.
type verdict int

const (
	verdictNew   verdict = iota // it may have its effect; end has to be called
	verdictBusy                 // the same is being worked on
	verdictDone                 // it had its effect
	verdictOther                // another message had its id
)

func newReplays() *replays { return &replays{seen: make(map[string]accepted)} }

// begin tells whether a message may have its effect. What is older than oldest is forgotten.
func (r *replays) begin(id string, content []byte, at, oldest time.Time) verdict {
	sum := sha256.Sum256(content)
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.seen[id]
	switch {
	case ok && before.content != sum:
		return verdictOther
	case ok && before.done:
		return verdictDone
	case ok:
		return verdictBusy
	}
	if len(r.seen) >= maxReplays {
		r.forget(oldest)
	}
	if len(r.seen) >= maxReplays {
		return verdictBusy // SNS tries again; forgetting early would let a message in twice
	}
	r.seen[id] = accepted{content: sum, at: at}
	return verdictNew
}

// end notes whether the message that began had its effect. One that had none may come again.
func (r *replays) end(id string, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !done {
		delete(r.seen, id)
		return
	}
	entry := r.seen[id]
	entry.done = true
	r.seen[id] = entry
}

// forget makes room.
func (r *replays) forget(oldest time.Time) {
	for id, entry := range r.seen {
		if entry.done && entry.at.Before(oldest) {
			delete(r.seen, id)
		}
	}
}
