package emulator

import "time"

// publish sends a message to everyone who is subscribed to a topic. What the feeds lose, double, hold and shuffle, they
// do for each subscriber by itself.
func (e *Emulator) publish(t *topic, m *envelope, at time.Time) {
	for _, s := range t.subscriptions {
		for _, held := range e.feeds.copies() {
			e.dispatch(s, m, at, held)
		}
	}
}

// dispatch sends one copy of a message to a subscriber, with an envelope unless it wants none.
func (e *Emulator) dispatch(s *subscription, m *envelope, at time.Time, held time.Duration) {
	if s.lane != nil {
		if !s.confirmed() {
			e.requestConfirmation(s)
		}
		e.post(s, m, held)
		return
	}
	body, err := e.written(s, m)
	if err != nil {
		e.log.Error("message_not_signed", "topic", m.TopicArn, "error", err)
		return
	}
	if name, ok := queueOfARN(s.endpoint); ok {
		e.deliver(name, body, at, held)
	}
}

// written is the body of a message as a subscriber gets it.
func (e *Emulator) written(s *subscription, m *envelope) (string, error) {
	if s.raw && m.Type == kindNotification {
		return m.Message, nil
	}
	if err := e.seal(m, e.versionOf(s.topic)); err != nil {
		return "", err
	}
	return e.addressed(*m, e.addressOf(s), s.arn)
}

// post puts a message for the URL of a subscription on its way.
func (e *Emulator) post(s *subscription, m *envelope, held time.Duration) {
	p, err := e.pack(s, m, held)
	if err != nil {
		e.log.Error("message_not_signed", "topic", m.TopicArn, "error", err)
		return
	}
	s.lane.add(p)
	e.nudge()
}

// pack makes a message ready for the courier.
func (e *Emulator) pack(s *subscription, m *envelope, held time.Duration) (*parcel, error) {
	body, err := e.written(s, m)
	if err != nil {
		return nil, err
	}
	return &parcel{
		url: s.endpoint, kind: m.Type, id: m.MessageID, topic: m.TopicArn, subscription: s.arn,
		raw: s.raw && m.Type == kindNotification, body: body, due: time.Now().Add(held),
	}, nil
}
