package cache

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// Updates is the section updates of weir.yaml: how weir hears of changes.
type Updates struct {
	// Queues are the URLs of SQS queues; EventBridge and SNS messages are told apart by their shape.
	Queues []string `yaml:"queues"`
	// SNS is what POST /sns takes.
	SNS SNS `yaml:"sns"`
	// Sweep is how often every license is read again; at least 1s.
	Sweep time.Duration `yaml:"sweep"`
}

// SNS is what POST /sns takes.
type SNS struct {
	// Topics are the ARNs of the topics whose messages are taken; of no others.
	Topics []string `yaml:"topics"`
}

// Bounds of Updates.
const (
	minSweep  = time.Second // a sweep more often than this would be a load on AWS and no news
	maxFeeds  = 100         // queues or topics: each queue is polled by itself
	maxFeedID = 2048        // length of a queue's URL or a topic's ARN, in bytes
)

// DefaultUpdates is the section of a file that says nothing.
func DefaultUpdates() Updates { return Updates{Sweep: 15 * time.Minute} }

// Validate finds every mistake in the section.
func (u *Updates) Validate() []*policy.FieldError {
	var found []*policy.FieldError
	fail := func(hint, msg string, path ...string) {
		found = append(found, &policy.FieldError{Path: append([]string{"updates"}, path...), Msg: msg, Hint: hint})
	}
	if u.Sweep < minSweep {
		fail("1s or more, such as 15m", fmt.Sprintf("%s is too short", u.Sweep), "sweep")
	}
	checkList(u.Queues, isQueueURL, fail, "https://sqs.us-east-1.amazonaws.com/123456789012/weir", "the URL of an SQS queue", "queues")
	checkList(u.SNS.Topics, isTopicARN, fail, "arn:aws:sns:us-east-1:123456789012:topic", "the ARN of an SNS topic", "sns", "topics")
	return found
}

// checkList checks each item of a list, and that none is there twice.
func checkList(items []string, ok func(string) bool, fail func(hint, msg string, path ...string), example, what string, path ...string) {
	if len(items) > maxFeeds {
		fail(fmt.Sprintf("at most %d", maxFeeds), fmt.Sprintf("%d are too many", len(items)), path...)
		return
	}
	seen := make(map[string]int, len(items))
	for i, item := range items {
		at := append(append([]string(nil), path...), fmt.Sprintf("[%d]", i))
		first, twice := seen[item]
		switch {
		case !ok(item):
			fail("such as "+example, fmt.Sprintf("%q is not %s", item, what), at...)
		case twice:
			fail("remove one of them", fmt.Sprintf("the same as item %d", first), at...)
		default:
			seen[item] = i
		}
	}
}

func isQueueURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxFeedID && (u.Scheme == "https" || u.Scheme == "http") &&
		u.Host != "" && len(u.Path) > 1 && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// isTopicARN takes arn:<partition>:sns:<region>:<account>:<name>.
func isTopicARN(s string) bool {
	parts := strings.Split(s, ":")
	if len(s) > maxFeedID || len(parts) != 6 || parts[0] != "arn" || parts[2] != "sns" {
		return false
	}
	return strings.HasPrefix(parts[1], "aws") && parts[3] != "" && parts[4] != "" && parts[5] != ""
}
