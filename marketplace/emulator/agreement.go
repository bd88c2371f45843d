package emulator

import "time"

// Agreements, as the Agreement API knows them. What happens to them is in agreements.go.

// maxAgreements bounds what renewals make; a reset begins anew.
const maxAgreements = 2 * maxLicenses

// What an agreement does at its end.
const (
	endRenew   = "RENEW"
	endReplace = "REPLACE"
	endExpire  = "EXPIRE"
)

// Why an agreement does not renew.
const (
	reasonProposer  = "PROPOSER_RENEW_OPTED_OUT"
	reasonAcceptor  = "ACCEPTOR_RENEW_OPTED_OUT"
	reasonNoTerm    = "NO_RENEWAL_TERM"
	reasonExhausted = "RENEWAL_LIMIT_EXHAUSTED"
)

func endReasons() []string {
	return []string{reasonProposer, reasonAcceptor, reasonNoTerm, reasonExhausted}
}

// Statuses of an agreement.
const (
	statusActive     = "ACTIVE"
	statusCancelled  = "CANCELLED"  // the buyer ended it
	statusExpired    = "EXPIRED"    // its date came
	statusRenewed    = "RENEWED"    // its license lives on under another agreement
	statusReplaced   = "REPLACED"   // another license took the place of its own
	statusTerminated = "TERMINATED" // AWS ended it
)

// agreement is what a buyer accepted: the dates and the status of a license.
type agreement struct {
	number      int // in order of creation
	id          string
	initial     string // the first agreement of the chain of renewals and replacements; its own id where it is the first
	previous    string // the agreement that this one renewed or replaced
	offer       string
	license     *license
	arn         string // of the license, once AWS has provisioned it
	accepted    time.Time
	starts      time.Time
	ends        time.Time // zero: none, as of pay as you go
	endBehavior string    // empty without an end
	endReason   string    // empty where it renews
	trial       string    // of a free trial its duration, such as P14D
	status      string
	updated     time.Time // to the millisecond
}

// newAgreement is an agreement accepted now that starts at once and is the first of its chain.
func newAgreement(l *license, now time.Time) *agreement {
	a := &agreement{
		id: newAgreementID(), offer: newOfferID(), license: l, accepted: wholeSecond(now), starts: wholeSecond(now), status: statusActive,
	}
	a.initial = a.id
	a.touch(now)
	return a
}

// successor is the agreement that follows another in its chain, for the same or another license.
func (a *agreement) successor(l *license, now time.Time) *agreement {
	next := newAgreement(l, now)
	next.initial, next.previous = a.initial, a.id
	return next
}

// endsAs takes the end of the agreement and what happens then.
func (a *agreement) endsAs(ends time.Time, behavior, reason string) {
	a.ends, a.endBehavior, a.endReason = ends, behavior, reason
}

// settle gives an agreement its last status.
func (a *agreement) settle(at time.Time, status string) {
	a.status = status
	a.touch(at)
}

// touch notes that something about the agreement changed.
func (a *agreement) touch(at time.Time) { a.updated = at.UTC().Truncate(time.Millisecond) }

// agreements is every agreement there was, with the ways to find one.
type agreements struct {
	all       []*agreement
	byID      map[string]*agreement
	byChain   map[string][]*agreement // by the id of its first
	byAccount map[string][]*agreement
	byLicense map[string][]*agreement // by LicenseArn
}

func newAgreements() agreements {
	return agreements{
		byID: map[string]*agreement{}, byChain: map[string][]*agreement{},
		byAccount: map[string][]*agreement{}, byLicense: map[string][]*agreement{},
	}
}

func (s *agreements) add(a *agreement) {
	a.number = len(s.all) + 1
	s.all = append(s.all, a)
	s.byID[a.id] = a
	s.byChain[a.initial] = append(s.byChain[a.initial], a)
	s.byAccount[a.license.account] = append(s.byAccount[a.license.account], a)
}

// provision lets an agreement show its license, if that has a name.
func (s *agreements) provision(a *agreement) {
	a.arn = a.license.arn
	if a.arn != "" {
		s.byLicense[a.arn] = append(s.byLicense[a.arn], a)
	}
}

func newAgreementID() string { return "agmt-" + randomText(25, lowerAlphanumeric) }
func newOfferID() string     { return "offer-" + randomText(13, lowerAlphanumeric) }
