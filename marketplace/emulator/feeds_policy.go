package emulator

import "fmt"

// Who may send to a queue. AWS delivers only where the queue's policy lets EventBridge or SNS send; the control API sets
// that up with the feed, and takes it back with it. A policy that a caller has set stays.

// allowFeeds gives each queue of the document that holds the policy its feed needs, and takes it from those of the one before.
func (e *Emulator) allowFeeds(before, after *feedsDocument) {
	made := policiesOf(before)
	for name, policy := range policiesOf(after) {
		q := e.ensureQueue(name)
		if q.policy == "" || q.policy == made[name] {
			q.policy = policy
		}
		delete(made, name)
	}
	for name, policy := range made {
		if q, ok := e.queues[name]; ok && q.policy == policy {
			q.policy = ""
		}
	}
}

// policiesOf are the policies that a document's feeds need, by queue.
func policiesOf(d *feedsDocument) map[string]string {
	senders := map[string]string{}
	add := func(queue, service string) {
		if senders[queue] != "" {
			service = senders[queue] + `", "` + service
		}
		senders[queue] = service
	}
	if d.EventBridge != nil {
		add(d.EventBridge.Queue, "events.amazonaws.com")
	}
	if d.SNS != nil && d.SNS.Queue != "" {
		add(d.SNS.Queue, "sns.amazonaws.com")
	}
	policies := map[string]string{}
	for queue, services := range senders {
		policies[queue] = fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": ["%s"]}, `+
			`"Action": "sqs:SendMessage", "Resource": "%s"}]}`, services, queueARN(queue))
	}
	return policies
}
