package emulator

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxMessages bounds a queue; a message beyond it displaces the oldest.
	maxMessages = 100_000
	// maxBatch is the largest batch, and the most messages of one receive.
	maxBatch          = 10
	maxAttributeCount = 10
)

// message is one message of a queue. Availability runs on real time; the timestamps that clients read are the
// emulator's clock, like the Date of every answer.
type message struct {
	id         string
	body       string
	attributes object    // MessageAttributes as sent
	sent       time.Time // the emulator's clock
	first      time.Time // first received, the emulator's clock
	available  time.Time // real time: before it nobody gets it
	receives   int
	receipt    string // of the latest receive
}

// inFlight is true while someone has received the message and neither deleted it nor let it time out.
func (m *message) inFlight(now time.Time) bool { return m.receives > 0 && m.available.After(now) }

// put adds a message and wakes who waits for one.
func (q *queue) put(m *message) {
	if len(q.messages) >= maxMessages {
		q.messages = slices.Delete(q.messages, 0, 1)
	}
	at := len(q.messages)
	for at > 0 && q.messages[at-1].receives == 0 && q.messages[at-1].available.After(m.available) {
		at--
	}
	q.messages = slices.Insert(q.messages, at, m)
	q.announce()
}

func (q *queue) announce() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) counts(now time.Time) (waiting, inFlight, delayed int) {
	for _, m := range q.messages {
		switch {
		case m.inFlight(now):
			inFlight++
		case m.available.After(now):
			delayed++
		default:
			waiting++
		}
	}
	return waiting, inFlight, delayed
}

func (e *Emulator) sendMessage(q *queue, in input) (object, error) {
	body, attributes := in.text("MessageBody"), in.structure("MessageAttributes")
	if err := checkBody(q, body); err != nil {
		return nil, err
	}
	if len(attributes.members) > maxAttributeCount {
		return nil, refuse(codeBadParameter, "Number of message attributes [%d] exceeds the allowed maximum [10].", len(attributes.members))
	}
	delay := q.settings[attrDelay]
	if in.has("DelaySeconds") {
		delay = in.integer("DelaySeconds")
	}
	if delay < 0 || delay > maxDelay {
		return nil, badRange("DelaySeconds", delay, 0, maxDelay)
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	m := &message{
		id: newUUID(), body: body, attributes: attributes.members, sent: e.clock.now(),
		available: time.Now().Add(time.Duration(delay) * time.Second),
	}
	q.put(m)
	out := object{"MessageId": m.id, "MD5OfMessageBody": md5Hex([]byte(body))}
	addIfSet(out, "MD5OfMessageAttributes", attributesMD5(attributes))
	return out, nil
}

// checkBody is nil for a body that SQS takes: 1 byte to the queue's limit, and only characters that XML has.
func checkBody(q *queue, body string) error {
	if body == "" {
		return refuse(codeMissing, "The request must contain the parameter MessageBody.")
	}
	if len(body) > q.settings[attrMaxSize] {
		return refuse(codeBadParameter, "One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.settings[attrMaxSize])
	}
	for _, r := range body {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError {
			return refuse("InvalidMessageContents", "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | "+
				"#x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF")
		}
	}
	return nil
}

func badRange(name string, value, lowest, highest int) *apiError {
	return refuse(codeBadParameter, "Value %d for parameter %s is invalid. Reason: Must be between %d and %d, if provided.",
		value, name, lowest, highest)
}

// receiveRequest is what a ReceiveMessage asks for.
type receiveRequest struct {
	most       int
	visibility time.Duration
	wait       time.Duration
	system     []string
	attributes []string
}

func readReceive(q *queue, in input) (receiveRequest, error) {
	most, visibility, wait := 1, q.settings[attrVisibility], q.settings[attrWait]
	if in.has("MaxNumberOfMessages") {
		most = in.integer("MaxNumberOfMessages")
	}
	if in.has("VisibilityTimeout") {
		visibility = in.integer("VisibilityTimeout")
	}
	if in.has("WaitTimeSeconds") {
		wait = in.integer("WaitTimeSeconds")
	}
	out := receiveRequest{
		most: most, visibility: time.Duration(visibility) * time.Second, wait: time.Duration(wait) * time.Second,
		system:     append(in.texts("MessageSystemAttributeNames"), in.texts("AttributeNames")...),
		attributes: in.texts("MessageAttributeNames"),
	}
	switch {
	case in.err() != nil:
		return out, in.err()
	case most < 1 || most > maxBatch:
		return out, badRange("MaxNumberOfMessages", most, 1, maxBatch)
	case visibility < 0 || visibility > maxVisibility:
		return out, badRange("VisibilityTimeout", visibility, 0, maxVisibility)
	case wait < 0 || wait > maxWait:
		return out, badRange("WaitTimeSeconds", wait, 0, maxWait)
	}
	return out, nil
}

// receiveMessage polls until there is a message, the wait is over, or the client or the emulator goes away.
func (e *Emulator) receiveMessage(ctx context.Context, c *call) (object, error) {
	var deadline time.Time
	for {
		look, err := e.look(newInput(c.in), &deadline)
		if err != nil || look.found != nil {
			return look.found, err
		}
		timer := time.NewTimer(time.Until(look.again))
		select {
		case <-look.changed:
		case <-timer.C:
		case <-ctx.Done(): // nothing is taken for a client that has gone
			timer.Stop()
			return object{}, nil
		case <-e.stopped:
			timer.Stop()
			return object{}, nil
		}
		timer.Stop()
	}
}

// look is what one look into a queue brought: an answer, or when to look again.
type look struct {
	found   object
	again   time.Time
	changed <-chan struct{}
}

// look takes messages out of the queue, if any are available. The first one sets the deadline.
func (e *Emulator) look(in input, deadline *time.Time) (look, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settle()
	q, err := e.queueOf(in)
	if err != nil {
		return look{}, err
	}
	request, err := readReceive(q, in)
	if err != nil {
		return look{}, err
	}
	now := time.Now()
	if deadline.IsZero() {
		*deadline = now.Add(request.wait)
	}
	messages, next := q.take(request, now, e.clock.now())
	if len(messages) > 0 {
		return look{found: object{"Messages": messages}}, nil
	}
	if !now.Before(*deadline) {
		return look{found: object{}}, nil
	}
	if next.IsZero() || deadline.Before(next) {
		next = *deadline
	}
	return look{again: next, changed: q.changed}, nil
}

// take receives what is available, and says when the next message will be; zero: none is waiting.
func (q *queue) take(request receiveRequest, now, clock time.Time) (found []object, next time.Time) {
	for _, m := range q.messages {
		if m.available.After(now) {
			if next.IsZero() || m.available.Before(next) {
				next = m.available
			}
			continue
		}
		m.receives++
		m.available = now.Add(request.visibility)
		m.receipt = base64.StdEncoding.EncodeToString([]byte(q.name + " " + m.id + " " + randomHex(8)))
		if m.first.IsZero() {
			m.first = clock
		}
		found = append(found, m.shape(request))
		if len(found) == request.most {
			break
		}
	}
	return found, next
}

func (m *message) shape(request receiveRequest) object {
	out := object{"MessageId": m.id, "ReceiptHandle": m.receipt, "Body": m.body, "MD5OfBody": md5Hex([]byte(m.body))}
	system := object{}
	for name, value := range map[string]string{
		"SenderId":                         sellerAccount,
		"SentTimestamp":                    strconv.FormatInt(m.sent.UnixMilli(), 10),
		"ApproximateReceiveCount":          strconv.Itoa(m.receives),
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.first.UnixMilli(), 10),
	} {
		if slices.Contains(request.system, name) || slices.Contains(request.system, "All") {
			system[name] = value
		}
	}
	if len(system) > 0 {
		out["Attributes"] = system
	}
	chosen := object{}
	for name, value := range m.attributes {
		if asksFor(request.attributes, name) {
			chosen[name] = value
		}
	}
	if len(chosen) > 0 {
		out["MessageAttributes"] = chosen
		out["MD5OfMessageAttributes"] = attributesMD5(newInput(chosen))
	}
	return out
}

// asksFor is true when a list of attribute names holds one: itself, All, or a prefix such as "foo.*".
func asksFor(names []string, name string) bool {
	return slices.ContainsFunc(names, func(asked string) bool {
		prefix, wild := strings.CutSuffix(asked, ".*")
		return asked == name || asked == "All" || wild && strings.HasPrefix(name, prefix)
	})
}

// held finds the message that a receipt handle stands for: nil when it is gone or was received again since.
func (q *queue) held(in input) (*message, error) {
	handle := in.text("ReceiptHandle")
	text, err := base64.StdEncoding.DecodeString(handle)
	parts := strings.Split(string(text), " ")
	if err != nil || len(parts) != 3 || parts[0] != q.name {
		return nil, refuse("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
	}
	for _, m := range q.messages {
		if m.receipt == handle {
			return m, nil
		}
	}
	return nil, nil
}

func (e *Emulator) deleteMessage(q *queue, in input) (object, error) {
	m, err := q.held(in)
	if err != nil || m == nil {
		return object{}, err
	}
	q.messages = slices.DeleteFunc(q.messages, func(other *message) bool { return other == m })
	return object{}, nil
}

func (e *Emulator) changeVisibility(q *queue, in input) (object, error) {
	seconds := in.integer("VisibilityTimeout")
	if seconds < 0 || seconds > maxVisibility {
		return nil, badRange("VisibilityTimeout", seconds, 0, maxVisibility)
	}
	m, err := q.held(in)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if m == nil || !m.inFlight(now) {
		return nil, refuse("MessageNotInflight", "The message is not available for visibility timeout change.")
	}
	m.available = now.Add(time.Duration(seconds) * time.Second)
	q.announce()
	return object{}, nil
}
