package marketplace

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// maxHappenings is how many happenings of one subscriber are kept, the latest. AWS tells of a handful in a year.
const maxHappenings = 16

// What can happen to a subscription: what the subscription topic tells, in its own words, and what else is known of it.
const (
	subscribed = "subscribe-success"
	refused    = "subscribe-fail"
	leaving    = "unsubscribe-pending" // the end: metering goes on for an hour (AWS: unsubscribe-pending)
	left       = "unsubscribe-success"
	registered = "registered" // ResolveCustomer named the buyer
	restored   = "restored"   // the cache knew the buyer when the file was lost
	updated    = "entitlement-updated"
)

// What a message says of a free trial (AWS: isFreeTrialTermPresent, a text).
const (
	inTrial = "true"
	noTrial = "false"
)

// happening is one thing that happened to a subscription.
type happening struct {
	At    time.Time `json:"at"` // the event's own time
	What  string    `json:"what"`
	Offer string    `json:"offer,omitempty"`
	Trial string    `json:"trial,omitempty"` // inTrial, noTrial, or empty: nothing was said
}

// begins tells whether it begins a subscription, or goes on with it.
func (h *happening) begins() bool {
	return h.What == subscribed || h.What == registered || h.What == restored
}

// compare orders by time. Of what happened at one instant the end counts.
func (h happening) compare(other happening) int {
	end := func(h *happening) int {
		if h.begins() {
			return 0
		}
		return 1
	}
	return cmp.Or(h.At.Compare(other.At), cmp.Compare(end(&h), end(&other)), strings.Compare(h.What, other.What), strings.Compare(h.Offer, other.Offer))
}

// history is what is known of one subscriber. It depends on what happened, and not on the order in which weir heard of it.
type history struct {
	Account    string      `json:"account,omitempty"` // empty: he has not registered
	Happenings []happening `json:"happenings"`        // the latest, in order
}

// with is the history with one happening more, nil being none; false: it says nothing new.
func (h history) with(account string, what *happening) (next history, changed bool) {
	next = history{h.Account, slices.Clone(h.Happenings)}
	if account != "" && account != h.Account {
		next.Account, changed = account, true
	}
	if what == nil {
		return next, changed
	}
	at, known := slices.BinarySearchFunc(next.Happenings, *what, happening.compare)
	if known || at == 0 && len(next.Happenings) == maxHappenings {
		return next, changed
	}
	next.Happenings = slices.Insert(next.Happenings, at, *what)
	if len(next.Happenings) > maxHappenings {
		next.Happenings = slices.Delete(next.Happenings, 0, 1)
	}
	return next, true
}

// standing is how a subscriber stands: since when he subscribes, or when that ended.
type standing struct {
	active bool
	at     time.Time // zero: nothing is known of him
}

// stands works out how the subscriber stands.
func (h history) stands() (s standing) {
	offer := "" // of the subscription that holds; empty: not known
	for i := range h.Happenings {
		each := &h.Happenings[i]
		switch {
		case each.begins():
			if !s.active {
				s, offer = standing{true, each.At}, ""
			}
			offer = cmp.Or(each.Offer, offer)
		case each.What == refused && s.active && offer != "" && each.Offer != "" && each.Offer != offer:
			// another offer came to nothing: the subscription that there is goes on
		case s.active || s.at.IsZero():
			s = standing{false, each.At}
		}
	}
	return s
}

// trial is what was told of a free trial in the subscription that there is; nil: nothing.
func (h history) trial() (told *policy.Trial) {
	for i := range h.Happenings {
		switch each := &h.Happenings[i]; {
		case each.What == leaving, each.What == left:
			told = nil
		case each.Trial != "":
			told = &policy.Trial{Free: each.Trial == inTrial, Told: each.At}
		}
	}
	return told
}

// legacyKey is the key of a license that has no LicenseArn.
func legacyKey(code, customer string) policy.Key { return policy.Key(code + "/" + customer) }
