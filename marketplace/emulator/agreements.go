package emulator

import "time"

// What happens to an agreement, and what AWS emits about it. All of it with e.mu held; quiet changes emit nothing.

// begin brings a new license into being.
func (e *Emulator) begin(l *license, at time.Time, intent string, notify bool) {
	e.licenses.add(l)
	e.scheduleEnd(l)
	if !notify {
		return
	}
	e.emitCreated(l, at, intent)
	if !l.starts.After(at) {
		e.emitLicense(l, at, eventLicenseUpdated)
		return
	}
	e.schedule(l.starts, func(at time.Time) { // AWS provisions a future-dated agreement when it starts
		if l.alive() {
			e.emitLicense(l, at, eventLicenseUpdated)
		}
	})
}

// scheduleEnd lets an agreement with an end expire by itself. One that renews or is replaced waits for the control
// call that says so: between its date and that call AWS still shows it.
func (e *Emulator) scheduleEnd(l *license) {
	ends := l.ends
	if ends.IsZero() || l.endBehavior != endExpire {
		return
	}
	e.schedule(ends, func(at time.Time) {
		if l.alive() && l.ends.Equal(ends) {
			e.finish(l, at, endedExpired, true)
		}
	})
}

// finish ends an agreement that was cancelled or has expired.
func (e *Emulator) finish(l *license, at time.Time, status string, notify bool) {
	l.end(at, status)
	if notify {
		e.emitEnded(l, at, status)
		e.emitLicense(l, at, eventDeprovisioned)
	}
}

// amend changes what a license holds.
func (e *Emulator) amend(l *license, list []entitlement, at time.Time, notify bool) {
	l.setEntitlements(list)
	if notify {
		e.emitAmended(l, at)
		e.emitLicense(l, at, eventLicenseUpdated)
	}
}

// renew prolongs a license under a new agreement.
func (e *Emulator) renew(l *license, expires, at time.Time, notify bool) {
	l.previous, l.agreement = l.agreement, newAgreementID()
	l.accepted = wholeSecond(at)
	l.expireBy(expires)
	e.scheduleEnd(l)
	if notify {
		e.emitCreated(l, at, intentRenew)
		e.emitLicense(l, at, eventLicenseUpdated)
	}
}

// replace ends a license in favour of a new one of the same buyer.
func (e *Emulator) replace(old, fresh *license, at time.Time, notify bool) {
	old.end(at, endedReplaced)
	e.begin(fresh, at, intentReplace, notify)
	if notify {
		e.emitLicense(old, at, eventDeprovisioned)
	}
}

// expire makes the date of a license now, and ends it.
func (e *Emulator) expire(l *license, at time.Time, notify bool) {
	l.expireBy(wholeSecond(at))
	e.finish(l, at, endedExpired, notify)
}

// deprovision takes a license away without a word about its agreement.
func (e *Emulator) deprovision(l *license, at time.Time, notify bool) {
	l.end(at, endedDeprovisioned)
	if notify {
		e.emitLicense(l, at, eventDeprovisioned)
	}
}

// suspend and resume are AWS's advisories: metering answers CustomerNotSubscribed in between.
func (e *Emulator) suspend(l *license, at time.Time, notify bool) {
	l.suspended = true
	if notify {
		e.emitAdvisory(l, at, eventAdvisoryOpen, "issuedAt")
	}
}

func (e *Emulator) resume(l *license, at time.Time, notify bool) {
	l.suspended = false
	if notify {
		e.emitAdvisory(l, at, eventAdvisoryClosed, "resolvedAt")
	}
}
