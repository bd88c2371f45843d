package cache

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/weirhq/weir/policy"
)

// Source reads what a product's buyers hold. A Source belongs to one product;
// nothing assumes one set of AWS credentials for all.
//
// Every call ends in bounded time, also where nothing answers.
//
// An error that ends a Licenses sequence makes the read incomplete: what came
// before it may be used, but nothing is concluded from what is absent.
type Source interface {
	// Licenses reads what the subject holds: an account, a customer, or, with the
	// zero Subject, everything (the sweep).
	Licenses(context.Context, policy.Subject) iter.Seq2[policy.License, error]
	// License reads one license; ErrNotFound when AWS knows no entitlements of it.
	License(context.Context, policy.Key) (policy.License, error)
}

// ErrNotFound is what Source.License returns for a license without entitlements.
var ErrNotFound = errors.New("no such license")

// Hint says that something may have changed; it is never the truth, it only causes
// a read. The more it names, the smaller the read.
type Hint struct {
	// Product is the configuration's key of the product, or empty when the event names none.
	Product string
	// License, Account and Customer are what the event named.
	License  policy.Key
	Account  string
	Customer string
	// At is the event's own time, zero if it has none.
	At time.Time
	// Ended tells that the event says the license has ended; a read has to agree.
	Ended bool
	// Repeated tells that it says again what a notification has said before, if none was lost: a license of which a read
	// that began after At showed a change, or the end, is not read once more.
	Repeated bool
	// Trial is what the event told of a free trial of all that the customer holds of the product; nil: nothing.
	Trial *policy.Trial
}
