package marketplace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	// longPoll is how long a receive waits for messages (AWS: ReceiveMessage, WaitTimeSeconds).
	longPoll = 20 * time.Second
	// atOnce is the most that a receive gives (AWS: ReceiveMessage, MaxNumberOfMessages).
	atOnce = 10
	// receiveTimeout bounds a receive: the poll, and what a slow network adds.
	receiveTimeout = longPoll + 10*time.Second
	// callTimeout bounds the other calls.
	callTimeout = 10 * time.Second
	// visibility is how long a received message is hidden from others. It is renewed while
	// work goes on, so it need only outlast a renewal or two that fail.
	visibility = time.Minute
	// renewal is how often that is.
	renewal = visibility / 3
	// longestWork bounds the work on one message; then it is left for redelivery.
	longestWork = 5 * time.Minute
	// shortestPoll is what an empty long poll takes at least. A queue that answers faster is
	// not asked again at once.
	shortestPoll = time.Second
	// inWork is the most messages that are worked on at once: AWS takes 20 reads a second.
	inWork = 50
	// shortestBackoff is the first pause after a failure.
	shortestBackoff = time.Second
)

// Handler acts on a hint, and tells whether that changed anything. The message is deleted
// only when it returns no error; otherwise SQS delivers it again.
type Handler func(ctx context.Context, hint cache.Hint) (changed bool, err error)

// Queue reads hints from one SQS queue.
type Queue struct {
	client  *sqs.Client
	url     string
	parser  parser
	handle  Handler
	aside   *aside
	clock   *Clock
	log     *slog.Logger
	updates *prometheus.CounterVec
	backoff func(failures int) time.Duration
	// subscriptions is where events are stored; nil: no listing lives by them.
	subscriptions *Subscriptions
	hearing       *hearing
}

// newUpdatesMetric counts what came over all feeds.
func newUpdatesMetric() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_updates_total",
		Help: "Messages from AWS by feed and kind: changed, unchanged, unknown or poison.",
	}, []string{"feed", "kind"})
}

// Queue is the reader of one queue. Messages about the given products reach the handler; those that are
// none are set aside in the directory, which is made when it is needed.
func (c *Connection) Queue(queueURL string, products map[string]policy.Product, asideDir string, handle Handler) *Queue {
	client := sqs.NewFromConfig(c.aws, func(o *sqs.Options) {
		if region := queueRegion(queueURL); region != "" {
			o.Region = region
		}
	})
	return &Queue{
		client: client, url: queueURL, parser: newParser(products), handle: handle, aside: &aside{dir: asideDir},
		subscriptions: c.subscriptions, hearing: c.hearing, clock: c.Clock, log: c.log.With("queue", queueURL), updates: c.updates,
		backoff: func(failures int) time.Duration { return backoff(failures, c.backoffLimit()) },
	}
}

// queueHost takes the region out of the hosts that SQS has: sqs.<region>.amazonaws.com, those of VPC
// endpoints and of FIPS, dual-stack ones, and <region>.queue.amazonaws.com of old.
var queueHost = regexp.MustCompile(`(?:^|\.)sqs(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.|^([a-z]{2}(?:-[a-z]+)+-[0-9])\.queue\.`)

// queueRegion is the region that a queue's URL names; empty: none.
func queueRegion(queueURL string) string {
	u, err := url.Parse(queueURL)
	if err != nil {
		return ""
	}
	parts := queueHost.FindStringSubmatch(u.Hostname())
	if parts == nil {
		return ""
	}
	return parts[1] + parts[2]
}

// backoff is the pause after so many failures in a row: it doubles, with jitter, up to a limit.
func backoff(failures int, limit time.Duration) time.Duration {
	most := min(shortestBackoff<<min(failures, 10), limit)
	return most/2 + rand.N(most/2)
}

// Run reads the queue until ctx ends. AWS's failures end nothing: they are counted, and
// told once.
func (q *Queue) Run(ctx context.Context) error {
	var work errgroup.Group
	work.SetLimit(inWork)
	for failures := 0; ctx.Err() == nil; {
		begun := time.Now()
		messages, err := q.receive(ctx)
		q.hearing.note(q.url, err)
		for _, m := range messages {
			work.Go(func() error { q.workOn(ctx, m); return nil })
		}
		switch {
		case err != nil:
			if failures == 0 && ctx.Err() == nil {
				q.log.Warn("queue can't be read", "error", err)
			}
			failures++
		case len(messages) == 0 && time.Since(begun) < shortestPoll:
			failures++
		default:
			if failures > 0 {
				q.log.Info("queue can be read again")
			}
			failures = 0
			continue
		}
		_ = sleep(ctx, q.backoff(failures)) // the loop sees that ctx has ended
	}
	return work.Wait()
}

// receive waits for messages.
func (q *Queue) receive(ctx context.Context) ([]types.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, receiveTimeout)
	defer cancel()
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:            aws.String(q.url),
		MaxNumberOfMessages: atOnce,
		WaitTimeSeconds:     int32(longPoll / time.Second),
		VisibilityTimeout:   int32(visibility / time.Second),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameSentTimestamp, types.MessageSystemAttributeNameApproximateReceiveCount,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("receive messages: %w", err)
	}
	return out.Messages, nil
}

// workOn works on one message: its effect, then its deletion. It deals with every
// failure: the message stays in the queue, and comes again.
func (q *Queue) workOn(ctx context.Context, m types.Message) {
	understood, err := q.act(ctx, m)
	// The end of ctx must not undo what was done: a message with its effect is deleted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err != nil {
		q.log.Warn("message waits for redelivery", "message_id", aws.ToString(m.MessageId), "error", err)
		q.hide(ctx, m, q.backoff(receiveCount(m)))
		return
	}
	q.updates.WithLabelValues(string(understood.feed), string(understood.kind)).Inc()
	_, err = q.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: aws.String(q.url), ReceiptHandle: m.ReceiptHandle})
	if err != nil { // it comes again, to no effect
		q.log.Warn("message can't be deleted", "message_id", aws.ToString(m.MessageId), "error", err)
	}
}

// act gives a message its effect.
func (q *Queue) act(ctx context.Context, m types.Message) (update, error) {
	body := []byte(aws.ToString(m.Body))
	understood, err := update{feed: feedEventBridge, kind: kindPoison}, errors.New("message is too long")
	if len(body) <= maxMessage {
		understood, err = q.parser.parse(body, sentAt(m))
	}
	if err != nil {
		q.log.Warn("message set aside", "message_id", aws.ToString(m.MessageId), "dir", q.aside.dir, "error", err)
		return understood, q.aside.put(q.clock.Now(), body)
	}
	if a := understood.advisory; a != nil {
		q.log.Warn("AWS advises about a buyer", "resolved", a.resolved, "product", a.product, "account", a.account)
	}
	if understood.hint == nil {
		return understood, nil
	}
	changed, err := q.handleVisibly(ctx, m, &understood)
	if changed {
		understood.kind = kindChanged
	}
	return understood, err
}

// handleVisibly gives an update its effect, and keeps the message hidden from others meanwhile.
func (q *Queue) handleVisibly(ctx context.Context, m types.Message, understood *update) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestWork)
	var renewals errgroup.Group
	renewals.Go(func() error {
		for sleep(ctx, renewal) == nil {
			q.hide(ctx, m, visibility)
		}
		return nil
	})
	changed, err = understood.effect(ctx, q.subscriptions, q.handle)
	cancel()
	return changed, errors.Join(err, renewals.Wait())
}

// hide keeps a message from being delivered for the given time. If that fails, it may be delivered
// twice or later, which does no harm; the failure is in weir_aws_requests_total.
func (q *Queue) hide(ctx context.Context, m types.Message, d time.Duration) {
	_, err := q.client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: aws.String(q.url), ReceiptHandle: m.ReceiptHandle,
		VisibilityTimeout: int32(d.Round(time.Second) / time.Second),
	})
	if err != nil {
		q.log.Debug("message can't be hidden", "message_id", aws.ToString(m.MessageId), "error", err)
	}
}

// sentAt is when a message came into the queue; zero where SQS does not say.
func sentAt(m types.Message) time.Time {
	millis, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(millis).UTC()
}

// receiveCount is how often a message was received, at least once.
func receiveCount(m types.Message) int {
	n, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if err != nil {
		return 1
	}
	return max(1, n)
}
