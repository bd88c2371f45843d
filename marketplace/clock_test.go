package marketplace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// farAWS is an AWS whose clock differs from the local one, seen through an
// answer that takes a while.
type farAWS struct {
	ahead time.Duration
	takes time.Duration
	down  bool
	asked atomic.Int32
}

// answer is one answer of that AWS.
func (f *farAWS) answer(c *Clock) func(context.Context) error {
	return func(context.Context) error {
		f.asked.Add(1)
		if f.down {
			return errors.New("down")
		}
		begun := c.local()
		time.Sleep(f.takes / 2)
		date := time.Now().Add(f.ahead).Truncate(time.Second)
		time.Sleep(f.takes / 2)
		c.observe(date, c.local(), c.local().Sub(begun))
		return nil
	}
}

func newTestClock(t *testing.T, log io.Writer, aws *farAWS, quiet time.Duration) *Clock {
	t.Helper()
	c, err := newClock(slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.look, c.quiet = aws.answer(c), quiet
	return c
}

func TestB18ClockAdoptsAJumpAtTheThirdLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws := &farAWS{takes: 40 * time.Millisecond}
		c := newTestClock(t, io.Discard, aws, time.Second)
		for range 5 {
			c.ask(t.Context())
		}
		aws.ahead = 3 * time.Hour
		for look := 1; look <= 3; look++ {
			c.ask(t.Context())
			adopted := c.Offset() > time.Hour
			if want := look == 3; adopted != want {
				t.Fatalf("look %d: adopted %v, want %v", look, adopted, want)
			}
		}
		if off := (time.Until(c.Now()) - aws.ahead).Abs(); off > time.Second {
			t.Errorf("clock is %v off AWS's time", off)
		}
		aws.ahead = -3 * time.Hour
		for range 3 {
			c.ask(t.Context())
		}
		if off := (time.Until(c.Now()) - aws.ahead).Abs(); off > time.Second {
			t.Errorf("after a jump back the clock is %v off AWS's time", off)
		}
	})
}

func TestB18ClockIgnoresOneWrongAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws := &farAWS{}
		c := newTestClock(t, io.Discard, aws, time.Second)
		for range 20 {
			aws.ahead = 0
			c.ask(t.Context())
			aws.ahead = 24 * time.Hour
			c.ask(t.Context())
			c.ask(t.Context())
			time.Sleep(time.Second)
		}
		if c.Offset() != 0 {
			t.Errorf("adopted %v, although no three looks agreed", c.Offset())
		}
	})
}

func TestClockDoesNotFlapAroundASmallOffset(t *testing.T) {
	for _, ahead := range []time.Duration{0, 700 * time.Millisecond, -900 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			aws := &farAWS{ahead: ahead, takes: 120 * time.Millisecond}
			c := newTestClock(t, io.Discard, aws, time.Second)
			for range 300 {
				c.ask(t.Context())
				time.Sleep(617 * time.Millisecond)
				if c.Offset() != 0 {
					t.Fatalf("ahead %v: adopted %v", ahead, c.Offset())
				}
			}
		})
	}
}

func TestClockHoldsALargeOffsetStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws := &farAWS{ahead: 90 * time.Second}
		c := newTestClock(t, io.Discard, aws, time.Second)
		if err := c.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		adopted := c.Offset()
		for range 300 {
			time.Sleep(333 * time.Millisecond)
			c.ask(t.Context())
			if c.Offset() != adopted {
				t.Fatalf("offset moved from %v to %v", adopted, c.Offset())
			}
		}
	})
}

func TestClockTakesTheDateOfASlowAnswerAsItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClock(t, io.Discard, &farAWS{}, time.Second)
		for range 3 { // a long poll: the answer is written at its end
			time.Sleep(20 * time.Second)
			c.observe(time.Now().Truncate(time.Second), c.local(), 20*time.Second)
		}
		if c.Offset() != 0 {
			t.Errorf("adopted %v", c.Offset())
		}
	})
}

func TestClockFollowsAClockThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stands := time.Now().Add(time.Hour).Truncate(time.Second)
		c := newTestClock(t, io.Discard, &farAWS{}, time.Second)
		c.look = func(context.Context) error { c.observe(stands, c.local(), 0); return nil }
		if err := c.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			time.Sleep(time.Second)
			c.ask(t.Context())
			if off := c.Now().Sub(stands).Abs(); off > 3*time.Second {
				t.Fatalf("%v off a clock that stands still", off)
			}
		}
	})
}

func TestB18ClockAsksWhereNoAnswerCameForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws := &farAWS{}
		c := newTestClock(t, io.Discard, aws, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()

		time.Sleep(10 * time.Second) // it asked at its start
		for range 30 {               // answers to others keep it quiet
			time.Sleep(30 * time.Second)
			c.observe(time.Now().Truncate(time.Second), c.local(), 0)
		}
		if got := aws.asked.Load(); got != 1 {
			t.Errorf("asked %d times while answers came, want 1", got)
		}
		time.Sleep(5*time.Minute + time.Second)
		if got := aws.asked.Load(); got != 6 {
			t.Errorf("asked %d times after 5 quiet minutes, want 6", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func TestB18ClockHoldsItsOffsetWithoutAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aws := &farAWS{ahead: time.Hour}
		c := newTestClock(t, io.Discard, aws, time.Second)
		if err := c.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := c.Offset()
		aws.down = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := c.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if c.Offset() != want {
			t.Errorf("offset %v, want %v", c.Offset(), want)
		}
		if got := aws.asked.Load(); got > 3700 {
			t.Errorf("asked %d times in an hour", got)
		}
	})
}

func TestClockSettleEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestClock(t, io.Discard, &farAWS{down: true}, time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := c.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestB18ClockWarnsOnceOfAnOffsetBeyondAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		aws := &farAWS{ahead: 30 * time.Second}
		c := newTestClock(t, &log, aws, time.Second)
		for range 5 {
			c.ask(t.Context())
		}
		if strings.Contains(log.String(), "WARN") {
			t.Errorf("warned of half a minute: %s", log.String())
		}
		aws.ahead = 61 * time.Second
		for range 50 {
			time.Sleep(time.Second)
			c.ask(t.Context())
		}
		if got := strings.Count(log.String(), "WARN"); got != 1 {
			t.Errorf("warned %d times, want once", got)
		}
	})
}
