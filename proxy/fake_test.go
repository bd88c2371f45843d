package proxy

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// counting makes tokens that can be read, and keeps what was abandoned.
type counting struct {
	mu        sync.Mutex
	abandoned []string // id and number
}

func (c *counting) AppendToken(dst []byte, r *policy.Receipt, route string) []byte {
	return fmt.Appendf(dst, "%s/%d", route, r.Number)
}

func (c *counting) Abandon(id string, r *policy.Receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abandoned = append(c.abandoned, fmt.Sprintf("%s/%d", id, r.Number))
}

func (c *counting) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.abandoned...)
}

// endings keeps what the access log said. It knows a token once, as the meter does.
type endings struct {
	mu      sync.Mutex
	said    []metering.Ending
	refused map[metering.Refusal]int
	pending atomic.Int64
}

func (e *endings) Resolve(said *metering.Ending) metering.Refusal {
	if said.Token == "panic" {
		panic("bad day")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	kept := *said
	kept.Token, kept.License, kept.Route = strings.Clone(said.Token), policy.Key(strings.Clone(string(said.License))), strings.Clone(said.Route)
	e.said = append(e.said, kept)
	return ""
}

func (e *endings) Refused(why metering.Refusal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refused == nil {
		e.refused = map[metering.Refusal]int{}
	}
	e.refused[why]++
}

func (e *endings) Pending() int64 { return e.pending.Load() }

// heard is what was said so far.
func (e *endings) heard() []metering.Ending {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]metering.Ending(nil), e.said...)
}

func (e *endings) refusals(why metering.Refusal) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refused[why]
}
