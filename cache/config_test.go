package cache

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

func TestDefaultUpdatesAreValid(t *testing.T) {
	u := DefaultUpdates()
	if got := u.Validate(); len(got) != 0 || u.Sweep != 15*time.Minute {
		t.Errorf("got %v, sweep %s", got, u.Sweep)
	}
}

func TestValidateFindsEveryMistakeOfUpdates(t *testing.T) {
	queue := "https://sqs.us-east-1.amazonaws.com/123456789012/weir"
	u := Updates{
		Queues: []string{queue, "weir", queue, "http://127.0.0.1:4588/294406891311/q", "https://key@sqs/1/q"},
		SNS:    SNS{Topics: []string{"arn:aws:sns:us-east-1:287250355862:aws-mp-subscription-notification-code", "arn:aws:sqs:us-east-1:1:q", ""}},
		Sweep:  999 * time.Millisecond,
	}
	var got []string
	for _, mistake := range u.Validate() {
		if mistake.Hint == "" {
			t.Errorf("%s has no cure", mistake)
		}
		got = append(got, policy.JoinPath(mistake.Path))
	}
	want := []string{"updates.sweep", "updates.queues[1]", "updates.queues[2]", "updates.queues[4]", "updates.sns.topics[1]", "updates.sns.topics[2]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes, -want +got:\n%s", diff)
	}
}
