package metering_test

import (
	"errors"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// told is a usage event that weir was told of.
type told struct {
	seen   time.Time // when it was counted, AWS time
	unsure bool      // it was not answered: it may be counted or not
	old    bool      // 48 h had passed by some reading of the clock: it may be forgotten
}

// numbered is the usage event of a number, the same whenever it is reported.
func (w *whole) numbered(n int) metering.Event {
	return metering.Event{
		ID:       metering.NewEventID("model", fmt.Sprint(n)),
		License:  w.licenses[[]policy.Key{"arn:1", "arn:2", "direct:t"}[n%3]],
		Feature:  []string{"calls", "tokens"}[n%2],
		Quantity: int64(1 + 7*n),
	}
}

// report tells weir of usage: some of it known, some twice, some of any time.
func (w *whole) report(t *rapid.T) {
	now := w.clock.now()
	batch := rapid.SliceOfN(rapid.IntRange(0, 15), 1, 6).Draw(t, "events")
	events := make([]metering.Event, len(batch))
	for i, n := range batch {
		events[i] = w.numbered(n)
		events[i].Terms = policy.Terms{
			Included: rapid.SampledFrom([]int64{0, 40, policy.Unlimited}).Draw(t, "included"),
			Every:    policy.Period(rapid.IntRange(0, int(policy.Periods)-1).Draw(t, "every")),
			Then:     policy.Then(rapid.IntRange(0, 1).Draw(t, "then")), Since: events[i].License.Starts,
			Dimension: rapid.SampledFrom([]string{"", "d1", "d2"}).Draw(t, "dimension"), Per: 7,
		}
		if back := rapid.IntRange(-5, 200).Draw(t, "minutes ago"); back != 0 {
			events[i].Time = now.Add(-time.Duration(back) * time.Minute)
		}
	}
	got, err := w.meter.Report(t.Context(), events)
	refused := new(metering.RefusedError)
	switch {
	case errors.As(err, &refused):
		w.refused(t, events, refused)
	case err != nil:
		w.unanswered(batch, now)
	default:
		w.answered(t, batch, now, got)
	}
}

// refused holds only for the license that ends: where it is shown again by a clock that went
// back, the meter goes by the later word.
func (w *whole) refused(t *rapid.T, events []metering.Event, refused *metering.RefusedError) {
	for _, e := range refused.Events {
		if e.Reason != metering.EventLicenseEnded || events[e.Index].License.Key != "arn:2" {
			t.Fatalf("refused: %+v", e)
		}
	}
}

// unanswered notes events that may be counted, now or later, or not.
func (w *whole) unanswered(batch []int, now time.Time) {
	for _, n := range batch {
		if known := w.told[n]; known != nil && !known.old {
			continue
		}
		if known := w.told[n]; known == nil || !known.unsure {
			w.expect(n)
		}
		w.told[n] = &told{seen: now, unsure: true}
	}
}

// expect raises what may be counted at most.
func (w *whole) expect(n int) {
	e := w.numbered(n)
	w.taken[string(e.License.Key)+e.Feature] += e.Quantity
}

// answered checks how many of a batch were counted, and that they are on disk.
func (w *whole) answered(t *rapid.T, batch []int, now time.Time, got metering.Reported) {
	least, most := 0, 0
	for _, n := range batch {
		e, known := w.numbered(n), w.told[n]
		key := string(e.License.Key) + e.Feature
		switch {
		case known == nil:
			least, most = least+1, most+1
			w.expect(n)
			w.floor[key] += e.Quantity
		case known.unsure && !known.old:
			most++
			w.floor[key] += e.Quantity
		case known.old:
			most++
			w.expect(n) // if it was forgotten
		default:
			continue
		}
		w.told[n] = &told{seen: now}
	}
	if got.Accepted < least || got.Accepted > most || got.Accepted+got.Duplicates != len(batch) {
		t.Fatalf("%+v of %v, want %d to %d accepted", got, batch, least, most)
	}
}

// age notes the events that may be forgotten by now.
func (w *whole) age() {
	for _, e := range w.told {
		e.old = e.old || w.clock.now().Sub(e.seen) >= 48*time.Hour
	}
}

// onDisk notes that all is on disk that was counted.
func (w *whole) onDisk(t *rapid.T) {
	w.settleTold(t)
	for k, n := range w.taken {
		w.floor[k] = n
	}
	for n, e := range w.told {
		if e.unsure { // and old: what became of it is forgotten
			w.floor[string(w.numbered(n).License.Key)+w.numbered(n).Feature] -= w.numbered(n).Quantity
		}
	}
}

// settleTold finds out what became of events without an answer, once nothing is pending.
func (w *whole) settleTold(t *rapid.T) {
	for n, e := range w.told {
		if !e.unsure || e.old {
			continue
		}
		memory, err := w.ledger.Recall(t.Context(), e.seen, []metering.EventID{w.numbered(n).ID})
		must(t, err)
		if e.unsure = false; !memory.Known[0] {
			numbered := w.numbered(n)
			w.taken[string(numbered.License.Key)+numbered.Feature] -= numbered.Quantity
			delete(w.told, n)
		}
	}
}
