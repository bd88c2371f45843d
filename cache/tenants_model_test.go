package cache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

// ledgerOfTies is what tenants are tied to, as the rules tell it and as slowly as they
// do: no index, and every question looks at everything.
type ledgerOfTies struct {
	licenses []modelLicense
	tenants  map[string]modelTenant
	claims   map[string]string // who used which
}

// newModel knows the tenants of the configuration.
func newModel() *ledgerOfTies {
	return &ledgerOfTies{claims: map[string]string{}, tenants: map[string]modelTenant{
		"initech": {account: initech}, "narrow": {account: initech, products: []string{"other"}},
	}}
}

type modelLicense struct {
	key     policy.Key
	product string
	account string
	ended   time.Time
}

type modelTenant struct {
	account  string
	products []string // none: every one
	pins     []policy.Key
}

func (m *ledgerOfTies) license(key policy.Key) *modelLicense {
	for i := range m.licenses {
		if m.licenses[i].key == key {
			return &m.licenses[i]
		}
	}
	return nil
}

func (m *ledgerOfTies) holder(key policy.Key) string {
	for id, t := range m.tenants {
		if slices.Contains(t.pins, key) {
			return id
		}
	}
	return ""
}

// pinnedIn are a tenant's pins of a product.
func (m *ledgerOfTies) pinnedIn(t modelTenant, product string) (keys []policy.Key) {
	for _, key := range t.pins {
		if m.license(key).product == product {
			keys = append(keys, key)
		}
	}
	return keys
}

func (t modelTenant) covers(product string) bool {
	return len(t.products) == 0 || slices.Contains(t.products, product)
}

// holds are the licenses of a product that a tenant holds.
func (m *ledgerOfTies) holds(id, product string) (keys []policy.Key) {
	t, ok := m.tenants[id]
	if !ok || !t.covers(product) {
		return nil
	}
	if keys = m.pinnedIn(t, product); len(keys) == 0 {
		for _, l := range m.licenses {
			if l.account == t.account && l.product == product && m.holder(l.key) == "" {
				keys = append(keys, l.key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// settle moves pins until none can move. Those whose licenses ended first go first.
func (m *ledgerOfTies) settle() {
	ended := slices.Clone(m.licenses)
	slices.SortFunc(ended, func(a, b modelLicense) int {
		if by := a.ended.Compare(b.ended); by != 0 {
			return by
		}
		return strings.Compare(string(a.key), string(b.key))
	})
	for _, l := range ended {
		id := m.holder(l.key)
		if l.ended.IsZero() || id == "" {
			continue
		}
		var free []policy.Key
		for _, other := range m.licenses {
			if other.account == l.account && other.product == l.product && other.ended.IsZero() && m.holder(other.key) == "" {
				free = append(free, other.key)
			}
		}
		if len(free) == 1 {
			t := m.tenants[id]
			t.pins = append(without(t.pins, l.key), free[0])
			m.tenants[id] = t
		}
	}
}

func without(keys []policy.Key, key policy.Key) []policy.Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k policy.Key) bool { return k == key })
}

// pin is what PUT {"license"} does.
func (m *ledgerOfTies) pin(id string, key policy.Key) error {
	l := m.license(key)
	if l == nil || !l.ended.IsZero() {
		return ErrUnknownBuyer
	}
	if holder := m.holder(key); holder != "" && holder != id {
		return ErrPinned
	}
	t, ok := m.tenants[id]
	if !ok || t.account != l.account {
		t = modelTenant{account: l.account, products: []string{l.product}}
	}
	if !t.covers(l.product) {
		t.products = append(slices.Clone(t.products), l.product)
	}
	for _, other := range m.pinnedIn(t, l.product) {
		t.pins = without(t.pins, other)
	}
	t.pins = append(slices.Clone(t.pins), key)
	m.tenants[id] = t
	return nil
}

// claim is what PUT {"claim"} does.
func (m *ledgerOfTies) claim(id, claim string, key policy.Key) error {
	switch user := m.claims[claim]; {
	case user == id:
		return nil
	case user != "":
		return ErrClaimUsed
	}
	l := m.license(key)
	t, ok := m.tenants[id]
	known := ok && t.account == l.account && t.covers(l.product)
	shared := false
	for other, their := range m.tenants {
		shared = shared || other != id && their.account == l.account && their.covers(l.product)
	}
	if !ok || t.account != l.account {
		t = modelTenant{account: l.account, products: []string{l.product}}
	}
	if !t.covers(l.product) {
		t.products = append(slices.Clone(t.products), l.product)
	}
	if len(m.pinnedIn(t, l.product)) > 0 || shared && !known {
		if holder := m.holder(key); holder != "" && holder != id {
			return ErrPinned
		}
		t.pins = append(without(t.pins, key), key)
	}
	m.tenants[id], m.claims[claim] = t, id
	return nil
}

// play is a weir and its model.
type play struct {
	*weir
	model *ledgerOfTies
	r     *rand.Rand
	made  int
}

func (p *play) source(product string) *aws { return p.sources[product].(*aws) }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (p *play) step(t *testing.T) (what string) {
	id := pick(p.r, "t1", "t2", "t3", "t4")
	account, product := pick(p.r, initech, stranger), pick(p.r, "acme", "other")
	switch p.r.IntN(10) {
	case 0, 1, 2:
		return p.buy(t, account, product)
	case 3, 4:
		return p.cancel(t)
	case 5:
		only := pick(p.r, "", product)
		return p.tieAccount(t, id, account, only)
	case 6, 7:
		if len(p.model.licenses) == 0 {
			return "nothing to pin"
		}
		key := pick(p.r, p.model.licenses...).key
		_, err := p.Tie(t.Context(), id, Tie{License: key})
		p.same(t, err, p.model.pin(id, key))
		return fmt.Sprintf("pin %s to %s", lastPart(key), id)
	case 8:
		return p.useClaim(t, id)
	default:
		if p.r.IntN(3) == 0 {
			p.restart(t)
			return "restart"
		}
		if err := p.Untie(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		delete(p.model.tenants, id)
		return "untie " + id
	}
}

func (p *play) buy(t *testing.T, account, product string) string {
	p.made++
	key := policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%03d", p.made))
	p.source(product).put(held(key, account, "basic"))
	p.hint(t, Hint{Product: product, License: key, Account: account})
	p.model.licenses = append(p.model.licenses, modelLicense{key: key, product: product, account: account})
	return fmt.Sprintf("%s buys %s of %s", account, lastPart(key), product)
}

func (p *play) cancel(t *testing.T) string {
	var living []policy.Key
	for _, l := range p.model.licenses {
		if l.ended.IsZero() {
			living = append(living, l.key)
		}
	}
	if len(living) == 0 {
		return "nothing to end"
	}
	l := p.model.license(pick(p.r, living...))
	time.Sleep(time.Second)
	p.source(l.product).drop(l.key)
	l.ended = time.Now()
	p.hint(t, Hint{Product: l.product, License: l.key, Account: l.account, At: time.Now(), Ended: true})
	return "end " + lastPart(l.key)
}

func (p *play) tieAccount(t *testing.T, id, account, only string) string {
	_, err := p.Tie(t.Context(), id, Tie{Account: account, Product: only})
	want := ErrUnknownBuyer
	for _, l := range p.model.licenses {
		if l.account == account && l.ended.IsZero() && (only == "" || l.product == only) {
			want = nil
		}
	}
	p.same(t, err, want)
	if want == nil {
		made := modelTenant{account: account}
		if only != "" {
			made.products = []string{only}
		}
		p.model.tenants[id] = made
	}
	return fmt.Sprintf("tie %s to %s for %q", id, account, only)
}

func (p *play) useClaim(t *testing.T, id string) string {
	if len(p.model.licenses) == 0 {
		return "nothing to claim"
	}
	l := pick(p.r, p.model.licenses...)
	name := fmt.Sprintf("%s-%d", lastPart(l.key), p.r.IntN(3))
	claim := &Claim{ID: name, Until: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), Product: l.product, Account: l.account, License: l.key}
	_, err := p.Tie(t.Context(), id, Tie{Claim: claim})
	p.same(t, err, p.model.claim(id, name, l.key))
	return fmt.Sprintf("%s uses claim %s", id, name)
}

func (p *play) same(t *testing.T, got, want error) {
	t.Helper()
	if (got == nil) != (want == nil) || !errors.Is(got, want) {
		t.Errorf("got error %v, want %v", got, want)
	}
}

// compare asks who holds what, as a request would find it.
func (p *play) compare(t *testing.T) {
	t.Helper()
	for _, id := range []string{"t1", "t2", "t3", "t4"} {
		for _, product := range []string{"acme", "other"} {
			var got []policy.Key
			if h, known := p.Snapshot().Find(policy.Subject{Kind: policy.SubjectTenant, ID: id}, product); known == policy.Present {
				for _, l := range h.Licenses {
					if l.Product == product {
						got = append(got, l.Key)
					}
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(p.model.holds(id, product), got); diff != "" {
				t.Errorf("%s holds of %s, -model +weir:\n%s", id, product, diff)
			}
		}
	}
}

func TestTenantsHoldWhatTheRulesSayWhateverHappens(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := run(t, &aws{}, t.TempDir())
			p := &play{weir: w, r: rand.New(rand.NewPCG(seed, 1)), model: newModel()}
			var story []string
			for range 60 {
				story = append(story, p.step(t))
				p.model.settle()
				if p.compare(t); t.Failed() {
					t.Fatalf("after:\n%s", strings.Join(story, "\n"))
				}
			}
		})
	}
}
