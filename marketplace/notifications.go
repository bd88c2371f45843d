package marketplace

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/weirhq/weir/policy"
)

const (
	// maxPosted is the longest body of a POST, in bytes. SNS's messages have up to 256 KiB, and JSON makes more of them.
	maxPosted = 1 << 20
	// smallPosted is what is read of a body without more ado, in bytes. AWS Marketplace's messages have 2 KB.
	smallPosted = 64 << 10
	// largeAtOnce is how many longer bodies are read at once, so that strangers can't fill the memory.
	largeAtOnce = 16
	// postedTimeout bounds the reading of a body.
	postedTimeout = 10 * time.Second
	// effectTimeout bounds the effect of a message: SNS waits 15 s for an answer (AWS: SNS message delivery retries).
	effectTimeout = 12 * time.Second
	// A message may be this old, and its time this far ahead, in AWS's time.
	oldestPosted = time.Hour
	aheadPosted  = 15 * time.Minute
)

// The reasons of what POST /sns refuses.
const (
	reasonUnreadable  = "unreadable"
	reasonTooLarge    = "too_large"
	reasonMethod      = "method_not_allowed"
	reasonTopic       = "topic"
	reasonCertificate = "certificate"
	reasonSignature   = "signature"
	reasonStale       = "stale"
	reasonReplayed    = "replayed"
	reasonUnavailable = "unavailable"
)

// refusal is why a message is not taken. SNS tries again after a 503, and never after a 403.
type refusal struct {
	status int
	reason string
	detail string
	cause  error // for the log
}

func (r *refusal) Error() string {
	if r.cause != nil {
		return r.detail + " " + r.cause.Error()
	}
	return r.detail
}

func (r *refusal) Unwrap() error { return r.cause }

func refuseCertificate(why string) *refusal {
	return &refusal{http.StatusForbidden, reasonCertificate, "The message's certificate is of no use: " + why + ".", nil}
}

func refuseSignature(why string) *refusal {
	return &refusal{http.StatusForbidden, reasonSignature, "The message's signature is of no use: " + why + ".", nil}
}

// Notifications takes the messages that SNS posts (AWS: SNS, HTTP/S endpoints). It faces the internet: whoever can reach it
// can post anything. A message has an effect only if it is of one of the topics, signed by SNS, fresh, and new; nothing is
// fetched for one of another topic, and never anything from a URL of the message but a certificate of SNS.
type Notifications struct {
	topics       map[string]topic
	parser       parser
	handle       Handler
	certificates *certificates
	// subscriptions is where events are stored; nil: no listing lives by them.
	subscriptions *Subscriptions
	replays       *replays
	client        *sns.Client
	clock         *Clock
	log           *slog.Logger
	updates       *prometheus.CounterVec
	large         chan struct{} // holds one for each long body being read
	told          *rate.Sometimes
}

var _ http.Handler = (*Notifications)(nil)

// Notifications is the handler of POST /sns. Messages of exactly these topics that are about the given products reach the
// Handler; SNS is answered after its effect.
func (c *Connection) Notifications(topics []string, products map[string]policy.Product, handle Handler) *Notifications {
	n := &Notifications{
		topics: make(map[string]topic, len(topics)), parser: newParser(products), handle: handle,
		certificates: newCertificates(c.cfg.Endpoint, c.Clock.Now), replays: newReplays(), client: sns.NewFromConfig(c.aws),
		subscriptions: c.subscriptions, clock: c.Clock, log: c.log, updates: c.updates, large: make(chan struct{}, largeAtOnce),
		told: &rate.Sometimes{First: 10, Interval: time.Second},
	}
	for _, arn := range topics {
		n.topics[arn] = parseTopic(arn)
	}
	return n
}

// ServeHTTP takes one message.
func (n *Notifications) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	taken, err := n.take(w, r)
	if err == nil {
		n.updates.WithLabelValues(string(feedSNSHTTPS), string(taken)).Inc()
		w.WriteHeader(http.StatusOK)
		return
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		refused = &refusal{http.StatusServiceUnavailable, reasonUnavailable, "The message can't have its effect now; send it again.", err}
	}
	if refused.status != http.StatusServiceUnavailable { // after which it comes again
		n.updates.WithLabelValues(string(feedSNSHTTPS), string(kindPoison)).Inc()
	}
	n.told.Do(func() {
		n.log.Warn("notification refused", "reason", refused.reason, "status", refused.status, "error", refused)
	})
	problem := policy.Problem{
		Type: "urn:weir:reason:" + refused.reason, Title: http.StatusText(refused.status), Status: refused.status,
		Detail: refused.detail, Reason: refused.reason,
	}
	w.Header().Set("Content-Type", policy.ProblemType)
	w.Header().Set("Cache-Control", "no-store")
	if refused.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	w.WriteHeader(refused.status)
	_, _ = w.Write(problem.JSON()) // SNS looks at the status alone
}

// take checks a message, the cheap before the dear, and gives it its effect.
func (n *Notifications) take(w http.ResponseWriter, r *http.Request) (kind, error) {
	if r.Method != http.MethodPost {
		return "", &refusal{http.StatusMethodNotAllowed, reasonMethod, "SNS posts its messages.", nil}
	}
	body, err := n.read(w, r)
	if err != nil {
		return "", err
	}
	e, err := readEnvelope(body)
	if err != nil {
		return "", &refusal{http.StatusBadRequest, reasonUnreadable, "The message can't be read: " + err.Error() + ".", nil}
	}
	from, ok := n.topics[e.topic]
	if !ok {
		return "", &refusal{
			http.StatusForbidden, reasonTopic, "Messages of this topic are not taken; updates.sns.topics lists those that are.", errors.New(e.topic),
		}
	}
	if err := compareHeaders(r.Header, e); err != nil {
		return "", err
	}
	if err := n.verify(r.Context(), from, e); err != nil {
		return "", err
	}
	if now := n.clock.Now(); e.at.Before(now.Add(-oldestPosted)) || e.at.After(now.Add(aheadPosted)) {
		return "", &refusal{http.StatusForbidden, reasonStale, "The message is older than an hour, or from the future.", nil}
	}
	return n.once(r.Context(), from, e)
}

// read reads the body within its bounds.
func (n *Notifications) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLarge := &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge, "The body is longer than 1 MiB.", nil}
	if r.ContentLength > maxPosted {
		return nil, tooLarge
	}
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(postedTimeout)) // not every ResponseWriter can; a server's can
	defer func() { _ = connection.SetReadDeadline(time.Time{}) }()

	posted := http.MaxBytesReader(w, r.Body, maxPosted)
	body, err := io.ReadAll(io.LimitReader(posted, smallPosted))
	if err == nil && len(body) == smallPosted {
		select {
		case n.large <- struct{}{}:
			defer func() { <-n.large }()
		default:
			return nil, errors.New("too many long messages at once")
		}
		var rest []byte
		rest, err = io.ReadAll(posted)
		body = append(body, rest...)
	}
	var exceeded *http.MaxBytesError
	switch {
	case errors.As(err, &exceeded):
		return nil, tooLarge
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, reasonUnreadable, "The body can't be read.", err}
	}
	return body, nil
}

// compareHeaders refuses a message that says one thing in its headers, which are not signed, and another in its body: who
// stands before weir may have judged it by the headers.
func compareHeaders(h http.Header, e *envelope) error {
	for name, want := range map[string]string{
		"X-Amz-Sns-Message-Type": e.kind, "X-Amz-Sns-Message-Id": e.id, "X-Amz-Sns-Topic-Arn": e.topic,
	} {
		for _, got := range h.Values(name) {
			if got != want {
				return &refusal{http.StatusBadRequest, reasonUnreadable, "The message differs from its header " + name + ".", nil}
			}
		}
	}
	return nil
}

// verify checks that SNS has signed the message.
func (n *Notifications) verify(ctx context.Context, from topic, e *envelope) error {
	if !n.certificates.allowed(from, e.certificateURL) {
		return refuseCertificate("SNS keeps none of this topic at its SigningCertURL")
	}
	var algorithm x509.SignatureAlgorithm
	switch e.version {
	case "1":
		algorithm = x509.SHA1WithRSA
	case "2":
		algorithm = x509.SHA256WithRSA
	default:
		return refuseSignature("its SignatureVersion is unknown")
	}
	signature := e.signatureBytes()
	if len(signature) == 0 {
		return refuseSignature("there is none in base64")
	}
	certificate, err := n.certificates.get(ctx, from, e.certificateURL)
	if err != nil {
		return err
	}
	if err := certificate.CheckSignature(algorithm, e.signed(), signature); err != nil {
		return refuseSignature("it is not of this message")
	}
	return nil
}

// once gives a verified message its effect, if it did not have it before.
func (n *Notifications) once(ctx context.Context, from topic, e *envelope) (taken kind, err error) {
	switch n.replays.begin(e.id, e.signed(), e.at, n.clock.Now().Add(-oldestPosted)) {
	case verdictOther:
		return "", &refusal{http.StatusForbidden, reasonReplayed, "Another message had this MessageId.", nil}
	case verdictDone:
		return kindUnchanged, nil
	case verdictBusy:
		return "", errors.New("the same message is being worked on")
	}
	done := false
	defer func() { n.replays.end(e.id, done) }()
	ctx, cancel := context.WithTimeout(ctx, effectTimeout)
	defer cancel()
	taken, err = n.act(ctx, from, e)
	done = err == nil
	return taken, err
}

// act gives a message its effect.
func (n *Notifications) act(ctx context.Context, from topic, e *envelope) (kind, error) {
	switch e.kind {
	case typeSubscribe:
		return kindUnchanged, n.confirm(ctx, from, e.token)
	case typeUnsubscribe:
		n.log.Warn("topic sends no more messages here; subscribe again if that is not meant", "topic", e.topic)
		return kindUnchanged, nil
	}
	understood, err := n.parser.notification(notification{feed: feedSNSHTTPS, topic: e.topic, body: []byte(e.message), at: e.at.UTC()})
	if err != nil { // it will not be better when it comes again
		n.log.Warn("notification can't be understood", "message_id", e.id, "topic", e.topic, "error", err)
		return understood.kind, nil
	}
	if understood.hint == nil {
		return understood.kind, nil
	}
	changed, err := understood.effect(ctx, n.subscriptions, n.handle)
	if changed {
		understood.kind = kindChanged
	}
	return understood.kind, err
}

// confirm tells SNS that messages are wanted, by its API: the URL in the message is never followed.
func (n *Notifications) confirm(ctx context.Context, from topic, token string) error {
	_, err := n.client.ConfirmSubscription(ctx, &sns.ConfirmSubscriptionInput{TopicArn: aws.String(from.arn), Token: aws.String(token)},
		func(o *sns.Options) {
			if from.region != "" {
				o.Region = from.region
			}
		})
	if err != nil && strings.Contains(err.Error(), token) { // which is for no log
		err = errors.New("AWS refused the token")
	}
	if err != nil {
		return fmt.Errorf("confirm subscription to %s: %w", from.arn, err)
	}
	n.log.Info("subscription confirmed", "topic", from.arn)
	return nil
}
