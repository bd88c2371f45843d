package metering

import (
	"context"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

const (
	// keepStarts is how long the starts of hours are kept at which weir was running: AWS takes no record that is older than a day.
	keepStarts = 26 * time.Hour
	// firstSecond is what a start of the process may be late, and still be in an hour's first second (BILLING B16).
	firstSecond = time.Second
)

// Zeros says for whom a Meter makes records of 0 (BILLING B16).
type Zeros struct {
	// Dimensions are those that meter, by the configuration's key of the product.
	Dimensions map[string][]string
	// Active tells whether a license is active at present.
	Active func(policy.Key) bool
}

// zeros is what a Meter knows of records of 0; of runClosing alone.
type zeros struct {
	Zeros
	any      []string // the dimensions of all products, for direct customers of every product
	presence Presence
	loaded   bool
	last     time.Time // the last look of this process
}

// MakeZeros lets the Meter make records of 0, unless the configuration says otherwise. It is called before Run.
func (m *Meter) MakeZeros(z Zeros) {
	if !m.cfg.Zero {
		return
	}
	m.zeros = &zeros{Zeros: z}
	for _, dimensions := range z.Dimensions {
		m.zeros.any = append(m.zeros.any, dimensions...)
	}
	slices.Sort(m.zeros.any)
	m.zeros.any = slices.Compact(m.zeros.any)
}

// attend notes durably at which starts of hours weir was running: those since its last look, however far
// the clock has jumped, and the present one in its first second.
func (m *Meter) attend(ctx context.Context, now time.Time) error {
	z := m.zeros
	if z == nil {
		return nil
	}
	if !z.loaded {
		p, err := m.ledger.Presence(ctx)
		if err != nil {
			return err
		}
		z.presence, z.loaded = p, true
	}
	last := z.last
	if last.IsZero() {
		last = now.Add(-firstSecond)
	}
	starts := slices.Clone(z.presence.Starts)
	for h := hourOf(latest(last, now.Add(-keepStarts))).Add(time.Hour); !h.After(now); h = h.Add(time.Hour) {
		if i, found := slices.BinarySearchFunc(starts, h, time.Time.Compare); !found {
			starts = slices.Insert(starts, i, h)
		}
	}
	if len(starts) > len(z.presence.Starts) {
		starts = slices.DeleteFunc(starts, func(h time.Time) bool { return h.Before(now.Add(-keepStarts)) })
		if err := m.present(ctx, Presence{Starts: starts, Zeroed: z.presence.Zeroed}); err != nil {
			return err
		}
	}
	z.last = now
	return nil
}

// present keeps when weir was running.
func (m *Meter) present(ctx context.Context, p Presence) error {
	if err := m.ledger.SetPresence(ctx, p); err != nil {
		return err
	}
	m.zeros.presence = p
	return nil
}

// freezeZeros makes the records of 0 of the hours before closed, which is frozen, that weir was running through.
// Nothing is made for a place that is not that of the ledger, which it would tie to it (BILLING B17).
func (m *Meter) freezeZeros(ctx context.Context, now, closed time.Time) error {
	z := m.zeros
	if z == nil || !m.sendsHere() {
		return nil
	}
	p := z.presence
	for _, h := range p.Starts {
		next := h.Add(time.Hour)
		_, through := slices.BinarySearchFunc(p.Starts, next, time.Time.Compare)
		if !through || h.Before(p.Zeroed) || next.After(closed) || !now.Before(deadline(h, time.Time{})) {
			continue
		}
		if keys := m.zeroKeys(h, now); len(keys) > 0 {
			if err := m.ledger.Freeze(ctx, now, keys); err != nil {
				return err
			}
		}
	}
	if !closed.After(p.Zeroed) {
		return nil
	}
	p.Zeroed = closed
	return m.present(ctx, p)
}

// sendsHere tells whether the configured place is that of the ledger.
func (m *Meter) sendsHere() bool { return m.ledger.Place() == nil }

// zeroKeys are the records of 0 that may be due for an hour: the ledger knows which have usage.
func (m *Meter) zeroKeys(hour, now time.Time) (keys []ZeroKey) {
	m.mu.Lock()
	licenses := make([]*policy.License, 0, len(m.records))
	for _, r := range m.records {
		if !inHour(r.inactive, hour) {
			licenses = append(licenses, r.license.Load())
		}
	}
	m.mu.Unlock()
	for _, l := range licenses {
		if !m.zeros.activeThrough(l, hour) || !now.Before(deadline(hour, l.Ended)) {
			continue
		}
		dimensions := m.zeros.Dimensions[l.Product]
		if l.Direct != "" && l.Product == "" {
			dimensions = m.zeros.any
		}
		for _, d := range dimensions {
			keys = append(keys, ZeroKey{
				License: l.Key, Account: l.Account, Customer: l.Customer, Product: l.Product, Dimension: d, Hour: hour, Ends: l.Ended,
			})
		}
	}
	return keys
}

// activeThrough tells whether a license began before the hour, and ended after it or is active.
func (z *zeros) activeThrough(l *policy.License, hour time.Time) bool {
	switch {
	case !l.Starts.Before(hour):
		return false
	case !l.Ended.IsZero():
		return !l.Ended.Before(hour.Add(time.Hour))
	default:
		return z.Active(l.Key)
	}
}

func inHour(t, hour time.Time) bool { return hourOf(t).Equal(hour) }
