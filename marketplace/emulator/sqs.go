package emulator

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SQS: queues. Messages are in sqs_messages.go. Only standard queues, since EventBridge and SNS feed those.

const (
	codeNoQueue        = "QueueDoesNotExist"
	codeUnsupported    = "UnsupportedOperation"
	codeBadParameter   = "InvalidParameterValue"
	codeMissing        = "MissingParameter"
	codeBadAttribute   = "InvalidAttributeValue"
	codeNoAttribute    = "InvalidAttributeName"
	attrVisibility     = "VisibilityTimeout"
	attrDelay          = "DelaySeconds"
	attrWait           = "ReceiveMessageWaitTimeSeconds"
	attrRetention      = "MessageRetentionPeriod"
	attrMaxSize        = "MaximumMessageSize"
	attrPolicy         = "Policy"
	maxQueues          = 1000
	maxQueueName       = 80
	maxVisibility      = 43_200    // seconds (AWS: 12 hours)
	maxDelay           = 900       // seconds (AWS: 15 minutes)
	maxWait            = 20        // seconds
	maxRetention       = 1_209_600 // seconds (AWS: 14 days)
	maxMessageSize     = 1 << 20   // bytes (AWS: 1 MiB)
	defaultVisibility  = 30        // seconds
	defaultRetention   = 345_600   // seconds (AWS: 4 days)
	maxPolicyBytes     = 64 << 10
	maxListedQueues    = 1000
	queueNameCharacter = "_-"
)

// queue is a standard queue.
type queue struct {
	name     string
	created  time.Time      // the emulator's clock
	settings map[string]int // the attributes that are numbers
	policy   string
	messages []*message    // by the time at which they were or will be first available
	changed  chan struct{} // closed when a message arrives, then made anew
}

func newQueue(name string, now time.Time) *queue {
	return &queue{
		name:    name,
		created: wholeSecond(now),
		settings: map[string]int{
			attrVisibility: defaultVisibility, attrDelay: 0, attrWait: 0,
			attrRetention: defaultRetention, attrMaxSize: maxMessageSize,
		},
		changed: make(chan struct{}),
	}
}

// settingRange is what a numeric attribute may be.
func settingRange(name string) (lowest, highest int, known bool) {
	switch name {
	case attrVisibility:
		return 0, maxVisibility, true
	case attrDelay:
		return 0, maxDelay, true
	case attrWait:
		return 0, maxWait, true
	case attrRetention:
		return 60, maxRetention, true
	case attrMaxSize:
		return 1024, maxMessageSize, true
	}
	return 0, 0, false
}

// onQueue makes an operation of a function that works on the queue which QueueUrl names.
func (e *Emulator) onQueue(serve func(q *queue, in input) (object, error)) func(c *call) (object, error) {
	return func(c *call) (object, error) {
		in := newInput(c.in)
		q, err := e.queueOf(in)
		if err != nil {
			return nil, err
		}
		out, err := serve(q, in)
		if wrong := in.err(); wrong != nil {
			return nil, wrong
		}
		return out, err
	}
}

func (e *Emulator) queueOf(in input) (*queue, error) {
	address := in.text("QueueUrl")
	if err := in.err(); err != nil {
		return nil, err
	}
	if address == "" {
		return nil, refuse(codeMissing, "The request must contain the parameter QueueUrl.")
	}
	if q, ok := e.queues[queueName(address)]; ok {
		return q, nil
	}
	return nil, noQueue()
}

func noQueue() *apiError {
	return refuse(codeNoQueue, "The specified queue does not exist.")
}

// queueName is the name in a queue URL, or the name itself.
func queueName(address string) string {
	if u, err := url.Parse(address); err == nil {
		address = u.Path
	}
	return address[strings.LastIndex(address, "/")+1:]
}

// queueARN names a queue to SNS.
func queueARN(name string) string {
	return fmt.Sprintf("arn:aws:sqs:%s:%s:%s", region, sellerAccount, name)
}

// queueOfARN is the name in a queue's ARN; false when it is none of the seller's here.
func queueOfARN(arn string) (string, bool) {
	name, found := strings.CutPrefix(arn, queueARN(""))
	return name, found && isQueueName(name)
}

func isQueueName(name string) bool {
	return name != "" && len(name) <= maxQueueName && consists(name, queueNameCharacter)
}

// queueURL is the URL of a queue for a client that reached the emulator at endpoint.
func (e *Emulator) queueURL(endpoint, name string) string {
	if e.endpoint != "" {
		endpoint = e.endpoint
	}
	return endpoint + "/" + sellerAccount + "/" + name
}

func (e *Emulator) createQueue(c *call) (object, error) {
	in := newInput(c.in)
	name, attributes := in.text("QueueName"), in.structure("Attributes")
	if err := in.err(); err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, ".fifo") {
		return nil, refuse(codeUnsupported, "The emulator has standard queues only.")
	}
	if !isQueueName(name) {
		return nil, refuse(codeBadParameter, "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	fresh := newQueue(name, e.clock.now())
	if err := fresh.set(attributes); err != nil {
		return nil, err
	}
	if old, ok := e.queues[name]; ok {
		if !old.agrees(attributes) {
			return nil, refuse("QueueNameExists", "A queue already exists with the same name and a different value for an attribute")
		}
		return object{"QueueUrl": e.queueURL(c.endpoint, name)}, nil
	}
	if len(e.queues) >= maxQueues {
		return nil, refuse("RequestThrottled", "The emulator holds %d queues: POST /_control/reset", maxQueues)
	}
	e.queues[name] = fresh
	return object{"QueueUrl": e.queueURL(c.endpoint, name)}, nil
}

// agrees is true when the attributes that a second creation gives are those that the queue has.
func (q *queue) agrees(attributes input) bool {
	for name := range attributes.members {
		if name == attrPolicy && attributes.text(name) != q.policy {
			return false
		}
		if value, ok := q.settings[name]; ok && strconv.Itoa(value) != attributes.text(name) {
			return false
		}
	}
	return true
}

// set takes attributes, all or none.
func (q *queue) set(attributes input) error {
	settings, policy := map[string]int{}, q.policy
	for name := range attributes.members {
		text := attributes.text(name)
		lowest, highest, known := settingRange(name)
		switch {
		case name == attrPolicy && len(text) <= maxPolicyBytes:
			policy = text
		case known:
			n, err := strconv.Atoi(text)
			if err != nil || n < lowest || n > highest {
				return refuse(codeBadAttribute, "Invalid value for the parameter %s.", name)
			}
			settings[name] = n
		default:
			return refuse(codeNoAttribute, "Unknown Attribute %s.", clip(name))
		}
	}
	if err := attributes.err(); err != nil {
		return err
	}
	for name, n := range settings {
		q.settings[name] = n
	}
	q.policy = policy
	return nil
}

func (e *Emulator) getQueueURL(c *call) (object, error) {
	in := newInput(c.in)
	name := in.text("QueueName")
	if err := in.err(); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, refuse(codeMissing, "The request must contain the parameter QueueName.")
	}
	if _, ok := e.queues[name]; !ok {
		return nil, noQueue()
	}
	return object{"QueueUrl": e.queueURL(c.endpoint, name)}, nil
}

func (e *Emulator) listQueues(c *call) (object, error) {
	in := newInput(c.in)
	prefix := in.text("QueueNamePrefix")
	if err := in.err(); err != nil {
		return nil, err
	}
	urls := []any{}
	for name := range e.queues {
		if strings.HasPrefix(name, prefix) {
			urls = append(urls, e.queueURL(c.endpoint, name))
		}
	}
	slices.SortFunc(urls, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	return object{"QueueUrls": urls}, nil
}

func (e *Emulator) deleteQueue(q *queue, _ input) (object, error) {
	delete(e.queues, q.name)
	q.announce() // who waits on it learns that it is gone
	return object{}, nil
}

func (e *Emulator) purgeQueue(q *queue, _ input) (object, error) {
	q.messages = nil
	return object{}, nil
}

func (e *Emulator) setQueueAttributes(q *queue, in input) (object, error) {
	attributes := in.structure("Attributes")
	if len(attributes.members) == 0 {
		return nil, refuse(codeMissing, "The request must contain the parameter Attribute.Name.")
	}
	return object{}, q.set(attributes)
}

func (e *Emulator) getQueueAttributes(q *queue, in input) (object, error) {
	all := q.attributes()
	out := object{}
	for _, name := range in.texts("AttributeNames") {
		if name == "All" {
			return object{"Attributes": all}, nil
		}
		value, ok := all[name]
		if !ok && name != attrPolicy {
			return nil, refuse(codeNoAttribute, "Unknown Attribute %s.", clip(name))
		}
		if ok {
			out[name] = value
		}
	}
	if len(out) == 0 {
		return object{}, nil
	}
	return object{"Attributes": out}, nil
}

// attributes is everything GetQueueAttributes tells.
func (q *queue) attributes() object {
	waiting, inFlight, delayed := q.counts(time.Now())
	created := strconv.FormatInt(q.created.Unix(), 10)
	out := object{
		"QueueArn":                              queueARN(q.name),
		"ApproximateNumberOfMessages":           strconv.Itoa(waiting),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(inFlight),
		"ApproximateNumberOfMessagesDelayed":    strconv.Itoa(delayed),
		"CreatedTimestamp":                      created,
		"LastModifiedTimestamp":                 created,
		"SqsManagedSseEnabled":                  "true",
	}
	for name, value := range q.settings {
		out[name] = strconv.Itoa(value)
	}
	addIfSet(out, attrPolicy, q.policy)
	return out
}

// queryErrorHeader is x-amzn-query-error: the name that the error had in the query protocol, and whose fault it is.
func queryErrorHeader(err *apiError) string {
	blame := "Sender"
	if err.status >= 500 {
		blame = "Receiver"
	}
	code := err.code
	switch code {
	case codeNoQueue:
		code = "AWS.SimpleQueueService.NonExistentQueue"
	case "QueueNameExists":
		code = "QueueAlreadyExists"
	case codeUnsupported, "EmptyBatchRequest", "TooManyEntriesInBatchRequest", "BatchEntryIdsNotDistinct",
		"InvalidBatchEntryId", "BatchRequestTooLong", "MessageNotInflight":
		code = "AWS.SimpleQueueService." + code
	}
	return code + ";" + blame
}
