package metering

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// lane is where one product's sending stands.
type lane struct {
	busy    bool
	trouble backoff
	until   time.Time // local time before which it is left alone
	futile  int       // rounds in a row that sent nothing for good

	mu sync.Mutex // of what follows, which the calls of a round write
	// suspects are the records whose last attempt met with trouble. They go last and in
	// ever smaller batches, so that one that spoils its whole call holds up no other for long.
	suspects map[string]bool
	stopped  bool // the round has met with trouble
	progress bool // the round has sent a record for good
	accepted int  // records of the round
	units    int64
}

// roundEnd tells how one round of a product went.
type roundEnd struct {
	lane              *lane
	trouble, progress bool
}

// end notes how a round went. What gets on in spite of trouble is soon tried again.
func (l *lane) end(r roundEnd, limit time.Duration) {
	l.busy = false
	l.futile++
	if !r.trouble || r.progress {
		l.trouble, l.until, l.futile = 0, time.Time{}, 0
	}
	if r.trouble {
		l.until = time.Now().Add(l.trouble.next(limit))
	}
}

// round sends records of one product, and tells whether any of them met with trouble
// that the product should be left alone for: the first trouble ends it.
func (d *Dispatcher) round(ctx context.Context, l *lane, records []Record) roundEnd {
	var calls errgroup.Group
	l.stopped, l.progress, l.accepted, l.units = false, false, 0, 0
	free := make(chan struct{}, roundCalls)
	for _, batch := range l.batches(records) {
		free <- struct{}{} // before its turn: the batches go out in their order
		if l.over() {
			break // without a turn that another product could use
		}
		if err := d.limit.Wait(ctx); err != nil || l.over() {
			break
		}
		calls.Go(func() error {
			defer func() { <-free }()
			err := d.send(ctx, l, batch)
			if err != nil {
				l.stop()
				if ctx.Err() == nil {
					d.log.Warn("usage records were not settled, they are sent again", "product", batch[0].Product, "records", len(batch), "error", err)
				}
			}
			return err
		})
	}
	trouble := calls.Wait() != nil
	if l.accepted > 0 {
		d.log.Info("usage records accepted", "product", records[0].Product, "records", l.accepted, "units", l.units)
	}
	return roundEnd{l, trouble, l.progress}
}

// maxShrink is how often batches of suspects are halved again while nothing gets on: what
// was an outage of AWS's is over soon in batches of 6.
const maxShrink = 2

// batches cuts records of one product into calls: sound ones, then suspects in no order
// and at least two batches, then the blocked ones, each alone (BILLING B12).
func (l *lane) batches(records []Record) [][]Record {
	var sound, suspects []Record
	var blocked [][]Record
	known := map[string]bool{}
	for _, r := range records {
		switch {
		case r.State == Blocked:
			blocked = append(blocked, []Record{r})
		case l.suspects[r.ID]:
			suspects, known[r.ID] = append(suspects, r), true
		default:
			sound = append(sound, r)
		}
	}
	l.suspects = known
	rand.Shuffle(len(suspects), func(i, j int) { suspects[i], suspects[j] = suspects[j], suspects[i] })
	size := max(min((len(suspects)+1)/2, batchRecords)>>min(l.futile, maxShrink), 1)
	return slices.Concat(slices.Collect(slices.Chunk(sound, batchRecords)), slices.Collect(slices.Chunk(suspects, size)), blocked)
}

// errTrouble tells of answers that say more of the product than of a record.
var errTrouble = errors.New("AWS did not take every record")

// learn notes which records met with trouble; its error is of one of them.
func (l *lane) learn(batch []Record, outcomes []Outcome) (trouble error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		o, id := &outcomes[i], batch[i].ID
		if !o.Answer.trouble() {
			delete(l.suspects, id)
			l.progress = true
			continue
		}
		if o.Answer != Unavailable { // which tells of the product, not of this record
			l.suspects[id] = true
		}
		trouble = errTrouble
		if o.Error != "" {
			trouble = errors.New(o.Error)
		}
	}
	return trouble
}

// accept counts the rows that AWS has accepted.
func (l *lane) accept(rows []Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range rows {
		if rows[i].State == Accepted {
			l.accepted++
			l.units += rows[i].Units
		}
	}
}

// trouble tells whether the record has to be sent again soon.
func (a Answer) trouble() bool { return a == Ambiguous || a == NotRecorded || a == Unavailable }

func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

// over tells whether the round has met with trouble.
func (l *lane) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}
