package emulator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// Kinds of fault, as POST /_control/faults names them.
const (
	faultThrottle    = "throttle"    // the service's throttling error
	faultInternal    = "internal"    // its failure of its own, 500
	faultDisabled    = "disabled"    // DisabledApiException
	faultError       = "error"       // the error named by code
	faultTimeout     = "timeout"     // no answer for a minute, then a dropped connection
	faultDisconnect  = "disconnect"  // a dropped connection
	faultUnprocessed = "unprocessed" // BatchMeterUsage hands records back
	faultAmbiguous   = "ambiguous"   // carried out, the answer lost
	faultDuplicate   = "duplicate"   // BatchMeterUsage answers DuplicateRecord to an identical record
	faultSlow        = "slow"        // carried out, the answer late
	faultEmpty       = "empty"       // an operation with pages answers an empty one that carries a token
)

const (
	// timeoutFault is how long a timed-out call hangs.
	timeoutFault = 60 * time.Second
	// slowFault is how late a slow answer is when the fault gives no delay.
	slowFault = 2 * time.Second
	// maxFaults bounds those that wait.
	maxFaults = 1000
)

// fault is one thing that shall go wrong, as it was posted.
type fault struct {
	ID        string   `json:"id,omitempty"`
	Operation string   `json:"operation,omitempty"` // AWS's name; empty: all
	Kind      string   `json:"kind"`
	Code      string   `json:"code,omitempty"`    // of kind error
	Count     *int     `json:"count,omitempty"`   // how many calls; default 1; -1: until deleted
	Indexes   []int    `json:"indexes,omitempty"` // positions of records, for unprocessed and ambiguous
	Match     string   `json:"match,omitempty"`   // only calls (of BatchMeterUsage: records) that contain this text
	Delay     duration `json:"delay,omitempty"`   // of kind slow

	left int // calls still to come; negative: no end
}

// faults wait in the order in which they were posted.
type faults struct {
	list []*fault
	last int
}

// duration is a time.Duration written as text, such as "2s".
type duration time.Duration

// MarshalText writes the duration as Go does.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// carriesOut is true of a fault that lets the operation happen.
func (f *fault) carriesOut() bool {
	switch f.Kind {
	case faultAmbiguous, faultDuplicate, faultSlow, faultUnprocessed, faultEmpty:
		return true
	}
	return false
}

// takeFault uses up the first fault that is meant for a call; nil when there is none.
func (e *Emulator) takeFault(c *call) *fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, f := range e.faults.list {
		if !e.applies(f, c) {
			continue
		}
		if f.left > 0 {
			f.left--
		}
		if f.left == 0 {
			e.faults.list = slices.Delete(e.faults.list, i, i+1)
		}
		return f
	}
	return nil
}

// applies is true when a fault would make a difference to a call.
func (e *Emulator) applies(f *fault, c *call) bool {
	if f.Operation != "" && f.Operation != c.operation.name {
		return false
	}
	batch := c.operation.name == "BatchMeterUsage"
	switch f.Kind {
	case faultDuplicate:
		return batch && e.repeats(f, c)
	case faultUnprocessed:
		return batch && f.matches(c)
	case faultEmpty:
		return hasPages(c.operation.name) && f.matches(c)
	}
	return f.matches(c)
}

// matches is true when the decoded request contains the fault's text; of BatchMeterUsage, one of its records.
func (f *fault) matches(c *call) bool {
	if f.Match == "" {
		return true
	}
	if c.operation.name != "BatchMeterUsage" {
		return contains(c.in, f.Match)
	}
	records, _ := c.in["UsageRecords"].([]any)
	return slices.ContainsFunc(records, func(r any) bool { return contains(r, f.Match) })
}

// contains is true when a decoded value, written as compact JSON, contains text.
func contains(value any, text string) bool {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value) == nil && bytes.Contains(body.Bytes(), []byte(text))
}

// repeats is true when a call has a record that the fault is meant for and that is already billed.
func (e *Emulator) repeats(f *fault, c *call) bool {
	in := newInput(c.in)
	records, err := readUsage(in)
	if err != nil || e.admit(records, in.text("ProductCode"), e.clock.now()) != nil {
		return false
	}
	return slices.ContainsFunc(records, func(u *usage) bool {
		if u.license == nil || !f.deniesRepeat(u.echo) {
			return false
		}
		first, taken := e.ledger.billed[u.hour()]
		return taken && first.quantity == u.quantity
	})
}

// passesOver is true of a record that the fault keeps from being processed. A nil fault keeps none.
func (f *fault) passesOver(index int, record object) bool {
	if f == nil {
		return false
	}
	meant := (len(f.Indexes) == 0 || slices.Contains(f.Indexes, index)) && (f.Match == "" || contains(record, f.Match))
	switch f.Kind {
	case faultUnprocessed:
		return meant
	case faultAmbiguous:
		return !meant
	}
	return false
}

// deniesRepeat is true of a record that is answered DuplicateRecord if it is already there.
func (f *fault) deniesRepeat(record object) bool {
	return f != nil && f.Kind == faultDuplicate && (f.Match == "" || contains(record, f.Match))
}

func (f *fault) emptiesPage() bool { return f != nil && f.Kind == faultEmpty }

// playFault answers a call that is not carried out.
func (e *Emulator) playFault(x *exchange, c *call, f *fault) {
	s := c.operation.service
	switch f.Kind {
	case faultThrottle:
		e.answerError(x, s, refuse(s.throttled, "Rate exceeded"))
	case faultInternal:
		e.answerError(x, s, refuse(s.internal, "An internal error has occurred. Retry your request."))
	case faultDisabled:
		e.answerError(x, s, refuse("DisabledApiException", "The API is disabled in the Region."))
	case faultError:
		e.answerError(x, s, refuse(f.Code, "%s", "injected fault"))
	case faultTimeout:
		e.pause(x, timeoutFault)
		drop()
	default:
		drop()
	}
}

// finishFault does what a fault does to the answer of a call that was carried out.
func (e *Emulator) finishFault(x *exchange, f *fault) {
	switch f.Kind {
	case faultAmbiguous:
		drop()
	case faultSlow:
		delay := time.Duration(f.Delay)
		if delay == 0 {
			delay = slowFault
		}
		if !e.pause(x, delay) {
			drop()
		}
	}
}

// drop closes the connection without an answer: net/http does so for this panic, and logs nothing.
func drop() { panic(http.ErrAbortHandler) }

// pause waits in real time; false when the client or the emulator went away first.
func (e *Emulator) pause(x *exchange, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.r.Context().Done():
	case <-e.stopped:
	}
	return false
}
