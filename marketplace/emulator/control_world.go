package emulator

import (
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Control calls about what surrounds the agreements: feeds, faults, the clock.

// longestDelay bounds the delay of a feed and of a slow answer.
const longestDelay = time.Hour

func (e *Emulator) putFeeds(c *controlCall) (any, error) {
	var document feedsDocument
	if err := c.read(&document); err != nil {
		return nil, err
	}
	if err := document.check(); err != nil {
		return nil, err
	}
	if feed := document.EventBridge; feed != nil {
		feed.Queue = e.ensureQueue(queueName(feed.Queue)).name
		feed.Arn = orDefault(feed.Arn, arnFull)
	}
	if feed := document.SNS; feed != nil && feed.Queue != "" {
		feed.Queue = e.ensureQueue(queueName(feed.Queue)).name
	}
	e.allowFeeds(&e.feeds.document, &document)
	e.feeds = feeds{document: document, address: requestEndpoint(c.r), dice: newDice(document.Seed)}
	e.subscribeFeeds()
	return e.getFeeds(c)
}

// getFeeds answers the document with the queues' URLs, as the caller reaches them.
func (e *Emulator) getFeeds(c *controlCall) (any, error) {
	document := e.feeds.document
	if document.EventBridge != nil {
		feed := *document.EventBridge
		feed.Queue = e.queueURL(requestEndpoint(c.r), feed.Queue)
		document.EventBridge = &feed
	}
	if document.SNS != nil && document.SNS.Queue != "" {
		feed := *document.SNS
		feed.Queue = e.queueURL(requestEndpoint(c.r), feed.Queue)
		document.SNS = &feed
	}
	return document, nil
}

// check is nil for a feeds document that makes sense.
func (d *feedsDocument) check() error {
	if d.Drop < 0 || d.Drop > 1 || d.Duplicate < 0 || d.Duplicate > 1 {
		return invalid("give a probability from 0 to 1", "drop is %v, duplicate is %v", d.Drop, d.Duplicate)
	}
	if d.Delay < 0 || time.Duration(d.Delay) > longestDelay {
		return invalid("give a duration from 0s to 1h", "delay is %v", time.Duration(d.Delay))
	}
	if feed := d.EventBridge; feed != nil {
		if feed.Arn != "" {
			if err := oneOf("eventbridge.arn", feed.Arn, arnFull, arnBare); err != nil {
				return err
			}
		}
		if !isQueueName(queueName(feed.Queue)) {
			return invalid("give a queue's name or URL; names have 1 to 80 letters, digits, - and _", "eventbridge.queue is %q", clip(feed.Queue))
		}
	}
	return d.checkSNS()
}

func (d *feedsDocument) checkSNS() error {
	feed := d.SNS
	if feed == nil {
		return nil
	}
	if feed.Queue != "" && !isQueueName(queueName(feed.Queue)) {
		return invalid("give a queue's name or URL; names have 1 to 80 letters, digits, - and _", "sns.queue is %q", clip(feed.Queue))
	}
	if feed.Version < 0 || feed.Version > 2 {
		return invalid("use 1 or 2", "sns.version is %d", feed.Version)
	}
	if feed.HTTPS != "" {
		u, err := url.Parse(feed.HTTPS)
		if err != nil || u.Scheme != deliverHTTP && u.Scheme != deliverHTTPS || u.Host == "" || u.Fragment != "" {
			return invalid("give an absolute URL such as http://127.0.0.1:8080/sns", "sns.https is %q", clip(feed.HTTPS))
		}
	}
	return nil
}

func (e *Emulator) postFault(c *controlCall) (any, error) {
	f := &fault{}
	if err := c.read(f); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	if len(e.faults.list) >= maxFaults {
		return nil, conflict("DELETE /_control/faults", "there are %d faults already", maxFaults)
	}
	f.left = 1
	if f.Count != nil {
		f.left = *f.Count
	}
	e.faults.last++
	f.ID = fmt.Sprintf("fault-%d", e.faults.last)
	e.faults.list = append(e.faults.list, f)
	return object{"id": f.ID}, nil
}

// check is nil for a fault that can happen.
func (f *fault) check() error {
	kinds := []string{
		faultThrottle, faultInternal, faultDisabled, faultError, faultTimeout, faultDisconnect, faultUnprocessed,
		faultAmbiguous, faultDuplicate, faultSlow, faultEmpty,
	}
	if err := oneOf("kind", f.Kind, kinds...); err != nil {
		return err
	}
	switch {
	case f.ID != "":
		return invalid("leave it out", "id is given by the emulator")
	case !consists(f.Operation, "") || len(f.Operation) > 64:
		return invalid("use AWS's name of an operation, such as BatchMeterUsage", "operation is %q", clip(f.Operation))
	case f.Count != nil && *f.Count < 1 && *f.Count != -1:
		return invalid("use 1 or more, or -1 for no end", "count is %d", *f.Count)
	case (f.Kind == faultError) != (f.Code != "") || !consists(f.Code, ".") || len(f.Code) > 100:
		return invalid("give code, the name of AWS's error, with kind error and only there", "code is %q", clip(f.Code))
	}
	return f.checkDetails()
}

// checkDetails is nil when what only some kinds have is given to one of them.
func (f *fault) checkDetails() error {
	byRecord := f.Kind == faultUnprocessed || f.Kind == faultAmbiguous
	delay := time.Duration(f.Delay)
	switch {
	case len(f.Indexes) > 0 && !byRecord:
		return invalid("use kind unprocessed or ambiguous", "indexes do nothing for kind %s", f.Kind)
	case slices.ContainsFunc(f.Indexes, func(i int) bool { return i < 0 || i >= maxUsageRecords }):
		return invalid("use positions of records, 0 to 24", "indexes are %v", f.Indexes)
	case delay != 0 && f.Kind != faultSlow:
		return invalid("use kind slow", "delay does nothing for kind %s", f.Kind)
	case delay < 0 || delay > longestDelay:
		return invalid("give a duration from 0s to 1h", "delay is %v", delay)
	}
	return nil
}

func (e *Emulator) getFaults(*controlCall) (any, error) { return listed(e.faults.list), nil }

func (e *Emulator) deleteFaults(*controlCall) (any, error) {
	e.faults.list = nil
	return object{}, nil
}

func (e *Emulator) deleteFault(c *controlCall) (any, error) {
	id := c.r.PathValue("id")
	place := slices.IndexFunc(e.faults.list, func(f *fault) bool { return f.ID == id })
	if place < 0 {
		return nil, missing("GET /_control/faults lists them", "there is no fault %s", clip(id))
	}
	e.faults.list = slices.Delete(e.faults.list, place, place+1)
	return object{}, nil
}

func (e *Emulator) getClock(*controlCall) (any, error) { return e.clockAnswer(), nil }

func (e *Emulator) clockAnswer() object {
	return object{"now": eventTime(e.clock.now()), "mode": e.clock.mode()}
}

// putClock moves the clock; what falls due in between has happened when it returns.
func (e *Emulator) putClock(c *controlCall) (any, error) {
	var document struct {
		Now     time.Time `json:"now"`
		Advance *duration `json:"advance"`
		Real    bool      `json:"real"`
	}
	if err := c.read(&document); err != nil {
		return nil, err
	}
	given := 0
	for _, member := range []bool{!document.Now.IsZero(), document.Advance != nil, document.Real} {
		if member {
			given++
		}
	}
	if given != 1 {
		return nil, invalid(`give one of {"now": time}, {"advance": "1h"}, {"real": true}`, "the body names %d ways to set the clock", given)
	}
	moved := e.clock
	switch {
	case document.Real:
		moved = clock{}
	case document.Advance != nil:
		moved.advance(time.Duration(*document.Advance))
	default:
		moved = clock{still: document.Now.UTC()}
	}
	if year := moved.now().Year(); year < 1970 || year > 9000 {
		return nil, invalid("stay between the years 1970 and 9000", "the clock would show the year %d", year)
	}
	e.clock = moved
	e.settle()
	e.nudge()
	return e.clockAnswer(), nil
}
