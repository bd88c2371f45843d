package metering

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/weirhq/weir/policy"
)

const (
	// batchRecords is what one call holds (AWS: BatchMeterUsage).
	batchRecords = 25
	// callsPerSecond is AWS's quota for an account and region (AWS: metering service quotas).
	callsPerSecond = 10
	// roundRecords bounds what one round takes of a product: a second of calls.
	roundRecords = callsPerSecond * batchRecords
	// roundCalls is how many calls of one product are under way at once.
	roundCalls = 4
	// attemptTimeout bounds one attempt with all the calls that it takes: shorter than unansweredGrace.
	attemptTimeout = 4 * time.Minute
	// lookEvery is how often the ledger is asked for due records: sending starts within 2 s of a freeze.
	lookEvery = time.Second
	// warnEvery is how often the backlog is summed up for warnings, which reads all of it.
	warnEvery = 30 * time.Second
	// settleTimeout bounds the writing of answers after the context has ended.
	settleTimeout = 5 * time.Second
	// rereadTimeout bounds the reads that one call's answers cause.
	rereadTimeout = 10 * time.Second
)

// Reread reads a license again and tells whether it is active: AWS said of it that it is not.
type Reread func(ctx context.Context, license policy.Key) (active bool, err error)

// Dispatcher sends what the ledger has frozen: marked before it leaves, settled by
// what was answered, one product's trouble apart from another's.
type Dispatcher struct {
	ledger  Ledger
	sender  Sender
	reread  Reread
	now     func() time.Time
	log     *slog.Logger
	limit   *rate.Limiter
	backoff time.Duration // the longest wait after trouble
	warned  warnings
	warnAt  time.Time // local time of the next look at the backlog
}

// NewDispatcher makes a Dispatcher. A product that is in trouble is left alone for
// at most maxBackoff; now is AWS time.
func NewDispatcher(maxBackoff time.Duration, ledger Ledger, sender Sender, reread Reread, now func() time.Time, log *slog.Logger) *Dispatcher {
	return &Dispatcher{
		ledger: ledger, sender: sender, reread: reread, now: now, log: log,
		limit: rate.NewLimiter(callsPerSecond, 1), backoff: maxBackoff, warned: warnings{},
	}
}

// Run sends until ctx ends. Attempts under way then stay marked as sent.
func (d *Dispatcher) Run(ctx context.Context) error {
	if err := d.ledger.Retry(ctx); err != nil && ctx.Err() == nil {
		d.log.Warn("blocked records are tried at their hour only", "error", err)
	}
	lanes := map[string]*lane{}
	done := make(chan roundEnd)
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	for busy := 0; ; {
		if ctx.Err() == nil {
			busy += d.look(ctx, lanes, done)
		}
		var ended <-chan struct{}
		if ctx.Err() == nil {
			ended = ctx.Done()
		} else if busy == 0 {
			return nil
		}
		select {
		case <-ended:
		case <-looks.C:
		case r := <-done:
			busy--
			r.lane.end(r, d.backoff)
		}
	}
}

// look starts a round for each product that has due records and is free, and says how many.
func (d *Dispatcher) look(ctx context.Context, lanes map[string]*lane, done chan<- roundEnd) (started int) {
	if local := time.Now(); !local.Before(d.warnAt) {
		d.warnAt = local.Add(warnEvery)
		d.warn(ctx)
	}
	due, err := d.ledger.Due(ctx, d.now(), roundRecords)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Error("due usage records can't be read", "error", err)
		}
		return 0
	}
	rounds := map[string][]Record{}
	var order []string // the product with the earliest deadline first
	for _, r := range due {
		if rounds[r.Product] == nil {
			order = append(order, r.Product)
		}
		rounds[r.Product] = append(rounds[r.Product], r)
	}
	for _, product := range order {
		l := lanes[product]
		if l == nil {
			l = &lane{}
			lanes[product] = l
		}
		if l.busy || time.Now().Before(l.until) {
			continue
		}
		l.busy = true
		started++
		go func() { done <- d.round(ctx, l, rounds[product]) }()
	}
	return started
}

// send makes one attempt for a batch, and gives the lane its outcomes.
func (d *Dispatcher) send(ctx context.Context, l *lane, batch []Record) error {
	now := d.now()
	if batch = slices.DeleteFunc(batch, func(r Record) bool { return !now.Before(r.Deadline) }); len(batch) == 0 {
		return nil
	}
	if err := d.ledger.Sending(ctx, now, batch); err != nil {
		return err
	}
	for i := range batch {
		batch[i].Ambiguous = batch[i].Ambiguous || batch[i].State == Sent
		batch[i].State = Sent
	}
	outcomes, err := d.attempt(ctx, batch)
	if err != nil {
		return err
	}
	trouble := l.learn(batch, outcomes)
	rows, err := d.settle(ctx, batch, outcomes)
	l.accept(rows)
	return errors.Join(trouble, err)
}

// attempt hands the batch over. Its error tells that it was cut off in the middle: what is marked as sent stays so.
func (d *Dispatcher) attempt(ctx context.Context, batch []Record) ([]Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	outcomes, err := d.sender.Send(ctx, batch)
	if ctx.Err() != nil && err != nil {
		return nil, err
	}
	if err != nil {
		outcomes = make([]Outcome, len(batch))
		for i := range outcomes {
			outcomes[i] = Outcome{Answer: NotRecorded, Error: err.Error()}
		}
	}
	// A record without an outcome has the zero one: ambiguous.
	return append(outcomes, make([]Outcome, max(len(batch)-len(outcomes), 0))...)[:len(batch)], nil
}

// settle writes the outcomes, also when ctx has ended: what AWS answered is not lost.
func (d *Dispatcher) settle(ctx context.Context, batch []Record, outcomes []Outcome) ([]Row, error) {
	reading, stop := context.WithTimeout(ctx, rereadTimeout)
	defer stop()
	active := d.actives(reading)
	for i := range outcomes {
		if o := &outcomes[i]; o.Answer == NotSubscribed {
			o.Active = active(batch[i].License)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	rows, err := d.ledger.Settle(ctx, d.now(), batch, outcomes)
	for i := range rows {
		d.tell(&rows[i])
	}
	return rows, err
}

// actives reads licenses again, each once. One that can't be read is held to be
// active: its record is tried again and not given up.
func (d *Dispatcher) actives(ctx context.Context) func(policy.Key) bool {
	known := map[policy.Key]bool{}
	return func(license policy.Key) bool {
		if active, found := known[license]; found {
			return active
		}
		active, err := d.reread(ctx, license)
		if err != nil {
			d.log.Warn("license can't be read again", "license", license, "error", err)
		}
		known[license] = active || err != nil
		return known[license]
	}
}

// tell says what a person should know of an answer.
func (d *Dispatcher) tell(r *Row) {
	log := d.log.With("record", r.ID, "product", r.Product, "license", r.License, "dimension", r.Dimension,
		"hour", r.Hour, "units", r.Units, "error", r.Error)
	switch r.State {
	case Conflict:
		log.Error("AWS has another quantity for this hour and will not bill these units; does another weir send for this seller account? " +
			"Hours without usage are not reported as 0 until `weir usage ack`")
	case Refused:
		log.Error("AWS refused this usage record, its license is not active; these units are not billed")
	case Blocked:
		log.Error("AWS does not take this usage record; it is tried again every hour until its deadline", "deadline", r.Deadline)
	}
}
