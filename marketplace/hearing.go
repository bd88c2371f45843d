package marketplace

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// longestSilence is how long AWS may answer nothing before what it told counts as unconfirmed. Without other calls
// it is asked for its time each minute.
const longestSilence = 5 * time.Minute

// hearing knows whether AWS's messages come through: where nothing can be read, that alone confirms what was told.
type hearing struct {
	clock *Clock

	mu      sync.Mutex
	failing map[string]error // queues that can't be read, by URL
}

// note takes how a queue was read.
func (h *hearing) note(queue string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.failing, queue)
	} else {
		h.failing[queue] = err
	}
}

// check is nil while messages come through as far as that can be told.
func (h *hearing) check() error {
	h.mu.Lock()
	for queue, err := range h.failing {
		h.mu.Unlock()
		return fmt.Errorf("queue %s can't be read: %w", queue, err)
	}
	h.mu.Unlock()
	silent, answered := h.clock.silent()
	switch {
	case !answered:
		return errors.New("AWS has not answered yet")
	case silent > longestSilence:
		return fmt.Errorf("AWS has not answered for %s", silent.Round(time.Second))
	default:
		return nil
	}
}
