package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Request is one request. Answers are checked by Check.
type Request struct {
	Header []hpack.HeaderField
	Body   []byte // empty: the request has none
}

// Answer is what came of a request. Its Body is good during the check only.
type Answer struct {
	Header []hpack.HeaderField // trailers among them
	Body   []byte
}

// Plan is what a run sends.
type Plan struct {
	Requests []Request // round and round
	// Prepare, where set, changes a request before it is sent as the n-th of the connection.
	Prepare func(n uint64, r *Request)
	Check   func(*Answer) error
	For     time.Duration
	// InFlight is how many requests are under way at all times; or else
	// Rate is how many are sent in a second, at random (Poisson).
	InFlight int
	Rate     float64
	Seed     uint64
}

// Result is what a run measured.
type Result struct {
	Latencies []time.Duration // sorted
	Took      time.Duration
}

// Quantile is the latency that the part q of the requests stayed below.
func (r *Result) Quantile(q float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	return r.Latencies[min(int(q*float64(len(r.Latencies))), len(r.Latencies)-1)]
}

// answerTimeout bounds the wait for anything to come: no server here needs a second.
const answerTimeout = 5 * time.Second

// run is a run under way.
type run struct {
	conn  *Conn
	plan  *Plan
	due   time.Time // of the next request, at a rate
	gaps  *rand.Rand
	end   time.Time
	times []time.Duration
}

// Run sends requests as planned, and waits for the last answer. An answer that fails the
// check fails the run.
func (c *Conn) Run(p *Plan) (Result, error) {
	began := time.Now()
	r := &run{
		conn: c, plan: p, due: began, end: began.Add(p.For),
		gaps: rand.New(rand.NewPCG(p.Seed, 1)),
	}
	for {
		now := time.Now()
		r.send(now)
		if len(c.streams) == 0 && !now.Before(r.end) {
			break
		}
		if err := c.flush(); err != nil {
			return Result{}, err
		}
		if err := r.receive(now); err != nil {
			return Result{}, err
		}
	}
	slices.Sort(r.times)
	return Result{Latencies: r.times, Took: time.Since(began)}, nil
}

// send queues what is due now and what the connection has room for.
func (r *run) send(now time.Time) {
	if !now.Before(r.end) {
		return
	}
	if r.plan.Rate == 0 {
		for len(r.conn.streams) < r.plan.InFlight && r.queue(now) {
		}
		return
	}
	for !r.due.After(now) && r.queue(r.due) {
		gap := r.gaps.ExpFloat64() / r.plan.Rate
		r.due = r.due.Add(time.Duration(gap * float64(time.Second)))
	}
}

// queue queues the next request, unless the connection's window has no room.
func (r *run) queue(due time.Time) bool {
	request := &r.plan.Requests[r.conn.sent%uint64(len(r.plan.Requests))]
	if r.plan.Prepare != nil {
		r.plan.Prepare(r.conn.sent, request)
	}
	if !r.conn.queue(request, due) {
		return false
	}
	r.conn.sent++
	return true
}

// receive waits for answers, or until the next request is due.
func (r *run) receive(now time.Time) error {
	until, timed := now.Add(answerTimeout), false
	if r.plan.Rate > 0 && now.Before(r.end) {
		until, timed = earlier(r.due, r.end), true
	}
	err := r.conn.read(until, func(s *stream) error {
		r.times = append(r.times, time.Since(s.due))
		return r.plan.Check(&s.answer)
	})
	if err == nil {
		err = r.conn.flush() // an ack does not wait for the next request, which reaches Envoy later
	}
	if timed && errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Merge is what runs at the same time measured together.
func Merge(results []Result) Result {
	var all Result
	for _, r := range results {
		all.Latencies = append(all.Latencies, r.Latencies...)
		all.Took = max(all.Took, r.Took)
	}
	slices.Sort(all.Latencies)
	return all
}
