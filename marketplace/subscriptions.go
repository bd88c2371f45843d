package marketplace

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

const (
	// maxSubscribers bounds memory and disk.
	maxSubscribers = 200_000
	// forgetAfter is how long one who has left is remembered: SQS keeps a message for 14 days at most, so no
	// event can be later, and what the cache tells buyers of an end it remembers itself.
	forgetAfter = 90 * 24 * time.Hour
)

// Subscriptions are the buyers of listings of which nothing at AWS can be read: pay as you go, with agreements that name
// no license. What AWS told of each, by SNS and by his registration, is kept in a file of the state directory and in
// memory; the latest by the events' own time counts, whatever the order in which they come (AWS: SNS notifications for
// SaaS products).
type Subscriptions struct {
	file *subscriptionFile
	now  func() time.Time
	log  *slog.Logger
	// heard tells whether AWS's messages come through; an error says what does not.
	heard func() error

	mu        sync.Mutex // no request waits for it: they are decided from the cache
	histories map[policy.Key]history
	accounts  map[string][]policy.Key // of histories, by account: strangers are looked up by it
}

// OpenSubscriptions opens what is stored of the given products' buyers in the directory. Queue, Notifications and
// Registrations made from now on add to it. Close releases it.
func (c *Connection) OpenSubscriptions(dir string, products map[string]policy.Product) (*Subscriptions, error) {
	s := &Subscriptions{file: newSubscriptionFile(dir, c.log), now: c.Clock.Now, log: c.log, heard: c.hearing.check}
	var err error
	if s.histories, err = s.file.load(c.Clock.Now()); err != nil {
		return nil, err
	}
	s.accounts = map[string][]policy.Key{}
	for key, h := range s.histories {
		s.index(key, "", h.Account)
	}
	if slices.ContainsFunc(slices.Collect(maps.Values(products)), policy.Product.ByEvents) {
		c.subscriptions = s
	}
	return s, nil
}

// Close closes the file.
func (s *Subscriptions) Close() error { return s.file.close() }

// Restore takes over the subscribers that the cache still knows when the file was lost: a buyer who pays must not be
// cut off because of it.
func (s *Subscriptions) Restore(products map[string]policy.Product, licenses iter.Seq[*policy.License]) error {
	if !s.file.lost {
		return nil
	}
	for l := range licenses {
		if !products[l.Product].ByEvents() || l.Key.Kind() != policy.KindLegacy || !l.Ended.IsZero() {
			continue
		}
		if _, err := s.note(l.Key, l.Account, &happening{At: l.Starts, What: restored}); err != nil {
			return fmt.Errorf("restore subscription %s: %w", l.Key, err)
		}
	}
	return nil
}

// note stores what happened to a subscriber, before anything comes of it, and tells how he stands then. An empty account
// says nothing.
func (s *Subscriptions) note(key policy.Key, account string, what *happening) (standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.histories[key]
	next, changed := before.with(account, what)
	if !changed {
		return before.stands(), nil
	}
	if !known && len(s.histories) >= maxSubscribers {
		return standing{}, fmt.Errorf("store subscription %s: there are %d already", key, maxSubscribers)
	}
	if err := s.file.put(key, next); err != nil {
		return standing{}, fmt.Errorf("store subscription %s: %w", key, err)
	}
	s.histories[key] = next
	s.index(key, before.Account, next.Account)
	return next.stands(), nil
}

// index keeps accounts; an empty one has no subscribers. The caller holds mu, or nobody else knows s yet.
func (s *Subscriptions) index(key policy.Key, before, account string) {
	if before == account {
		return
	}
	if others := slices.DeleteFunc(s.accounts[before], func(k policy.Key) bool { return k == key }); len(others) > 0 {
		s.accounts[before] = others
	} else {
		delete(s.accounts, before)
	}
	s.accounts[account] = append(s.accounts[account], key)
}

// register notes who has just registered. It makes known only one of whom nothing is: a token can be posted again after
// the end, and says nothing of when it was made.
func (s *Subscriptions) register(found *Registered) error {
	s.mu.Lock()
	_, known := s.histories[found.License]
	s.mu.Unlock()
	var what *happening
	if !known {
		what = &happening{At: s.now(), What: registered}
	}
	_, err := s.note(found.License, found.Account, what)
	return err
}

// Subscribers is the cache.Source of one such product. What it reads is here, so it is never slow; that messages
// of AWS come through is asked for where everything is read, so that age means what it does elsewhere.
type Subscribers struct {
	of   *Subscriptions
	name string // the configuration's key
	code string
}

var _ cache.Source = (*Subscribers)(nil)

// Subscribers is the source of one product, by the configuration's key.
func (s *Subscriptions) Subscribers(name string, product policy.Product) *Subscribers {
	return &Subscribers{s, name, product.Code}
}

// Licenses gives what the subject holds; with the zero subject everything.
func (s *Subscribers) Licenses(_ context.Context, subject policy.Subject) iter.Seq2[policy.License, error] {
	return func(yield func(policy.License, error) bool) {
		found, err := s.find(subject)
		for i := range found {
			if !yield(found[i], nil) {
				return
			}
		}
		if err != nil {
			yield(policy.License{}, fmt.Errorf("read subscriptions of product %s: %w", s.name, err))
		}
	}
}

// License gives one license; cache.ErrNotFound when nobody subscribes under that key.
func (s *Subscribers) License(_ context.Context, key policy.Key) (policy.License, error) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if l, ok := s.license(key, s.of.histories[key]); ok {
		return l, nil
	}
	return policy.License{}, fmt.Errorf("read subscription %s of product %s: %w", key, s.name, cache.ErrNotFound)
}

func (s *Subscribers) find(subject policy.Subject) (found []policy.License, err error) {
	if subject.Kind == policy.SubjectNone {
		err = s.of.heard()
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	var keys iter.Seq[policy.Key]
	switch subject.Kind {
	case policy.SubjectNone:
		keys = maps.Keys(s.of.histories)
	case policy.SubjectAccount:
		keys = slices.Values(s.of.accounts[subject.ID])
	case policy.SubjectCustomer:
		keys = slices.Values([]policy.Key{legacyKey(s.code, subject.ID)})
	case policy.SubjectLicense:
		keys = slices.Values([]policy.Key{policy.Key(subject.ID)})
	default:
		return nil, errors.New("AWS knows no " + subject.Kind.String())
	}
	for key := range keys {
		if l, ok := s.license(key, s.of.histories[key]); ok {
			found = append(found, l)
		}
	}
	return found, err
}

// license is what a subscriber holds; false: nothing, or nothing of this product.
func (s *Subscribers) license(key policy.Key, h history) (policy.License, bool) {
	customer, ours := strings.CutPrefix(string(key), s.code+"/")
	stands := h.stands()
	if !ours || !stands.active {
		return policy.License{}, false
	}
	return policy.License{Key: key, Product: s.name, Account: h.Account, Customer: customer, Starts: stands.at, Trial: h.trial()}, true
}
