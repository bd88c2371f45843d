package marketplace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// hinted collects hints, and fails as long as it is told to.
type hinted struct {
	mu      sync.Mutex
	hints   []cache.Hint
	failure error
}

func (h *hinted) Hint(_ context.Context, hint cache.Hint) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hints = append(h.hints, hint)
	return h.failure == nil, h.failure
}

func (h *hinted) Trial(string, policy.Key, policy.Trial) bool { return true }

// never is the last read of a product that was never read.
func never(string) time.Time { return time.Time{} }

// take gives the hints since it was called last, by license.
func (h *hinted) take() []cache.Hint {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.hints
	h.hints = nil
	slices.SortFunc(got, func(a, b cache.Hint) int { return strings.Compare(string(a.License), string(b.License)) })
	return got
}

// watch is the watch of one product that has just begun.
func watch(w *world, h *hinted) *productWatch {
	p := w.AgreementWatch(map[string]policy.Product{"acme": contract()}, h, never).products[0]
	p.since = w.Clock.Now()
	return p
}

func look(t *testing.T, p *productWatch) {
	t.Helper()
	if err := p.look(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestChangedAgreementsBecomeHintsOnce(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	h := &hinted{}
	w, api := newAgreementAPI(t, agreed{id: "agmt-old", account: buyer, license: arn1, updated: now.AddDate(0, 0, -1)})
	p := watch(w, h)
	look(t, p)
	if got := h.take(); got != nil {
		t.Errorf("got %+v of what did not change", got)
	}
	api.set(func() {
		api.list = append(api.list,
			agreed{id: "agmt-new", account: buyer, license: arn2, updated: now},
			agreed{id: "agmt-end", account: "444455556666", license: arn3, status: "CANCELLED", updated: now},
			agreed{id: "agmt-renewed", account: buyer, license: arn1, status: "RENEWED", updated: now},
			agreed{id: "agmt-legacy", account: buyer, updated: now},
		)
	})
	look(t, p)
	want := []cache.Hint{
		{Product: "acme", Account: buyer, At: now, Repeated: true},
		{Product: "acme", Account: buyer, License: arn1, At: now, Repeated: true},
		{Product: "acme", Account: buyer, License: arn2, At: now, Repeated: true},
		{Product: "acme", Account: "444455556666", License: arn3, At: now, Ended: true, Repeated: true},
	}
	if diff := cmp.Diff(want, h.take()); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
	asked := api.asked()
	if last := asked[len(asked)-1]; last["Sort"] != "LastUpdateTime ASCENDING" || last["Status"] != "" {
		t.Errorf("asked %v", last)
	}
	look(t, p)
	if got := h.take(); got != nil {
		t.Errorf("got %+v a second time", got)
	}
	api.set(func() { api.list[1].updated = now.Add(time.Second) })
	look(t, p)
	if got := h.take(); len(got) != 1 || got[0].License != arn2 {
		t.Errorf("got %+v, want what changed again", got)
	}
}

func TestALookGoesBackToTheLastThatSucceeded(t *testing.T) {
	h := &hinted{}
	w, api := newAgreementAPI(t)
	p := watch(w, h)
	look(t, p)
	w.Clock.offset.Add(int64(time.Hour))
	api.set(func() {
		api.list = []agreed{{id: "agmt-1", account: buyer, license: arn1, updated: w.Clock.Now()}}
		api.failure = "ValidationException"
	})
	w.Clock.offset.Add(int64(24 * time.Hour))
	if err := p.look(t.Context()); err == nil {
		t.Error("a refused search succeeded")
	}
	api.set(func() { api.failure = "" })
	h.failure = errors.New("AWS is down")
	if err := p.look(t.Context()); err == nil {
		t.Error("a look whose hint failed succeeded")
	}
	h.failure = nil
	h.take()
	look(t, p)
	if got := h.take(); len(got) != 1 {
		t.Errorf("got %+v, want the change of a day ago", got)
	}
	if look(t, p); h.take() != nil || p.since.Before(w.Clock.Now().Add(-time.Minute)) {
		t.Error("a look that succeeded did not move on")
	}
	w.Clock.offset.Add(-int64(25 * time.Hour)) // AWS time goes back
	api.set(func() { api.list[0].updated = w.Clock.Now() })
	look(t, p)
	if got := h.take(); len(got) != 1 {
		t.Errorf("got %+v, want what changed after AWS time went back", got)
	}
}

func TestTooManyChangesAskForASweep(t *testing.T) {
	h := &hinted{}
	w, api := newAgreementAPI(t)
	p := watch(w, h)
	p.search.limits.searches.rest.apart = time.Microsecond
	for i := range maxChanges + 5 {
		api.list = append(api.list, agreed{id: fmt.Sprint("agmt-", i), account: buyer, license: arn1, updated: w.Clock.Now().Add(time.Second)})
	}
	look(t, p)
	if diff := cmp.Diff([]cache.Hint{{Product: "acme"}}, h.take()); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
}

func TestWatchLooksAgainWhenAMinuteOfAWSTimeHasPassed(t *testing.T) {
	h := &hinted{}
	w, api := newAgreementAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.AgreementWatch(map[string]policy.Product{"acme": contract()}, h, never).Run(ctx) }()
	api.set(func() {
		api.list = []agreed{{id: "agmt-1", account: buyer, license: arn1, updated: w.Clock.Now().Add(time.Second)}}
	})
	time.Sleep(watchStep) // long enough for a first look, were there one
	if asked := api.asked(); len(asked) != 0 {
		t.Errorf("looked at the start, where the cache sweeps anyway: %v", asked)
	}
	eventually(t, "found the change", func() bool {
		w.Clock.offset.Add(int64(time.Minute)) // the watch may not have begun at the time of the first
		return len(h.take()) == 1
	})
	api.set(func() { api.failure = "AccessDeniedException" })
	eventually(t, "told of the refusal", func() bool {
		w.Clock.offset.Add(int64(time.Minute)) // the watch may still be at the look before
		return strings.Contains(w.log.String(), "AWS denies a read")
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
