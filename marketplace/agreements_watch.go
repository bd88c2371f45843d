package marketplace

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	// watchEvery is how often it is asked what has changed.
	watchEvery = time.Minute
	// watchStep is how often the clocks are looked at meanwhile: AWS time may jump.
	watchStep = 200 * time.Millisecond
	// watchOverlap is how far each look goes back behind the one before: AWS may show a change
	// late, and its time is known to a second or two.
	watchOverlap = 5 * time.Minute
	// maxChanges is how many changed agreements are followed one by one; more are left to a sweep.
	maxChanges = 1_000
	// longestTrial is how far the first look goes back at most (AWS: free trials of SaaS, 5 to 31 days).
	longestTrial = 31 * 24 * time.Hour
	// hintsAtOnce bounds the reads that one look causes at a time.
	hintsAtOnce = 4
)

// AgreementWatch looks each minute for agreements that have changed, so that a lost notification is
// made up for without a sweep (AWS: SearchAgreements, AfterLastUpdateTime). What it finds are hints.
// Of each agreement that is new, or new in some way, it asks for the terms too: whether it is a free trial.
type AgreementWatch struct {
	products []*productWatch
	trials   *trials
}

// Memory is what a watch tells of its findings; the cache.
type Memory interface {
	// Hint has read again what the hint names.
	Hint(ctx context.Context, hint cache.Hint) (changed bool, err error)
	// Trial notes what is known of a free trial; false: there is no such license.
	Trial(product string, key policy.Key, told policy.Trial) (known bool)
}

var _ Memory = (*cache.Cache)(nil)

// AgreementWatch watches the agreements of the given products for the memory's sake. Confirmed is when everything of a
// product was last read, before this start: the first look goes back to it; zero: there is nothing to look back to.
func (c *Connection) AgreementWatch(products map[string]policy.Product, memory Memory, confirmed func(product string) time.Time) *AgreementWatch {
	w := &AgreementWatch{trials: c.trials(memory.Trial)}
	for name, product := range products {
		if product.ByEvents() { // whose agreements name nobody that could be read
			continue
		}
		w.products = append(w.products, &productWatch{
			name: name, search: c.search(product), access: c.agreements, clock: c.Clock, handle: memory.Hint, trials: w.trials,
			log: c.log.With("product", name), since: confirmed(name), followed: map[string]time.Time{},
		})
	}
	return w
}

// Run looks until ctx ends. AWS's failures end nothing: they are told once, and the next look goes
// back as far as the last that succeeded.
func (w *AgreementWatch) Run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { w.trials.run(ctx); return nil })
	for _, p := range w.products {
		group.Go(func() error { p.run(ctx); return nil })
	}
	return group.Wait()
}

// productWatch watches the agreements of one product.
type productWatch struct {
	name   string // the configuration's key
	search *search
	access *agreementAccess
	clock  *Clock
	handle Handler
	trials *trials
	log    *slog.Logger

	since    time.Time            // when the last look that succeeded began, AWS time
	followed map[string]time.Time // agreements whose hints were acted on, with their LastUpdateTime
}

func (w *productWatch) run(ctx context.Context) {
	// The cache begins with a sweep. To read again what is new would only hold up the look-ups of
	// the first requests, so the first look comes when a minute has passed. It goes back to before weir was
	// started, for the trials that began meanwhile: what the sweep showed is not read again.
	if now := w.clock.Now(); w.since.IsZero() || w.since.After(now) {
		w.since = now
	} else if longest := now.Add(-longestTrial); w.since.Before(longest) {
		w.since = longest
	}
	failing := false
	for w.pause(ctx) {
		if !w.access.allowed() {
			continue
		}
		err := w.look(ctx)
		w.access.note(err)
		if err != nil && !failing && !isDenied(err) && ctx.Err() == nil {
			w.log.Warn("changed agreements can't be followed", "error", err)
		}
		failing = err != nil
	}
}

// pause waits until the next look is due; false: ctx ended.
func (w *productWatch) pause(ctx context.Context) bool {
	next := w.clock.in(watchEvery)
	for !w.clock.reached(next) {
		if sleep(ctx, watchStep) != nil {
			return false
		}
	}
	return ctx.Err() == nil
}

// look finds what changed since the last look and sends hints.
func (w *productWatch) look(ctx context.Context) error {
	began := w.clock.Now()
	from := w.since.Add(-watchOverlap)
	if began.Before(w.since) { // AWS time went back
		from = began.Add(-watchOverlap)
	}
	changed, err := w.changes(ctx, from)
	if err != nil {
		return err
	}
	if err := w.follow(ctx, changed); err != nil {
		return err
	}
	w.since = began
	for id, at := range w.followed {
		if at.Before(from) {
			delete(w.followed, id)
		}
	}
	return nil
}

// changes are the agreements that changed after an instant and were not followed since; at
// most one more than are followed one by one.
func (w *productWatch) changes(ctx context.Context, from time.Time) ([]*types.AgreementViewSummary, error) {
	var changed []*types.AgreementViewSummary
	for a, err := range w.search.all(ctx, false, byLastUpdateTime, whereTime("AfterLastUpdateTime", from)) {
		if err != nil {
			return nil, fmt.Errorf("search changed agreements: %w", err)
		}
		if at, ok := w.followed[aws.ToString(a.AgreementId)]; ok && at.Equal(aws.ToTime(a.LastUpdateTime)) {
			continue
		}
		if changed = append(changed, a); len(changed) > maxChanges {
			break
		}
	}
	return changed, nil
}

// follow acts on what changed. The first failure ends it: the next look finds the rest again.
func (w *productWatch) follow(ctx context.Context, changed []*types.AgreementViewSummary) error {
	if len(changed) > maxChanges {
		_, err := w.handle(ctx, cache.Hint{Product: w.name}) // asks for a sweep
		return err
	}
	hints, ctx := errgroup.WithContext(ctx)
	hints.SetLimit(hintsAtOnce)
	done := make([]bool, len(changed))
	for i, a := range changed {
		hints.Go(func() error {
			for _, hint := range w.hints(a) {
				news, err := w.handle(ctx, hint)
				if err != nil {
					return fmt.Errorf("follow agreement %s: %w", aws.ToString(a.AgreementId), err)
				}
				if news {
					w.log.Info("agreement told of a change", "agreement", aws.ToString(a.AgreementId), "license", string(hint.License))
				}
			}
			done[i] = true
			w.trials.ask(w.name, a)
			return nil
		})
	}
	err := hints.Wait()
	for i, a := range changed {
		if done[i] {
			w.followed[aws.ToString(a.AgreementId)] = aws.ToTime(a.LastUpdateTime)
		}
	}
	return err
}

// hints are what to read because an agreement changed: its licenses, or its buyer where it names none.
func (w *productWatch) hints(a *types.AgreementViewSummary) []cache.Hint {
	hint := cache.Hint{Product: w.name, Account: acceptor(a), At: aws.ToTime(a.LastUpdateTime).UTC(), Repeated: true}
	keys := licenseARNs(a)
	if len(keys) == 0 && hint.Account != "" {
		return []cache.Hint{hint}
	}
	var hints []cache.Hint
	for _, key := range keys {
		hint.License, hint.Ended = key, isOver(a.Status)
		hints = append(hints, hint)
	}
	return hints
}

// isOver tells whether an agreement took its license with it. One that was renewed or superseded
// may have left it to the next.
func isOver(status types.AgreementStatus) bool {
	switch status {
	case types.AgreementStatusCancelled, types.AgreementStatusExpired, types.AgreementStatusTerminated, types.AgreementStatusReplaced:
		return true
	default:
		return false
	}
}
