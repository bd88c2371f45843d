package cache

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirhq/weir/policy"
)

// SourceState is how fresh what memory holds of a product is.
type SourceState string

// The states of a source.
const (
	SourceFresh SourceState = "fresh" // confirmed within failure.stale.after
	SourceStale SourceState = "stale" // confirmed longer ago
	SourceNever SourceState = "never" // no complete read yet, by this process or one before
)

// SourceStatus is how a product's source stands.
type SourceStatus struct {
	State SourceState
	// Age is the time since the last complete read began; 0 if there was none.
	Age time.Duration
	// Licenses are those in memory that have not ended.
	Licenses int
}

// Status is how each configured product stands. One without a source is never confirmed.
func (c *Cache) Status() map[string]SourceStatus {
	s, now := c.Snapshot(), c.now()
	all := make(map[string]SourceStatus, len(c.products))
	for name := range c.products {
		all[name] = c.statusOf(s, name, now)
	}
	for l := range s.Licenses() {
		if status, ok := all[l.Product]; ok && l.Ended.IsZero() && l.Direct == "" {
			status.Licenses++
			all[l.Product] = status
		}
	}
	return all
}

func (c *Cache) statusOf(s *Snapshot, product string, now time.Time) SourceStatus {
	confirmed := s.Confirmed(product)
	if confirmed.IsZero() {
		return SourceStatus{State: SourceNever}
	}
	status := SourceStatus{State: SourceFresh, Age: max(now.Sub(confirmed), 0)}
	if status.Age > c.staleAfter {
		status.State = SourceStale
	}
	return status
}

// Reason is why a gate is not ready.
type Reason struct {
	// Reason is no_entitlements or entitlements_stale.
	Reason string
	// Detail is a sentence for people.
	Detail string
}

// Ready gives the reasons for which this memory should not decide requests; none
// when it may.
func (c *Cache) Ready() []Reason {
	s, now := c.Snapshot(), c.now()
	var reasons []Reason
	for _, name := range slices.Sorted(maps.Keys(c.products)) {
		switch status := c.statusOf(s, name, now); status.State {
		case SourceNever:
			reasons = append(reasons, Reason{"no_entitlements", fmt.Sprintf("the entitlements of product %s have not been read yet", name)})
		case SourceStale:
			reasons = append(reasons, Reason{"entitlements_stale", fmt.Sprintf("the entitlements of product %s were confirmed %s ago, more than %s", name, status.Age.Round(time.Second), c.staleAfter)})
		case SourceFresh:
		}
	}
	return reasons
}

// LicenseStatus is how one license stands.
type LicenseStatus struct {
	License *policy.License
	Plan    string // name of its plan; empty: it only adds
	State   policy.State
	// Expires is the latest expiry of its entitlements; zero: none.
	Expires time.Time
	// Confirmed is when the last read that showed it began; a direct customer's needs none.
	Confirmed time.Time
}

// License is how the license of a key stands; false if memory does not hold it.
func (c *Cache) License(key policy.Key) (LicenseStatus, bool) {
	s := c.Snapshot()
	l, ok := s.License(key)
	if !ok {
		return LicenseStatus{}, false
	}
	return c.licenseStatus(s, l, c.now()), true
}

// Licenses lists at most limit licenses whose keys come after the given one, in the
// order of keys, and tells whether there are more.
func (c *Cache) Licenses(after policy.Key, limit int) (page []LicenseStatus, more bool) {
	s, now := c.Snapshot(), c.now()
	var found []*policy.License
	for l := range s.Licenses() {
		if l.Key > after {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, func(a, b *policy.License) int { return cmp.Compare(a.Key, b.Key) })
	if limit = max(limit, 0); len(found) > limit {
		found, more = found[:limit], true
	}
	for _, l := range found {
		page = append(page, c.licenseStatus(s, l, now))
	}
	return page, more
}

func (c *Cache) licenseStatus(s *Snapshot, l *policy.License, now time.Time) LicenseStatus {
	confirmed := s.Confirmed(l.Product)
	status := LicenseStatus{
		License: l, Expires: l.LastExpiry(), Confirmed: l.Read,
		Plan:  c.policy.PlanOf(l, confirmed, now),
		State: c.policy.LicenseState(l, confirmed, now),
	}
	if !c.missed(l.Key) && l.Ended.IsZero() && l.Direct == "" {
		status.Confirmed = latest(l.Read, confirmed)
	}
	return status
}

// missed tells whether the last reads did not show a license.
func (c *Cache) missed(key policy.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.absent[key]
	return ok
}

// licenseCount is what weir_licenses counts by.
type licenseCount struct {
	product string
	state   policy.State
}

func (c *Cache) countLicenses() map[licenseCount]int {
	s, now := c.Snapshot(), c.now()
	counts := map[licenseCount]int{}
	for l := range s.Licenses() {
		counts[licenseCount{l.Product, c.policy.LicenseState(l, s.Confirmed(l.Product), now)}]++
	}
	return counts
}
