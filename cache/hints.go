package cache

import (
	"context"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// Hint reads again what the hint names, and tells whether that showed a change. It
// returns when the read has taken effect, so that a message may be deleted then; the
// read goes on when the caller's context ends before. A hint that names nobody asks
// for a sweep and does not wait for it: a sweep is made at every start as well. A hint
// about products without a source changes nothing.
func (c *Cache) Hint(ctx context.Context, h Hint) (changed bool, err error) {
	select {
	case <-c.crew.opened: // a queue may be read a moment before Run is there
	case <-ctx.Done():
		return false, ctx.Err()
	}
	for _, product := range c.hinted(h) {
		one, err := c.hintProduct(ctx, product, h)
		if err != nil {
			return changed, err
		}
		changed = changed || one
	}
	return changed, nil
}

// hinted are the products that the hint may be about: its own, that of the license
// in memory, else all.
func (c *Cache) hinted(h Hint) []string {
	if h.Product == "" {
		if l, ok := c.Snapshot().License(h.License); ok {
			h.Product = l.Product
		}
	}
	var products []string
	for product := range c.sources {
		if h.Product == "" || h.Product == product {
			products = append(products, product)
		}
	}
	return products
}

func (c *Cache) hintProduct(ctx context.Context, product string, h Hint) (changed bool, err error) {
	h.License = c.canonical(h)
	for _, who := range h.subjects() {
		t := target{product, who}
		c.negatives.drop(t)
		c.name(t)
	}
	t, ok := c.targetOf(product, h)
	if !ok {
		c.askSweep(product)
		return false, nil
	}
	if h.Repeated && c.answered(h) {
		return false, nil
	}
	if h.License != "" && h.Ended {
		h.At = c.tell(h)
	}
	read, err := c.readFrom(t, true)
	if err != nil {
		return false, err
	}
	if changed, err = read.wait(ctx); err == nil {
		c.afterHint(h, read, changed)
	}
	return changed, err
}

// afterHint does what a hint asks for when its read has taken effect.
func (c *Cache) afterHint(h Hint, read *call, changed bool) {
	t := read.target
	if h.Trial != nil && h.Customer != "" {
		c.tellTrial(t.product, policy.Subject{Kind: policy.SubjectCustomer, ID: h.Customer}, h.Trial)
	}
	switch {
	case changed:
	case c.namesNobody(t, read):
		c.askSweep(t.product)
	default:
		c.followHint(t, h)
	}
}

// namesNobody tells whether a customer was read whom AWS does not name: in a listing with concurrent agreements
// entitlements carry no CustomerIdentifier, and of what a notification names only a sweep can find it.
func (c *Cache) namesNobody(t target, read *call) bool {
	if t.subject.Kind != policy.SubjectCustomer || read.found > 0 || c.products[t.product].Agreements == policy.AgreementsLegacy {
		return false
	}
	_, known := c.Snapshot().buyer(t.subject)
	return !known
}

// subjects are whom the hint names.
func (h *Hint) subjects() []policy.Subject {
	var all []policy.Subject
	for _, who := range []policy.Subject{
		{Kind: policy.SubjectLicense, ID: string(h.License)},
		{Kind: policy.SubjectAccount, ID: h.Account},
		{Kind: policy.SubjectCustomer, ID: h.Customer},
	} {
		if who.ID != "" {
			all = append(all, who)
		}
	}
	return all
}

// canonical is the key under which memory holds the hint's license: events have been
// seen to spell a LicenseArn in other ways than GetEntitlements does, but always with
// the license's id last.
func (c *Cache) canonical(h Hint) policy.Key {
	s := c.Snapshot()
	if _, ok := s.License(h.License); ok || h.License == "" {
		return h.License
	}
	id := lastPart(h.License)
	if g, ok := s.accounts.get(h.Account); ok {
		for _, l := range g.licenses {
			if lastPart(l.Key) == id {
				return l.Key
			}
		}
	}
	return h.License
}

func lastPart(key policy.Key) string {
	return string(key[strings.LastIndexByte(string(key), ':')+1:])
}

// targetOf is what has to be read: the license, or its buyer where it ended, so that
// what took its place is seen at the same instant, and where memory does not hold it,
// since the hint may spell it in its own way. A hint without a license reads its buyer.
func (c *Cache) targetOf(product string, h Hint) (target, bool) {
	subjects := h.subjects()
	if len(subjects) == 0 {
		return target{}, false
	}
	if h.License == "" {
		return target{product, subjects[0]}, true
	}
	l, known := c.Snapshot().License(h.License)
	switch {
	case known && h.Ended:
		return c.buyerOf(l), true
	case !known && len(subjects) > 1:
		return target{product, subjects[1]}, true
	default:
		return target{product, subjects[0]}, true
	}
}

// answered tells whether memory already shows what a hint is about.
func (c *Cache) answered(h Hint) bool {
	r, ok := c.Snapshot().licenses.get(string(h.License))
	if !ok || h.At.IsZero() {
		return false
	}
	if h.Ended || !r.license.Ended.IsZero() {
		return h.Ended && !r.license.Ended.IsZero()
	}
	return r.changed.After(h.At)
}

// tell notes that an event said that a license ended, and when: at the event's time.
func (c *Cache) tell(h Hint) time.Time {
	at := h.At
	if at.IsZero() {
		at = c.now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if present, ok := c.snapshot.Load().License(h.License); ok && present.Ended.IsZero() {
		c.told[h.License] = at
	}
	return at
}

// untell forgets what was told of an end: no read has agreed. What another event told stays.
func (c *Cache) untell(ends ...toldEnd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range ends {
		if at, ok := c.told[end.license]; ok && at.Equal(end.at) {
			delete(c.told, end.license)
		}
	}
}

// toldEnd is the end of a license that an event told of.
type toldEnd struct {
	license policy.Key
	at      time.Time
}

// told is the end that the hint told of, if it did.
func (h *Hint) told() []toldEnd {
	if !h.Ended {
		return nil
	}
	return []toldEnd{{h.License, h.At}}
}

// followHint has a target read again whose read showed no change: AWS may show a
// change later than it tells of it. Not so when the change that the event is about
// may have been the one that an earlier read showed.
func (c *Cache) followHint(t target, h Hint) {
	if shown := c.lastChange(t); !h.At.IsZero() && !h.At.After(shown) {
		c.untell(h.told()...)
		return
	}
	steps := c.hintSteps()
	c.follow(followUp{target: t, why: whyHint, told: h.told(), after: steps[1:]}, steps[0])
}

// lastChange is when the last read that showed a change of the target began.
func (c *Cache) lastChange(t target) (last time.Time) {
	s := c.Snapshot()
	keys := []policy.Key{policy.Key(t.subject.ID)}
	if g, ok := s.buyer(t.subject); ok {
		keys = keys[:0]
		for _, l := range g.licenses {
			if l.Product == t.product {
				keys = append(keys, l.Key)
			}
		}
	}
	for _, key := range keys {
		if r, ok := s.licenses.get(string(key)); ok {
			last = latest(last, r.changed)
		}
	}
	return last
}
