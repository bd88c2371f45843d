package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

func TestDecimalsMatchTheModelsPattern(t *testing.T) {
	pattern := regexp.MustCompile(decimalPattern)
	for _, text := range []string{
		"0", "1", "17", "17.0", "17.000000", "17.0000000", "017", "00", "0.5", ".5", "5.", "-1", "+1", "1e3", "", " 1", "9999999999",
		"99999999999", "9999999999.999999", "1.2.3", "１",
	} {
		q, ok := parseDecimal(text)
		if ok != pattern.MatchString(text) {
			t.Errorf("%q: got %v, want %v", text, ok, !ok)
		}
		if back, _ := parseDecimal(q.number().String()); ok && back != q {
			t.Errorf("%q: became %s", text, q.number())
		}
	}
	if q, _ := parseDecimal("9999999999.999999"); q != maxQuantity {
		t.Errorf("largest: got %d, want %d", q, maxQuantity)
	}
}

func TestLicenseArnsMatchTheModelsPattern(t *testing.T) {
	// Go can't repeat more than 1000 times: the last part's length is left to isLicenseArn.
	pattern := regexp.MustCompile(strings.Replace(arnPattern, "{0,1023}", "*", 1))
	for _, text := range []string{
		"arn:aws:license-manager::294406891311:license:l-0123", "arn:aws-us-gov:license-manager::1:x", "arn:aws1:s:::x", "arn:aw:s:::x",
		"arn:aws::::x", "arn:aws:-s:::x", "arn:aws:s:::", "arn:aws:s:::-x", "arn:aws:s::x", "aws:license-manager:us-east-1:1:l-1", "",
		"arn:aws:s:r r::x", "arn:aws:s:::x y", "arn:aws:s:::é", "arn:aws:s:" + strings.Repeat("r", 63) + "::x", "arn:aws:s:" + strings.Repeat("r", 64) + "::x",
		"arn:aws:" + strings.Repeat("s", 63) + ":::x", "arn:aws:" + strings.Repeat("s", 64) + ":::x", "arn:aws:s:::x:/+=,@.-_", "ARN:aws:s:::x",
	} {
		if got := isLicenseArn(text); got != pattern.MatchString(text) {
			t.Errorf("%q: got %v, want %v", text, got, !got)
		}
	}
	prefix := "arn:aws:license-manager::294406891311:"
	if !isLicenseArn(prefix+strings.Repeat("x", 1024)) || isLicenseArn(prefix+strings.Repeat("x", 1025)) {
		t.Error("the last part has 1 to 1024 characters")
	}
}

func TestTagsMatchTheModelsPattern(t *testing.T) {
	pattern := regexp.MustCompile(tagPattern)
	for r := rune(0); r < 0x180; r++ {
		if got := isTagText(string(r), 100); got != pattern.MatchString(string(r)) {
			t.Errorf("%q: got %v", r, got)
		}
	}
	if isTagText("", 100) || !isTagText(strings.Repeat("a", 100), 100) || isTagText(strings.Repeat("a", 101), 100) {
		t.Error("a tag has 1 to 100 characters")
	}
}

// FuzzDecode holds both decoders to plain values: whatever they accept can be written as JSON and matched by a fault.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5,"x",null,true,{"b":1e3}]}`))
	f.Add(cbor.Encode(cbor.Map{"a": cbor.List{cbor.Uint(1), cbor.NegInt(2), cbor.Float64(2.5), &cbor.Nil{}, &cbor.Tag{ID: 1, Value: cbor.Uint(3)}}}))
	f.Add([]byte{0xbf, 0x61, 'a', 0x9f, 0xf9, 0x3c, 0x00, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, c := range map[string]codec{"json": jsonCodec{}, "cbor": cborCodec{}} {
			in, err := c.decode(body)
			if err != nil {
				continue
			}
			if _, err := json.Marshal(in); err != nil {
				t.Errorf("%s decoded what is no plain value: %v", name, err)
			}
			reader := newInput(in)
			reader.instant("a")
			reader.integer("a")
			reader.structures("a")
			reader.text("a")
			_, _ = readUsage(reader)
		}
	})
}

func TestRunEmitsWhatFallsDueWhileTheClockRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		fired := make(chan time.Time, 2)
		e.mu.Lock()
		began := e.clock.now()
		e.schedule(began.Add(3*time.Hour), func(at time.Time) { fired <- at })
		e.schedule(began.Add(2*time.Hour), func(at time.Time) { fired <- at })
		e.mu.Unlock()
		for _, want := range []time.Duration{2 * time.Hour, 3 * time.Hour} {
			at := <-fired
			if at.Sub(began) != want || !time.Now().Equal(at) {
				t.Errorf("fired for %v at %v, want %v", at.Sub(began), time.Since(began), want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAWaitingPollEndsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{})
		e.mu.Lock()
		e.ensureQueue("weir")
		e.mu.Unlock()
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _ = e.Run(ctx) }()
		began := time.Now()
		poll := func() object {
			out, err := e.receiveMessage(context.Background(), &call{in: object{"QueueUrl": "weir", "WaitTimeSeconds": json.Number("20")}})
			if err != nil {
				t.Error(err)
			}
			return out
		}
		if out := poll(); len(out) != 0 || time.Since(began) != 20*time.Second {
			t.Errorf("got %v after %v, want nothing after 20s", out, time.Since(began))
		}
		time.AfterFunc(5*time.Second, cancel)
		if out := poll(); len(out) != 0 || time.Since(began) != 25*time.Second {
			t.Errorf("got %v after %v, want nothing after 25s", out, time.Since(began))
		}
	})
}

// roundTripper is a network of one function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// carry lets a courier work over a network until the lanes are empty, and answers when each request was made.
func carry(t *testing.T, e *Emulator, network func(*http.Request) (*http.Response, error)) []time.Duration {
	t.Helper()
	began := time.Now()
	var mu sync.Mutex
	var tries []time.Duration
	c := newCourier(e)
	c.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		tries = append(tries, time.Since(began))
		return network(r)
	})
	for {
		sleep := c.round(t.Context())
		synctest.Wait()
		if !slices.ContainsFunc(e.topics.lanes, func(l *lane) bool { return len(l.waiting) > 0 }) {
			break
		}
		time.Sleep(min(sleep, 100*time.Millisecond))
	}
	c.stop()
	return tries
}

func TestTheCourierGivesUpAfterAFewTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{})
		e.topics.passBy(&parcel{url: "http://nowhere/", kind: kindNotification, due: time.Now()})
		tries := carry(t, e, func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })
		want := []time.Duration{0, 200 * time.Millisecond, 1200 * time.Millisecond, 4200 * time.Millisecond, 14200 * time.Millisecond}
		if !slices.Equal(tries, want) {
			t.Errorf("tried after %v, want %v", tries, want)
		}
	})
}

func TestALaneCarriesOneMessageAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{})
		l := &lane{open: true}
		for _, p := range []struct {
			id  string
			due time.Duration
		}{{"late", 2 * time.Second}, {"a", 0}, {"b", 0}} {
			l.add(&parcel{url: "http://x/", kind: kindNotification, id: p.id, due: time.Now().Add(p.due)})
		}
		e.topics.lanes = append(e.topics.lanes, l)
		var got []string
		carry(t, e, func(r *http.Request) (*http.Response, error) {
			got = append(got, r.Header.Get("X-Amz-Sns-Message-Id"))
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		})
		if want := []string{"a", "b", "late"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestAFullLaneForgetsTheOldestNotification(t *testing.T) {
	l := &lane{}
	l.add(&parcel{kind: kindConfirmation})
	for i := range maxWaiting + 10 {
		l.add(&parcel{kind: kindNotification, id: strconv.Itoa(i)})
	}
	if len(l.waiting) != maxWaiting || !l.inviting() || l.waiting[1].id != "11" {
		t.Errorf("%d wait, asking %v, first %s; want %d, true, 11", len(l.waiting), l.inviting(), l.waiting[1].id, maxWaiting)
	}
}

func TestMessagesComeBackAfterTheirVisibility(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("weir", time.Now())
		q.put(&message{id: "a", body: "x", available: time.Now()})
		ask := receiveRequest{most: 10, visibility: 30 * time.Second}
		if got, _ := q.take(ask, time.Now(), time.Now()); len(got) != 1 {
			t.Fatalf("got %d, want 1", len(got))
		}
		time.Sleep(30*time.Second - time.Nanosecond)
		got, next := q.take(ask, time.Now(), time.Now())
		if len(got) != 0 || time.Until(next) != time.Nanosecond {
			t.Fatalf("got %d, next in %v; want none, next in 1ns", len(got), time.Until(next))
		}
		time.Sleep(time.Nanosecond)
		if got, _ := q.take(ask, time.Now(), time.Now()); len(got) != 1 {
			t.Fatalf("after 30s: got %d, want 1", len(got))
		}
	})
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	q := newQueue("weir", time.Now())
	for range maxMessages + 10 {
		q.put(&message{available: time.Now()})
	}
	if len(q.messages) != maxMessages {
		t.Errorf("%d messages, want %d", len(q.messages), maxMessages)
	}
	var calls callList
	for range 3 * keptCalls {
		calls.add(&callEntry{})
	}
	if len(calls.last()) != keptCalls || len(calls.entries) > 2*keptCalls {
		t.Errorf("%d calls, want %d", len(calls.last()), keptCalls)
	}
	l := newLedger()
	for range 3 * keptRecords {
		l.note(record{})
	}
	if len(l.last()) != keptRecords || len(l.records) > 2*keptRecords {
		t.Errorf("%d records, want %d", len(l.last()), keptRecords)
	}
}
