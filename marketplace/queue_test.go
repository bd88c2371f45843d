package marketplace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// run runs until the test calls the returned function, which waits for the end.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// within waits for the next value of a channel, for a time that only a broken program takes.
func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Errorf("never %s", what)
}

// feed makes the emulator's events go to a queue, and gives its URL.
func (w *world) feed(arn string) string {
	w.t.Helper()
	var feeds struct {
		EventBridge struct{ Queue string }
	}
	w.control("PUT", "feeds", `{"eventbridge": {"queue": "weir", "arn": "`+arn+`"}}`, &feeds)
	return feeds.EventBridge.Queue
}

func TestLicenseEventReachesTheHandlerAndIsDeletedAfterItsEffect(t *testing.T) {
	for _, arn := range []string{"full", "bare"} {
		w := newWorld(t)
		url := w.feed(arn)
		hints := make(chan cache.Hint, 10)
		release := make(chan struct{})
		stop := run(t, w.Queue(url, testProducts(), t.TempDir(), func(ctx context.Context, h cache.Hint) (bool, error) {
			hints <- h
			<-release
			return true, nil
		}).Run)
		b := w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
		got := within(t, hints)
		if got.At.IsZero() {
			t.Error("the hint has no time")
		}
		got.At = time.Time{}
		if diff := cmp.Diff(cache.Hint{Product: "acme", License: policy.Key(b.LicenseArn), Account: "111122223333"}, got); diff != "" {
			t.Errorf("arn %s: %s", arn, diff)
		}
		eventually(t, "deleted what needs no read", func() bool { return w.calls("DeleteMessage") == 1 }) // Purchase Agreement Created
		if n := w.counter("weir_updates_total", map[string]string{"kind": "changed"}); n != 0 {
			t.Error("counted as changed before the effect")
		}
		close(release)
		eventually(t, "deleted after the effect", func() bool { return w.calls("DeleteMessage") == 2 })
		stop()
		for kind, want := range map[string]float64{"changed": 1, "unchanged": 1} {
			if n := w.counter("weir_updates_total", map[string]string{"feed": "eventbridge", "kind": kind}); n != want {
				t.Errorf("%s: %v, want %v", kind, n, want)
			}
		}
	}
}

func TestMessageWhoseEffectFailedComesAgain(t *testing.T) {
	w := newWorld(t)
	url := w.feed("full")
	attempts := make(chan int, 10)
	n := 0
	run(t, w.Queue(url, testProducts(), t.TempDir(), func(context.Context, cache.Hint) (bool, error) {
		n++ // one message, one attempt at a time
		attempts <- n
		if n < 3 {
			return false, errors.New("AWS did not answer")
		}
		return false, nil
	}).Run)
	w.buy(acmeCode, "111122223333", `{"dimension": "basic", "value": 1}`)
	for want := 1; want <= 3; want++ {
		if got := within(t, attempts); got != want {
			t.Errorf("attempt %d, want %d", got, want)
		}
	}
	eventually(t, "deleted both messages", func() bool { return w.calls("DeleteMessage") == 2 })
	if n := w.counter("weir_updates_total", nil); n != 2 {
		t.Errorf("counted %v messages, want 2", n)
	}
}

func TestPoisonIsSetAsideAndDeleted(t *testing.T) {
	w := newWorld(t)
	url := w.feed("full")
	dir := filepath.Join(t.TempDir(), "poison")
	run(t, w.Queue(url, testProducts(), dir, func(context.Context, cache.Hint) (bool, error) {
		t.Error("poison reached the handler")
		return false, nil
	}).Run)
	w.control("POST", "notify", `{"feed": "eventbridge", "body": {"hello": "world"}}`, nil)
	eventually(t, "deleted it", func() bool { return w.calls("DeleteMessage") == 1 })
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("set aside: %v, %v", files, err)
	}
	body, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(body), "world") {
		t.Errorf("set aside %q, %v", body, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if n := w.counter("weir_updates_total", map[string]string{"feed": "eventbridge", "kind": "poison"}); n != 1 {
		t.Errorf("counted %v, want 1", n)
	}
}

func TestClockFollowsTheEndpoint(t *testing.T) {
	w := newWorld(t)
	w.control("PUT", "clock", `{"advance": "2h"}`, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.Clock.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if off := (w.Clock.Offset() - 2*time.Hour).Abs(); off > 2*time.Second {
		t.Errorf("offset %v, want 2h", w.Clock.Offset())
	}
	if n := w.counter("weir_aws_requests_total", nil); n != 0 {
		t.Errorf("looking at the endpoint made %v AWS requests", n)
	}
	// Answers to operations move it as well.
	w.control("PUT", "clock", `{"advance": "24h"}`, nil)
	for range 3 {
		if _, err := all(t.Context(), w.Entitlements("acme", testProducts()["acme"]), policy.Subject{}); err != nil {
			t.Fatal(err)
		}
	}
	if off := (w.Clock.Offset() - 26*time.Hour).Abs(); off > 2*time.Second {
		t.Errorf("offset %v, want 26h", w.Clock.Offset())
	}
}

// fakeSQS is a queue without a network, for tests in which time is made.
type fakeSQS struct {
	mu       sync.Mutex
	messages []map[string]any // what the next receive gives
	broken   bool             // receives fail
	hasty    bool             // receives are empty at once
	receives int
	deleted  int
	hidden   []int // seconds
}

func (f *fakeSQS) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var asked struct{ VisibilityTimeout int }
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, err
	}
	answer := any(map[string]any{})
	switch target := req.Header.Get("X-Amz-Target"); target {
	case "AmazonSQS.ReceiveMessage":
		if answer, err = f.receive(req.Context()); err != nil {
			return nil, err
		}
	case "AmazonSQS.DeleteMessage":
		f.mu.Lock()
		f.deleted++
		f.mu.Unlock()
	case "AmazonSQS.ChangeMessageVisibility":
		f.mu.Lock()
		f.hidden = append(f.hidden, asked.VisibilityTimeout)
		f.mu.Unlock()
	default:
		return nil, fmt.Errorf("unexpected %s", target)
	}
	text, err := json.Marshal(answer)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(bytes.NewReader(text)),
	}, err
}

func (f *fakeSQS) receive(ctx context.Context) (any, error) {
	f.mu.Lock()
	f.receives++
	messages, broken, hasty := f.messages, f.broken, f.hasty
	f.messages = nil
	f.mu.Unlock()
	if broken {
		return nil, errors.New("connection reset")
	}
	if len(messages) == 0 && !hasty {
		if err := sleep(ctx, longPoll); err != nil {
			return nil, err
		}
	}
	return map[string]any{"Messages": messages}, nil
}

func fakeQueue(t *testing.T, f *fakeSQS, handle Handler) *Queue {
	t.Helper()
	clock, err := newClock(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.New(sqs.Options{
		HTTPClient: f, Region: "us-east-1", Retryer: aws.NopRetryer{},
		Credentials:                      credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
		DisableMessageChecksumValidation: true,
	})
	return &Queue{
		client: client, url: "https://sqs.us-east-1.amazonaws.com/111122223333/weir", parser: sampleParser(), handle: handle,
		aside: &aside{dir: t.TempDir()}, clock: clock, log: slog.New(slog.DiscardHandler), updates: newUpdatesMetric(),
		backoff: func(failures int) time.Duration { return backoff(failures, longestBackoff) },
		hearing: &hearing{clock: clock, failing: map[string]error{}},
	}
}

func message(body string) map[string]any {
	return map[string]any{"MessageId": "m", "ReceiptHandle": "r", "Body": body, "Attributes": map[string]string{
		"SentTimestamp": strconv.FormatInt(sampleTime.UnixMilli(), 10), "ApproximateReceiveCount": "1",
	}}
}

func TestQueueThatFailsIsAskedWithGrowingPauses(t *testing.T) {
	for name, f := range map[string]*fakeSQS{"broken": {broken: true}, "hasty": {hasty: true}} {
		synctest.Test(t, func(t *testing.T) {
			q := fakeQueue(t, f, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if err := q.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if f.receives < 3600/30 || f.receives > 3600/15+10 {
				t.Errorf("%s: asked %d times in an hour, want once in 15 to 30 s", name, f.receives)
			}
		})
	}
}

func TestQueueRecoversAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSQS{broken: true}
		acted := 0
		q := fakeQueue(t, f, func(context.Context, cache.Hint) (bool, error) { acted++; return true, nil })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		time.AfterFunc(10*time.Minute, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.broken = false
			f.messages = []map[string]any{message(string(samples(t)["license-updated-canonical"]))}
		})
		if err := q.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if acted != 1 || f.deleted != 1 {
			t.Errorf("acted %d times, deleted %d, want 1 and 1", acted, f.deleted)
		}
		if n := testutil.ToFloat64(q.updates.WithLabelValues("eventbridge", "changed")); n != 1 {
			t.Errorf("counted %v, want 1", n)
		}
	})
}

func TestMessageStaysHiddenWhileItIsWorkedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSQS{messages: []map[string]any{message(string(samples(t)["license-updated-canonical"]))}}
		q := fakeQueue(t, f, func(ctx context.Context, _ cache.Hint) (bool, error) { return false, sleep(ctx, 90*time.Second) })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		if err := q.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{60, 60, 60, 60}, f.hidden); diff != "" {
			t.Error("over 90 s it has to be hidden at 20, 40, 60 and 80 s:", diff)
		}
		if f.deleted != 1 {
			t.Errorf("deleted %d times, want 1", f.deleted)
		}
	})
}

func TestWorkOnOneMessageIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSQS{messages: []map[string]any{message(string(samples(t)["license-updated-canonical"]))}}
		var gaveUp time.Duration
		q := fakeQueue(t, f, func(ctx context.Context, _ cache.Hint) (bool, error) {
			begun := time.Now()
			<-ctx.Done()
			gaveUp = time.Since(begun)
			return false, ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := q.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if gaveUp != longestWork || f.deleted != 0 {
			t.Errorf("gave up after %v, deleted %d", gaveUp, f.deleted)
		}
	})
}

func TestEffectBeforeTheEndIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSQS{messages: []map[string]any{message(string(samples(t)["license-updated-canonical"]))}}
		ctx, cancel := context.WithCancel(t.Context())
		q := fakeQueue(t, f, func(context.Context, cache.Hint) (bool, error) { cancel(); return true, nil })
		if err := q.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if f.deleted != 1 {
			t.Errorf("deleted %d times, want 1: it had its effect", f.deleted)
		}
	})
}

func TestLongMessageIsSetAsideInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSQS{messages: []map[string]any{message(strings.Repeat(" ", maxMessage) + "{}")}}
		q := fakeQueue(t, f, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := q.Run(ctx); err != nil {
			t.Fatal(err)
		}
		kept, err := filepath.Glob(filepath.Join(q.aside.dir, "*.msg"))
		if err != nil || len(kept) != 1 || f.deleted != 1 {
			t.Fatalf("kept %v, %v; deleted %d", kept, err, f.deleted)
		}
		if info, err := os.Stat(kept[0]); err != nil || info.Size() != maxMessage {
			t.Errorf("kept %v, %v", info.Size(), err)
		}
	})
}

func TestMessageThatCannotBeSetAsideStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSQS{messages: []map[string]any{message("poison")}}
		q := fakeQueue(t, f, nil)
		file := filepath.Join(q.aside.dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		q.aside.dir = filepath.Join(file, "below")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := q.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if f.deleted != 0 {
			t.Error("deleted, although nothing was kept of it")
		}
	})
}

func TestAsideKeepsTheNewestMessages(t *testing.T) {
	a := &aside{dir: t.TempDir()}
	for i := range maxAside {
		name := sampleTime.Add(time.Duration(i)*time.Second).Format(asideTime) + "-0.msg"
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(strconv.Itoa(i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := a.put(sampleTime.Add(time.Hour), []byte("new")); err != nil {
			t.Fatal(err)
		}
		if err := a.put(sampleTime.Add(2*time.Hour), []byte("newer")); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := filepath.Glob(filepath.Join(a.dir, "*"))
	if err != nil || len(kept) != maxAside {
		t.Fatalf("kept %d, %v; want %d", len(kept), err, maxAside)
	}
	oldest, err := os.ReadFile(kept[0])
	if err != nil || string(oldest) != "2" {
		t.Errorf("the oldest is %q, %v; want 2", oldest, err)
	}
}

func TestRegionOfAQueueIsThatOfItsURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://sqs.us-east-1.amazonaws.com/111122223333/weir":                        "us-east-1",
		"https://sqs.ap-southeast-3.amazonaws.com/111122223333/weir":                   "ap-southeast-3",
		"https://eu-west-1.queue.amazonaws.com/111122223333/weir":                      "eu-west-1",
		"https://sqs.us-west-2.api.aws/111122223333/weir":                              "us-west-2",
		"https://sqs-fips.us-east-2.amazonaws.com/111122223333/weir":                   "us-east-2",
		"https://vpce-0a1b-2c3d.sqs.eu-central-1.vpce.amazonaws.com/111122223333/weir": "eu-central-1",
		"https://sqs.us-gov-west-1.amazonaws.com/111122223333/weir":                    "us-gov-west-1",
		"http://127.0.0.1:4588/294406891311/weir":                                      "",
		"://": "",
	} {
		if got := queueRegion(url); got != want {
			t.Errorf("%s: region %q, want %q", url, got, want)
		}
	}
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		for _, limit := range []time.Duration{endpointBackoff, longestBackoff} {
			got, most := backoff(failures, limit), min(time.Second<<min(failures, 10), limit)
			if got < most/2 || got > most {
				t.Errorf("after %d failures %v, want %v to %v", failures, got, most/2, most)
			}
		}
	}
}
