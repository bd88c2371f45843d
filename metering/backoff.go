package metering

import (
	"context"
	"math/rand/v2"
	"time"
)

// minBackoff is the longest first wait after trouble.
const minBackoff = 200 * time.Millisecond

// backoff is the bound of the last wait; zero: no trouble yet.
type backoff time.Duration

// next doubles the bound up to the limit and picks a wait below it: full jitter
// (AWS Architecture Blog, "Exponential Backoff And Jitter").
func (b *backoff) next(limit time.Duration) time.Duration {
	*b = backoff(min(max(2*time.Duration(*b), minBackoff), limit))
	return rand.N(time.Duration(*b) + 1)
}

// warnings hold how far each product's warnings have gone.
type warnings map[string]*warning

// warning is how many thresholds of age and of ending licenses were told of.
type warning struct{ ages, endings int }

// ageWarnings and endWarnings are when people are told of records that AWS has not
// answered (BILLING B13): by age, and by time left where a license has ended.
func ageWarnings() []time.Duration {
	return []time.Duration{6 * time.Hour, 12 * time.Hour, 20 * time.Hour}
}

func endWarnings() []time.Duration {
	return []time.Duration{45 * time.Minute, 15 * time.Minute}
}

// warn tells of records that have waited long, once at each threshold.
func (d *Dispatcher) warn(ctx context.Context) {
	sums, err := d.ledger.Backlog(ctx)
	if err != nil {
		return // Due meets the same trouble, and says so
	}
	now := d.now()
	waiting := map[string]bool{}
	for _, s := range sums {
		waiting[s.Product] = true
		w := d.warned[s.Product]
		if w == nil {
			w = &warning{}
			d.warned[s.Product] = w
		}
		ages := passed(ageWarnings(), func(age time.Duration) bool { return now.Sub(s.Oldest) >= age })
		endings := passed(endWarnings(), func(left time.Duration) bool { return !s.Ending.IsZero() && s.Ending.Sub(now) <= left })
		log := d.log.With("product", s.Product, "records", s.Records, "oldest", s.Oldest, "deadline", s.Deadline)
		if ages > w.ages {
			log.Warn("usage records have waited long for AWS's answer", "age", now.Sub(s.Oldest).Truncate(time.Second))
		}
		if endings > w.endings {
			log.Warn("usage records of a license that has ended must reach AWS soon", "left", s.Ending.Sub(now).Truncate(time.Second))
		}
		*w = warning{ages, endings}
	}
	for product := range d.warned {
		if !waiting[product] {
			delete(d.warned, product)
		}
	}
}

// passed counts the thresholds that are passed.
func passed(thresholds []time.Duration, is func(time.Duration) bool) (n int) {
	for _, t := range thresholds {
		if is(t) {
			n++
		}
	}
	return n
}
