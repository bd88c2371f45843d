package emulator

import (
	"math/rand/v2"
	"slices"
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

// snsFeed is subscriptions to the two topics of every listing: of a queue, of a URL, or of both.
type snsFeed struct {
	Queue   string `json:"queue,omitempty"`
	HTTPS   string `json:"https,omitempty"`   // a URL; http:// will do
	Version int    `json:"version,omitempty"` // of the signatures; default 1
	Raw     bool   `json:"raw,omitempty"`     // messages come without an envelope and unsigned
}

// feeds is the document that holds, and the dice for it.
type feeds struct {
	document feedsDocument
	address  string // how the caller who set them reaches the emulator
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

// toBus sends an event on its way into the queue of the EventBridge feed, if there is one.
func (e *Emulator) toBus(body string, at time.Time) {
	feed := e.feeds.document.EventBridge
	if feed == nil {
		return
	}
	for _, held := range e.feeds.copies() {
		e.deliver(feed.Queue, body, at, held)
	}
}

// copies is how often a notification arrives, and how long each time it is on its way.
func (f *feeds) copies() []time.Duration {
	if f.dice.Float64() < f.document.Drop {
		return nil
	}
	twice := f.dice.Float64() < f.document.Duplicate
	out := []time.Duration{f.hold()}
	if twice {
		out = append(out, f.hold())
	}
	return out
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

// subscribeFeed subscribes the SNS feed to a topic. A URL that is subscribed already stays so.
func (e *Emulator) subscribeFeed(t *topic) {
	feed := e.feeds.document.SNS
	if feed == nil || t.version != 0 {
		return
	}
	made := subscription{address: e.feeds.address, raw: feed.Raw, ofFeed: true}
	if feed.Queue != "" {
		made.protocol, made.endpoint = deliverSQS, queueARN(feed.Queue)
		e.subscribeOnce(t, made)
	}
	if feed.HTTPS != "" {
		scheme, _, _ := strings.Cut(feed.HTTPS, ":")
		made.protocol, made.endpoint = strings.ToLower(scheme), feed.HTTPS
		e.subscribeOnce(t, made)
	}
}

func (e *Emulator) subscribeOnce(t *topic, s subscription) {
	if old := t.find(s.protocol, s.endpoint); old != nil {
		old.raw, old.address, old.ofFeed = s.raw, s.address, true
		return
	}
	e.subscribe(t, &s)
}

// subscribeFeeds makes the feed's subscriptions those of the document that holds.
func (e *Emulator) subscribeFeeds() {
	feed := e.feeds.document.SNS
	for _, s := range slices.Clone(e.topics.subscriptions) {
		wanted := feed != nil && (s.endpoint == feed.HTTPS || feed.Queue != "" && s.endpoint == queueARN(feed.Queue))
		if s.ofFeed && !wanted {
			e.topics.unlist(s)
		}
	}
	for _, t := range e.topics.all {
		e.subscribeFeed(t)
	}
}
