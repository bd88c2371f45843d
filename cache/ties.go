package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// Tie says what a tenant is to be tied to: exactly one of Account, Customer, License,
// Plan and Claim.
type Tie struct {
	// Account and Customer name the buyer whose licenses the tenant holds.
	Account, Customer string
	// License is pinned to the tenant, which then holds no other one of its product.
	License policy.Key
	// Plan makes a direct customer, who did not buy through AWS.
	Plan string
	// Product is, beside Account, Customer or Plan, the only product of the tie; empty: every one.
	Product string
	// Claim ties the tenant to the buyer who registered.
	Claim *Claim
}

// Claim is what AWS said of a buyer who registered. It ties one tenant to the buyer; its
// license is pinned to that tenant if the buyer has another one for the product.
type Claim struct {
	// ID tells claims apart: one that a tenant used is no other one's.
	ID string
	// Until is when the claim ends, AWS time. Whoever hands a claim over has checked it.
	Until time.Time
	// Product is the configuration's key of the product.
	Product string
	// Account and Customer name the buyer; at least one is given.
	Account, Customer string
	// License is what the buyer registered with.
	License policy.Key
}

// Why a tenant can't be tied. Any other error of [Cache.Tie] is AWS's silence or the
// disk's; then nothing has changed.
var (
	// ErrUnknownBuyer tells that AWS knows no license of what is named.
	ErrUnknownBuyer = errors.New("AWS knows no license of it")
	// ErrFixed tells that the tenant stands in the configuration.
	ErrFixed = errors.New("the tenant is fixed in the configuration")
	// ErrPinned tells that the license is pinned to another tenant.
	ErrPinned = errors.New("the license is pinned to another tenant")
	// ErrClaimUsed tells that another tenant used the claim.
	ErrClaimUsed = errors.New("another tenant has used the claim")
	// ErrDisk tells that the tie could not be made durable.
	ErrDisk = errors.New("the state directory can't be written")
)

// TieError is a mistake in what was asked for.
type TieError struct{ Msg string }

// Error is a sentence with the cure.
func (e *TieError) Error() string { return e.Msg }

// Tie ties a tenant, in the place of what it was tied to. What is named is read at AWS
// first. When Tie returns, the tie is durable and in the snapshot.
func (c *Cache) Tie(ctx context.Context, id string, t Tie) (Tenant, error) {
	if err := c.checkTie(id, &t); err != nil {
		return Tenant{}, err
	}
	if err := c.readNamed(ctx, &t); err != nil {
		return Tenant{}, fmt.Errorf("tie tenant: %w", err)
	}
	c.ties.Lock()
	defer c.ties.Unlock()
	if err := c.commitTie(id, &t); err != nil {
		return Tenant{}, fmt.Errorf("tie tenant: %w", err)
	}
	tenant, _ := c.Tenant(id)
	return tenant, nil
}

// Untie ties a tenant to nothing. When it returns that is durable; a tenant that was
// tied to nothing is no error.
func (c *Cache) Untie(_ context.Context, id string) error {
	if _, fixed := c.fixed[id]; fixed {
		return fmt.Errorf("untie tenant: %w", ErrFixed)
	}
	c.ties.Lock()
	defer c.ties.Unlock()
	if _, ok := c.Snapshot().tenants.get(id); !ok {
		return nil
	}
	if err := c.put(id, func(tenant) (tenant, error) { return tenant{}, nil }, nil); err != nil {
		return fmt.Errorf("untie tenant: %w", err)
	}
	return nil
}

// checkTie finds what is wrong with a tie whatever AWS says.
func (c *Cache) checkTie(id string, t *Tie) error {
	if !(policy.Subject{Kind: policy.SubjectTenant, ID: id}).Usable() {
		return &TieError{"A tenant's id is 1 to 256 of A-Z a-z 0-9 . _ : @ / + = -"}
	}
	if _, fixed := c.fixed[id]; fixed {
		return ErrFixed
	}
	named := 0
	for _, given := range []bool{t.Account != "", t.Customer != "", t.License != "", t.Plan != "", t.Claim != nil} {
		if given {
			named++
		}
	}
	switch {
	case named != 1:
		return &TieError{"Name exactly one of claim, account, customer, license and plan."}
	case t.Product != "" && (t.License != "" || t.Claim != nil):
		return &TieError{"A license and a claim are of one product already: leave product out."}
	}
	return c.checkNamed(t)
}

// checkNamed checks the names in a tie against the configuration and what AWS could know.
func (c *Cache) checkNamed(t *Tie) error {
	product := t.Product
	if t.Claim != nil {
		product = t.Claim.Product
	}
	if _, ok := c.products[product]; !ok && product != "" {
		return &TieError{fmt.Sprintf("The configuration has no product %q.", product)}
	}
	if t.Plan != "" {
		if _, ok := c.plans[t.Plan]; !ok {
			return &TieError{fmt.Sprintf("The configuration has no plan %q.", t.Plan)}
		}
		return nil
	}
	if who := t.named(); !who.Usable() {
		return &TieError{fmt.Sprintf("%q can't be the id of %s.", who.ID, article(who.Kind))}
	}
	return nil
}

func article(kind policy.SubjectKind) string {
	if kind == policy.SubjectAccount {
		return "an AWS account, which has 12 digits"
	}
	return "a " + kind.String()
}

// named is whom the tie names at AWS; nobody for a direct customer.
func (t *Tie) named() policy.Subject {
	switch {
	case t.Claim != nil:
		return t.Claim.buyer()
	case t.Account != "":
		return policy.Subject{Kind: policy.SubjectAccount, ID: t.Account}
	case t.Customer != "":
		return policy.Subject{Kind: policy.SubjectCustomer, ID: t.Customer}
	case t.License != "":
		return policy.Subject{Kind: policy.SubjectLicense, ID: string(t.License)}
	default:
		return policy.Subject{}
	}
}

// buyer is who registered: of a listing from before concurrent agreements the customer.
func (c *Claim) buyer() policy.Subject {
	if c.Account == "" || c.Customer != "" && c.License.Kind() != policy.KindARN {
		return policy.Subject{Kind: policy.SubjectCustomer, ID: c.Customer}
	}
	return policy.Subject{Kind: policy.SubjectAccount, ID: c.Account}
}

// readNamed reads at AWS what the tie names, of every product that it may be about. A
// claim comes from AWS itself: that the read doesn't show its license yet is no reason
// to turn away who has just paid.
func (c *Cache) readNamed(ctx context.Context, t *Tie) error {
	who := t.named()
	if who.Kind == policy.SubjectNone {
		return nil
	}
	hint := Hint{Product: t.Product, License: t.License}
	if t.Claim != nil {
		hint.Product = t.Claim.Product
	}
	var reads []*call
	for _, product := range c.hinted(hint) {
		c.negatives.drop(target{product, who})
		read, err := c.readFrom(target{product, who}, true)
		if err != nil {
			return fmt.Errorf("ask AWS: %w", err)
		}
		reads = append(reads, read)
	}
	found := t.Claim != nil
	var errs []error
	for _, read := range reads {
		if _, err := read.wait(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		found = found || read.found > 0
	}
	if err := errors.Join(errs...); err != nil && (t.Claim != nil || !found) {
		return fmt.Errorf("ask AWS: %w", err)
	}
	if !found {
		return fmt.Errorf("%s %s: %w", who.Kind, who.ID, ErrUnknownBuyer)
	}
	return nil
}

// commitTie makes the tie durable and then visible. The caller holds ties.
func (c *Cache) commitTie(id string, t *Tie) error {
	if t.Claim == nil {
		return c.put(id, func(old tenant) (tenant, error) { return c.tieNamed(id, old, t) }, nil)
	}
	user, err := c.file.claimedBy(t.Claim)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDisk, err)
	case user == id:
		return nil // the same once more
	case user != "":
		return ErrClaimUsed
	}
	shared := c.hasAnother(id, t.Claim.buyer(), t.Claim.Product)
	return c.put(id, func(old tenant) (tenant, error) { return tieClaim(old, t.Claim, shared), nil }, t.Claim)
}

// put changes one tenant: on disk first, then in memory. Writers of the snapshot wait
// for the disk meanwhile, which is rare and keeps the two from ever differing; readers don't.
func (c *Cache) put(id string, change func(old tenant) (tenant, error), used *Claim) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, now := c.edit(), c.now()
	before, _ := e.tenants.get(id)
	made, err := change(before.parts())
	if err != nil {
		return err
	}
	for _, p := range made.pins {
		if holder, pinned := e.pins.get(string(p.license)); pinned && holder != id {
			return ErrPinned
		}
	}
	next := made.tied()
	if next != before || used != nil {
		if err := c.file.write([]stored{{id, next}}, used, now); err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
	}
	if next != before {
		e.tie(id, next, now)
		c.publish(e)
	}
	return nil
}

// tieNamed is the tenant after a tie that names what to tie it to.
func (c *Cache) tieNamed(id string, old tenant, t *Tie) (tenant, error) {
	if t.License != "" {
		return c.tieLicense(old, t.License)
	}
	made := tenant{buyer: t.named(), plan: t.Plan}
	if t.Plan != "" {
		made.direct(id, old.since, c.now())
	}
	if t.Product != "" {
		made.products = []string{t.Product}
	}
	return made, nil
}

// tieLicense pins a license to a tenant that is tied to its buyer, and ties it to the
// buyer for the license's product where it is not.
func (c *Cache) tieLicense(old tenant, key policy.Key) (tenant, error) {
	l, ok := c.snapshot.Load().License(key)
	if !ok {
		return tenant{}, ErrUnknownBuyer // it ended between the read and now
	}
	made := old
	if all := buyers(l); old.buyer.Kind == policy.SubjectNone || !slices.Contains(all[:], old.buyer) {
		made = tenant{buyer: policy.Subject{Kind: policy.SubjectLicense, ID: string(key)}, products: []string{l.Product}}
		for _, who := range all {
			if who.Kind != policy.SubjectNone {
				made.buyer = who
				break
			}
		}
	}
	made.cover(l.Product)
	made.unpin(func(p pin) bool { return p.product == l.Product })
	made.pin(l.Product, key)
	return made, nil
}

// tieClaim is the tenant after a claim. Shared tells that the buyer has another tenant
// for the product: then each holds what it brought.
func tieClaim(old tenant, claim *Claim, shared bool) tenant {
	made := old
	known := old.buyer == claim.buyer() && old.covers(claim.Product)
	if old.buyer != claim.buyer() {
		made = tenant{buyer: claim.buyer(), products: []string{claim.Product}}
	}
	made.cover(claim.Product)
	if claim.License != "" && (made.pinned(claim.Product) || shared && !known) {
		made.pin(claim.Product, claim.License)
	}
	return made
}

// hasAnother tells whether another tenant than id is tied to the buyer for a product.
// The caller holds ties.
func (c *Cache) hasAnother(id string, buyer policy.Subject, product string) bool {
	for other, t := range c.Snapshot().tenants.all() {
		if other == id || t.buyer() != buyer {
			continue
		}
		if parts := t.parts(); parts.covers(product) {
			return true
		}
	}
	return false
}

// writeMoved writes the pins that moved. What can't be written is tried again: until
// then a start from disk moves them once more.
func (c *Cache) writeMoved() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unwritten) == 0 {
		return nil
	}
	var changes []stored
	for _, id := range slices.Sorted(maps.Keys(c.unwritten)) {
		t, _ := c.snapshot.Load().tenants.get(id)
		changes = append(changes, stored{id, t})
	}
	if err := c.file.write(changes, nil, c.now()); err != nil {
		return err
	}
	clear(c.unwritten)
	return nil
}

// keepMoved writes pins that moved, and says once that it can't and once that it can again.
func (c *Cache) keepMoved(ctx context.Context) {
	var failing bool
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := c.writeMoved()
		switch {
		case err != nil && !failing:
			c.log.Error("moved pins can't be written", "error", err.Error())
		case err == nil && failing:
			c.log.Info("moved pins can be written again")
		}
		failing = err != nil
	}
}
