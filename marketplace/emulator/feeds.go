package emulator

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Feeds: where notifications go, and what happens to them on the way.

// Spellings of the LicenseArn in events: the one of the APIs, and the one of AWS's documentation of the events.
const (
	arnFull = "full"
	arnBare = "bare"
)

// reorderWindow is how far apart notifications may be that reorder shuffles.
const reorderWindow = time.Second

// feedsDocument is the body of PUT /_control/feeds.
type feedsDocument struct {
	EventBridge *eventBridgeFeed `json:"eventbridge,omitempty"`
	SNS         *snsFeed         `json:"sns,omitempty"`
	Drop        float64          `json:"drop,omitempty"`      // probability that a notification is lost
	Delay       duration         `json:"delay,omitempty"`     // real time that each is held
	Duplicate   float64          `json:"duplicate,omitempty"` // probability that one comes twice
	Reorder     bool             `json:"reorder,omitempty"`
	Seed        *uint64          `json:"seed,omitempty"` // makes all of this repeatable
}

// eventBridgeFeed is a rule that sends the events to a queue.
type eventBridgeFeed struct {
	Queue string `json:"queue"`
	Arn   string `json:"arn,omitempty"`
}

// snsFeed is a subscription to the SNS topics of legacy listings. It is stored; the topics are silent.
type snsFeed struct {
	Queue   string `json:"queue,omitempty"`
	HTTPS   string `json:"https,omitempty"`
	Version int    `json:"version,omitempty"` // of the signature
}

// feeds is the document that holds, and the dice for it.
type feeds struct {
	document feedsDocument
	dice     *rand.Rand
}

func newFeeds() feeds { return feeds{dice: newDice(nil)} }

func newDice(seed *uint64) *rand.Rand {
	if seed == nil {
		return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return rand.New(rand.NewPCG(*seed, 0))
}

// spell is a license's ARN as the events write it.
func (f *feeds) spell(l *license) string {
	if f.document.EventBridge == nil || f.document.EventBridge.Arn != arnBare {
		return l.arn
	}
	id := l.arn[strings.LastIndex(l.arn, ":")+1:]
	return "aws:license-manager:" + region + ":" + sellerAccount + ":" + id
}

// publish sends an event on its way into the queue of the EventBridge feed, if there is one.
func (e *Emulator) publish(body string, at time.Time) {
	feed := e.feeds.document.EventBridge
	if feed == nil {
		return
	}
	f := &e.feeds
	if f.dice.Float64() < f.document.Drop {
		return
	}
	copies := 1
	if f.dice.Float64() < f.document.Duplicate {
		copies = 2
	}
	for range copies {
		e.deliver(feed.Queue, body, at, f.hold())
	}
}

// hold is how long a notification is on its way.
func (f *feeds) hold() time.Duration {
	held := time.Duration(f.document.Delay)
	if f.document.Reorder {
		held += time.Duration(f.dice.Int64N(int64(reorderWindow)))
	}
	return held
}

// deliver puts a notification into a queue, which SQS counts as sent when it arrives there.
func (e *Emulator) deliver(address, body string, at time.Time, held time.Duration) {
	e.ensureQueue(queueName(address)).put(&message{
		id: newUUID(), body: body, sent: at.Add(held), available: time.Now().Add(held),
	})
}

// ensureQueue is the queue of that name, created where it does not exist.
func (e *Emulator) ensureQueue(name string) *queue {
	q, ok := e.queues[name]
	if !ok {
		q = newQueue(name, e.clock.now())
		e.queues[name] = q
	}
	return q
}
