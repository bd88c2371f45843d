package marketplace

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Who feeds a queue with what AWS Marketplace has to tell (AWS: SQS policies of EventBridge targets and SNS subscriptions).
const (
	SenderEventBridge = "events.amazonaws.com"
	SenderSNS         = "sns.amazonaws.com"
	// SenderAnybody is a policy that names nobody.
	SenderAnybody = "*"
)

// QueueReport is how a queue stands.
type QueueReport struct {
	// Region is that of the queue's URL; empty: the URL names none.
	Region string
	// Waiting is how many messages wait, about.
	Waiting string
	// Senders are those whom the queue's policy lets send: services, or anybody.
	Senders []string
	// Open tells that the policy lets anybody send, on no condition.
	Open bool
}

// noHandle is a receipt handle that SQS never gave.
const noHandle = "weir-doctor"

// Queue tries whether a queue can be read, and tells who feeds it, and of each action that it needs why it can't be had.
func (c *Checkup) Queue(ctx context.Context, queueURL string) (report QueueReport, troubles []*CheckupError) {
	client := sqs.NewFromConfig(c.c.aws, func(o *sqs.Options) {
		if region := queueRegion(queueURL); region != "" {
			o.Region = region
		}
	})
	report.Region = queueRegion(queueURL)
	attributes, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(queueURL), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	if err != nil {
		attributes, troubles = &sqs.GetQueueAttributesOutput{}, []*CheckupError{newCheckupError(ActionQueueAttributes, err)}
	}
	report.Waiting = attributes.Attributes[string(types.QueueAttributeNameApproximateNumberOfMessages)]
	report.Senders, report.Open = senders(attributes.Attributes[string(types.QueueAttributeNamePolicy)])

	// A queue in which nothing waits gives nothing away. Of any other more messages are asked for than SQS gives, so that none
	// is received once more than weir receives it: that would bring it closer to the dead-letter queue.
	most := int32(atOnce + 1)
	if report.Waiting == "0" {
		most = 1
	}
	_, receive := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(queueURL), MaxNumberOfMessages: most})
	_, remove := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: aws.String(queueURL), ReceiptHandle: aws.String(noHandle)})
	_, hide := client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: aws.String(queueURL), ReceiptHandle: aws.String(noHandle)})
	for action, err := range map[string]error{ActionReceiveMessage: receive, ActionDeleteMessage: remove, ActionHideMessage: hide} {
		if !permits(err) {
			troubles = append(troubles, newCheckupError(action, err))
		}
	}
	return report, troubles
}

// words are a JSON text or a list of them, as IAM policies have them.
type words []string

// UnmarshalJSON reads both forms.
func (w *words) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*w = words{one}
		return nil
	}
	var many []string
	err := json.Unmarshal(data, &many)
	*w = many
	return err
}

// statement is one of a queue's policy.
type statement struct {
	Effect    string
	Principal json.RawMessage
	Action    words
	Condition map[string]json.RawMessage
}

// senders are those whom a policy lets send. One that can't be read lets nobody.
func senders(policy string) (found []string, open bool) {
	var document struct{ Statement json.RawMessage }
	if json.Unmarshal([]byte(policy), &document) != nil {
		return nil, false
	}
	var statements []statement
	if json.Unmarshal(document.Statement, &statements) != nil {
		var one statement
		if json.Unmarshal(document.Statement, &one) != nil {
			return nil, false
		}
		statements = []statement{one}
	}
	for _, s := range statements {
		if s.Effect != "Allow" || !slices.ContainsFunc(s.Action, isSend) {
			continue
		}
		who := s.principals()
		found = append(found, who...)
		open = open || len(s.Condition) == 0 && slices.Contains(who, SenderAnybody)
	}
	slices.Sort(found)
	return slices.Compact(found), open
}

// isSend tells whether an action of a policy includes sending.
func isSend(action string) bool {
	return slices.Contains([]string{"*", "sqs:*", "sqs:send*", "sqs:sendmessage"}, strings.ToLower(action))
}

// principals are the services that a statement names, or anybody.
func (s *statement) principals() []string {
	var anybody string
	if json.Unmarshal(s.Principal, &anybody) == nil {
		return []string{anybody}
	}
	var named struct{ Service, AWS words }
	if json.Unmarshal(s.Principal, &named) != nil {
		return nil
	}
	if slices.Contains(named.AWS, SenderAnybody) {
		return append(named.Service, SenderAnybody)
	}
	return named.Service
}
