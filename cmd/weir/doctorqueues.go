package main

import (
	"context"
	"slices"
	"strings"

	"github.com/weirhq/weir/marketplace"
)

// eventRegion is the only region in which AWS Marketplace sends EventBridge events (AWS: Marketplace events in EventBridge).
const eventRegion = "us-east-1"

// queues tries each queue, and whether anything would come into it.
func (p *patient) queues(ctx context.Context) {
	updates := p.cfg.Updates
	if len(updates.Queues) == 0 && len(updates.SNS.Topics) == 0 {
		p.warn(checkQueues, "let an EventBridge rule feed an SQS queue, and name it under updates.queues",
			"there is none: what changes at AWS is seen at the next sweep, up to %s late", updates.Sweep)
	}
	for _, queue := range updates.Queues {
		p.queue(ctx, queue)
	}
}

func (p *patient) queue(ctx context.Context, queue string) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	report, troubles := p.aws.Queue(ctx, queue)
	if slices.ContainsFunc(troubles, func(t *marketplace.CheckupError) bool { return isUnknown(t) }) {
		p.fail(checkQueues, "create it, or correct updates.queues: region, account and name are in the URL", "AWS knows no queue %s", queue)
		return
	}
	readable, policySeen := true, true
	for _, t := range troubles {
		if t.Action == marketplace.ActionQueueAttributes { // weir itself does without
			policySeen = false
			p.trouble(checkQueues, t, p.warn)
			continue
		}
		readable = false
		p.trouble(checkQueues, t, p.fail)
		p.fail(checkQueues, "see what is said of "+t.Action, "%s can't be read", queue)
	}
	switch {
	case !policySeen:
		p.skip(checkQueues, "who may send to %s could not be read", queue)
	case len(report.Senders) == 0:
		p.fail(checkQueues, "let the queue's policy allow sqs:SendMessage to "+marketplace.SenderEventBridge+" for the rule's ARN, as deploy/ does",
			"%s is not fed: its policy lets neither EventBridge nor SNS send", queue)
	case report.Open:
		p.fail(checkQueues, "allow sqs:SendMessage to "+marketplace.SenderEventBridge+" alone, with a condition on aws:SourceArn",
			"anybody may send to %s", queue)
	case slices.Equal(report.Senders, []string{marketplace.SenderEventBridge}) && report.Region != "" && report.Region != eventRegion:
		p.warn(checkQueues, "a rule and a queue in "+eventRegion, "%s is in %s, and AWS Marketplace sends events in %s only", queue, report.Region, eventRegion)
	case readable:
		p.ok(checkQueues, "%s can be read, and is fed by %s", queue, senderNames(report.Senders))
	}
}

// senderNames are senders as people know them.
func senderNames(senders []string) string {
	var names []string
	for _, s := range senders {
		switch s {
		case marketplace.SenderEventBridge:
			names = append(names, "EventBridge")
		case marketplace.SenderSNS:
			names = append(names, "SNS")
		case marketplace.SenderAnybody:
			names = append(names, "whom the conditions of its policy let send")
		default:
			names = append(names, s)
		}
	}
	return strings.Join(names, " and ")
}
