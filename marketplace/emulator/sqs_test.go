package emulator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// queue creates a queue and answers its URL.
func (w *world) queue(name string, attributes map[string]string) *string {
	w.t.Helper()
	out, err := w.queues.CreateQueue(w.t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name), Attributes: attributes})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.QueueUrl
}

func (w *world) send(url *string, body string) {
	w.t.Helper()
	if _, err := w.queues.SendMessage(w.t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(body)}); err != nil {
		w.t.Fatal(err)
	}
}

// receive takes up to ten messages, waiting at most that many seconds.
func (w *world) receive(url *string, wait int32) []types.Message {
	w.t.Helper()
	out, err := w.queues.ReceiveMessage(w.t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}, MessageAttributeNames: []string{"All"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Messages
}

func TestAMessageIsReceivedOnceUntilItsVisibilityEnds(t *testing.T) {
	w := standing(t)
	url := w.queue("weir", nil)
	want(t, "url", aws.ToString(url), w.url+"/294406891311/weir")
	w.send(url, "hello")
	first := w.receive(url, 0)
	want(t, "received", len(first), 1)
	want(t, "body", aws.ToString(first[0].Body), "hello")
	want(t, "md5", aws.ToString(first[0].MD5OfBody), "5d41402abc4b2a76b9719d911017c592")
	want(t, "count", first[0].Attributes["ApproximateReceiveCount"], "1")
	want(t, "sent, on the emulator's clock", first[0].Attributes["SentTimestamp"], fmt.Sprint(at(t, noon).UnixMilli()))
	want(t, "in flight", len(w.receive(url, 0)), 0)
	if _, err := w.queues.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{
		QueueUrl: url, ReceiptHandle: first[0].ReceiptHandle, VisibilityTimeout: 0,
	}); err != nil {
		t.Fatal(err)
	}
	again := w.receive(url, 0)
	want(t, "received again", len(again), 1)
	want(t, "count again", again[0].Attributes["ApproximateReceiveCount"], "2")
	remove := func(handle *string) {
		if _, err := w.queues.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: handle}); err != nil {
			t.Fatal(err)
		}
	}
	remove(first[0].ReceiptHandle) // an old handle deletes nothing
	want(t, "still there", w.attribute(url, "ApproximateNumberOfMessagesNotVisible"), "1")
	remove(again[0].ReceiptHandle)
	want(t, "deleted", w.attribute(url, "ApproximateNumberOfMessagesNotVisible"), "0")
	remove(again[0].ReceiptHandle) // deleting twice is no error
}

func (w *world) attribute(url *string, name string) string {
	w.t.Helper()
	out, err := w.queues.GetQueueAttributes(w.t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeName(name)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Attributes[name]
}

func TestALongPollEndsWithTheMessageThatArrives(t *testing.T) {
	w := standing(t)
	url := w.queue("weir", nil)
	got := make(chan []types.Message, 1)
	go func() { got <- w.receive(url, 20) }()
	for w.calls("ReceiveMessage") == 0 { // the poll has begun
		time.Sleep(time.Millisecond)
	}
	w.send(url, "late")
	messages := <-got
	want(t, "received", len(messages), 1)
}

func TestALongPollEndsWhenAMessageBecomesVisible(t *testing.T) {
	w := standing(t)
	url := w.queue("weir", nil)
	if _, err := w.queues.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("x"), DelaySeconds: 1}); err != nil {
		t.Fatal(err)
	}
	want(t, "delayed", w.attribute(url, "ApproximateNumberOfMessagesDelayed"), "1")
	want(t, "received", len(w.receive(url, 20)), 1)
}

func TestALongPollEndsWithItsClientAndWithTheEmulator(t *testing.T) {
	w := standing(t)
	url := w.queue("weir", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	w.send(url, "not for the client that went away")
	want(t, "received", len(w.receive(url, 0)), 1)
	// The world's end stops Run first and then waits for the server: a poll that hung would hang the test.
	go func() {
		_, _ = w.queues.ReceiveMessage(context.Background(), &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
	}()
	for w.calls("ReceiveMessage") < 3 {
		time.Sleep(time.Millisecond)
	}
}

// calls counts the calls of an operation.
func (w *world) calls(operation string) int {
	w.t.Helper()
	var list []struct{ Operation string }
	w.must(http.MethodGet, "calls", "", &list)
	n := 0
	for _, call := range list {
		if call.Operation == operation {
			n++
		}
	}
	return n
}

func TestBatchesSucceedAndFailEntryByEntry(t *testing.T) {
	w := standing(t)
	url := w.queue("weir", nil)
	sent, err := w.queues.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: aws.String("one")},
		{Id: aws.String("b"), MessageBody: aws.String("bad \x01")},
		{Id: aws.String("c"), MessageBody: aws.String("three"), MessageAttributes: map[string]types.MessageAttributeValue{
			"kind": {DataType: aws.String("String"), StringValue: aws.String("x")},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "sent", len(sent.Successful), 2)
	want(t, "failed", aws.ToString(sent.Failed[0].Code), "InvalidMessageContents")
	messages := w.receive(url, 0)
	want(t, "received", len(messages), 2)
	want(t, "attribute", aws.ToString(messages[1].MessageAttributes["kind"].StringValue), "x")
	var hide []types.ChangeMessageVisibilityBatchRequestEntry
	var remove []types.DeleteMessageBatchRequestEntry
	for i, m := range messages {
		id := aws.String(fmt.Sprint(i))
		hide = append(hide, types.ChangeMessageVisibilityBatchRequestEntry{Id: id, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 60})
		remove = append(remove, types.DeleteMessageBatchRequestEntry{Id: id, ReceiptHandle: m.ReceiptHandle})
	}
	hidden, err := w.queues.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url, Entries: hide})
	if err != nil || len(hidden.Successful) != 2 {
		t.Fatalf("ChangeMessageVisibilityBatch: %v, %v", hidden, err)
	}
	removed, err := w.queues.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: remove})
	if err != nil || len(removed.Successful) != 2 {
		t.Fatalf("DeleteMessageBatch: %v, %v", removed, err)
	}
	want(t, "left", w.attribute(url, "ApproximateNumberOfMessagesNotVisible"), "0")
}

func TestQueuesAreFoundListedPurgedAndDeleted(t *testing.T) {
	w := standing(t)
	url := w.queue("weir-a", map[string]string{"VisibilityTimeout": "7"})
	w.queue("weir-b", nil)
	w.queue("other", nil)
	list, err := w.queues.ListQueues(t.Context(), &sqs.ListQueuesInput{QueueNamePrefix: aws.String("weir")})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "listed", list.QueueUrls, []string{w.url + "/294406891311/weir-a", w.url + "/294406891311/weir-b"})
	found, err := w.queues.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("weir-a")})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "found", aws.ToString(found.QueueUrl), aws.ToString(url))
	want(t, "arn", w.attribute(url, "QueueArn"), "arn:aws:sqs:us-east-1:294406891311:weir-a")
	if _, err := w.queues.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: map[string]string{"VisibilityTimeout": "9"}}); err != nil {
		t.Fatal(err)
	}
	want(t, "set", w.attribute(url, "VisibilityTimeout"), "9")
	w.send(url, "x")
	if _, err := w.queues.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: url}); err != nil {
		t.Fatal(err)
	}
	want(t, "purged", w.attribute(url, "ApproximateNumberOfMessages"), "0")
	if _, err := w.queues.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: url}); err != nil {
		t.Fatal(err)
	}
	_, err = w.queues.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("weir-a")})
	var gone *types.QueueDoesNotExist
	if !errors.As(err, &gone) {
		t.Errorf("got %v, want QueueDoesNotExist", err)
	}
}

func TestWhatSQSDoesNotTakeIsRefusedByName(t *testing.T) {
	w := standing(t)
	url := w.queue("weir", nil)
	ctx := t.Context()
	entry := func(id string) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{Id: aws.String(id), MessageBody: aws.String("x")}
	}
	batch := func(entries ...types.SendMessageBatchRequestEntry) error {
		_, err := w.queues.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries})
		return err
	}
	receive := func(in sqs.ReceiveMessageInput) error {
		in.QueueUrl = url
		_, err := w.queues.ReceiveMessage(ctx, &in)
		return err
	}
	eleven := make([]types.SendMessageBatchRequestEntry, 0, 11)
	for i := range 11 {
		eleven = append(eleven, entry(fmt.Sprint(i)))
	}
	for _, test := range []struct {
		name, code string
		call       func() error
	}{
		{"eleven messages", "InvalidParameterValue", func() error { return receive(sqs.ReceiveMessageInput{MaxNumberOfMessages: 11}) }},
		{"21 seconds", "InvalidParameterValue", func() error { return receive(sqs.ReceiveMessageInput{WaitTimeSeconds: 21}) }},
		{"13 hours", "InvalidParameterValue", func() error { return receive(sqs.ReceiveMessageInput{VisibilityTimeout: 46800}) }},
		{"empty batch", "AWS.SimpleQueueService.EmptyBatchRequest", func() error { return batch([]types.SendMessageBatchRequestEntry{}...) }},
		{"eleven entries", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", func() error { return batch(eleven...) }},
		{"one id twice", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", func() error { return batch(entry("a"), entry("a")) }},
		{"bad id", "AWS.SimpleQueueService.InvalidBatchEntryId", func() error { return batch(entry("a b")) }},
		{"forged handle", "ReceiptHandleIsInvalid", func() error {
			_, err := w.queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: aws.String("x")})
			return err
		}},
		{"large message", "InvalidParameterValue", func() error {
			_, err := w.queues.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(strings.Repeat("x", 1<<20+1))})
			return err
		}},
		{"unknown attribute", "InvalidAttributeName", func() error {
			_, err := w.queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{"Colour"}})
			return err
		}},
		{"bad attribute", "InvalidAttributeValue", func() error {
			_, err := w.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("b"), Attributes: map[string]string{"DelaySeconds": "901"}})
			return err
		}},
		{"other attributes", "QueueAlreadyExists", func() error {
			_, err := w.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("weir"), Attributes: map[string]string{"DelaySeconds": "5"}})
			return err
		}},
		{"bad name", "InvalidParameterValue", func() error {
			_, err := w.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("a b")})
			return err
		}},
		{"unknown queue", "AWS.SimpleQueueService.NonExistentQueue", func() error {
			_, err := w.queues.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: aws.String(w.url + "/294406891311/nobody")})
			return err
		}},
	} {
		if got := code(test.call()); got != test.code {
			t.Errorf("%s: got %s, want %s", test.name, got, test.code)
		}
	}
}
