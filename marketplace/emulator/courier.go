package emulator

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The courier posts what SNS has for URLs, on real time. Each subscription has a lane: one message at a time, in the
// order in which they are due, and only the request for confirmation before its owner has confirmed.

const (
	// maxWaiting bounds a lane; a message beyond it displaces the oldest.
	maxWaiting = 1000
	// maxCouriers bounds the requests under way.
	maxCouriers = 32
	// postTimeout is how long an endpoint has to answer (AWS: 15 seconds).
	postTimeout = 15 * time.Second
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 4 << 10
)

// retryDelays is how long a message waits after each failure; after the last it is given up.
func retryDelays() []time.Duration {
	return []time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}
}

// lane is what waits for one subscription. Emulator.mu guards it.
type lane struct {
	open     bool // notifications may go out
	passing  bool // the lane goes when it is empty
	invited  bool // the owner has the request for confirmation
	underWay *parcel
	waiting  []*parcel
}

// parcel is one message for a URL.
type parcel struct {
	url          string
	kind         string
	id           string
	topic        string
	subscription string // ARN
	raw          bool
	body         string
	due          time.Time // real time
	tries        int
}

// add puts a parcel behind those that are due no later.
func (l *lane) add(p *parcel) {
	if len(l.waiting) >= maxWaiting {
		oldest := max(0, slices.IndexFunc(l.waiting, (*parcel).isNotification))
		l.waiting = slices.Delete(l.waiting, oldest, oldest+1)
	}
	at := len(l.waiting)
	for at > 0 && l.waiting[at-1].due.After(p.due) {
		at--
	}
	l.waiting = slices.Insert(l.waiting, at, p)
}

// inviting is true once the owner of the URL has been asked to confirm, or will be.
func (l *lane) inviting() bool {
	asks := func(p *parcel) bool { return p.kind == kindConfirmation }
	return l.invited || l.underWay != nil && asks(l.underWay) || slices.ContainsFunc(l.waiting, asks)
}

func (l *lane) done() bool { return l.passing && l.underWay == nil && len(l.waiting) == 0 }

// next is the place of the first parcel that may go out, if there is one.
func (l *lane) next() (int, bool) {
	at := slices.IndexFunc(l.waiting, func(p *parcel) bool { return l.open || !p.isNotification() })
	return at, at >= 0 && l.underWay == nil
}

func (p *parcel) isNotification() bool { return p.kind == kindNotification }

// courier carries parcels. Run owns it.
type courier struct {
	e      *Emulator
	client *http.Client
	seats  chan struct{}
	trips  sync.WaitGroup
}

func newCourier(e *Emulator) *courier {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: postTimeout}).DialContext,
		MaxIdleConnsPerHost: maxCouriers,
	}
	return &courier{
		e: e, seats: make(chan struct{}, maxCouriers),
		client: &http.Client{
			Transport: transport, Timeout: postTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// stop waits for the trips under way, whose context has ended.
func (c *courier) stop() {
	c.trips.Wait()
	c.client.CloseIdleConnections()
}

// round sends off everything that is due and says how long nothing else will be.
func (c *courier) round(ctx context.Context) time.Duration {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	c.e.topics.lanes = slices.DeleteFunc(c.e.topics.lanes, (*lane).done)
	sleep := longestSleep
	now := time.Now()
	for _, l := range c.e.topics.lanes {
		at, ok := l.next()
		if !ok {
			continue
		}
		p := l.waiting[at]
		if wait := p.due.Sub(now); wait > 0 {
			sleep = min(sleep, wait)
			continue
		}
		select {
		case c.seats <- struct{}{}:
		default:
			return sleep // who comes back makes the next round begin
		}
		l.waiting = slices.Delete(l.waiting, at, at+1)
		l.underWay = p
		c.trips.Go(func() { c.trip(ctx, l, p) })
	}
	return sleep
}

// trip tries a parcel once.
func (c *courier) trip(ctx context.Context, l *lane, p *parcel) {
	again, err := c.deliver(ctx, p)
	<-c.seats
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	l.underWay = nil
	delays := retryDelays()
	switch {
	case err == nil:
		l.invited = l.invited || p.kind == kindConfirmation
		c.e.log.Info("message_posted", "topic", p.topic, "kind", p.kind)
	case again && p.tries < len(delays):
		p.due = time.Now().Add(delays[p.tries])
		p.tries++
		l.add(p)
	default:
		c.e.log.Warn("message_given_up", "topic", p.topic, "kind", p.kind, "error", err)
	}
	c.e.nudge()
}

// deliver posts a parcel as SNS does. Of the answers that are no success, those that blame the message or the
// subscription end it; others are tried again.
func (c *courier) deliver(ctx context.Context, p *parcel) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(p.body))
	if err != nil {
		return false, fmt.Errorf("post message: %w", err)
	}
	p.label(request.Header)
	response, err := c.client.Do(request)
	if err != nil {
		return true, fmt.Errorf("post message: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // only so that the connection can be used again
	switch {
	case response.StatusCode/100 == 2:
		return false, nil
	case response.StatusCode >= http.StatusInternalServerError, response.StatusCode == http.StatusTooManyRequests:
		return true, fmt.Errorf("post message: %s", response.Status)
	}
	return false, fmt.Errorf("post message: %s", response.Status)
}

// label sets the headers that SNS sends.
func (p *parcel) label(header http.Header) {
	header.Set("Content-Type", "text/plain; charset=UTF-8")
	header.Set("User-Agent", "Amazon Simple Notification Service Agent")
	for name, value := range map[string]string{
		"X-Amz-Sns-Message-Type": p.kind, "X-Amz-Sns-Message-Id": p.id, "X-Amz-Sns-Topic-Arn": p.topic,
	} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if p.isNotification() && p.subscription != "" {
		header.Set("X-Amz-Sns-Subscription-Arn", p.subscription)
	}
	if p.raw {
		header.Set("X-Amz-Sns-Rawdelivery", "true")
	}
}
