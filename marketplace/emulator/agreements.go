package emulator

import "time"

// What happens to an agreement, and what AWS tells about it. All of it with e.mu held; quiet changes tell nothing.

// begin brings a new license and its agreement into being.
func (e *Emulator) begin(l *license, at time.Time, intent string, notify bool) {
	e.licenses.add(l)
	e.agreements.add(l.agreement)
	e.scheduleEnd(l)
	if notify {
		e.emitCreated(l, at, intent)
	}
	if !l.starts.After(at) {
		e.provision(l, at, notify)
		return
	}
	e.schedule(l.starts, func(at time.Time) { // AWS provisions a future-dated agreement when it starts
		if l.alive() {
			l.agreement.touch(at)
			e.provision(l, at, notify)
		}
	})
}

// provision lets a license be used, and tells it.
func (e *Emulator) provision(l *license, at time.Time, notify bool) {
	e.agreements.provision(l.agreement)
	if notify {
		e.emitLicense(l, at, eventLicenseUpdated)
		e.noticeSubscribed(l, at)
	}
}

// scheduleEnd lets an agreement with an end expire by itself. One that renews or is replaced waits for the control
// call that says so: between its date and that call AWS still shows it.
func (e *Emulator) scheduleEnd(l *license) {
	a := l.agreement
	ends := a.ends
	if ends.IsZero() || a.endBehavior != endExpire {
		return
	}
	e.schedule(ends, func(at time.Time) {
		if l.alive() && l.agreement == a && a.ends.Equal(ends) {
			e.finish(l, at, statusExpired, true)
		}
	})
}

// finish ends an agreement that was cancelled or has expired.
func (e *Emulator) finish(l *license, at time.Time, status string, notify bool) {
	l.end(at, status)
	if notify {
		e.emitEnded(l, at, status)
		e.emitLicense(l, at, eventDeprovisioned)
		e.noticeUnsubscribed(l, at)
	}
}

// amend changes what a license holds.
func (e *Emulator) amend(l *license, list []entitlement, at time.Time, notify bool) {
	l.setEntitlements(list)
	l.agreement.touch(at)
	if notify {
		e.emitAmended(l, at)
		e.emitLicense(l, at, eventLicenseUpdated)
		e.noticeEntitlements(l, at)
	}
}

// renew prolongs a license under a new agreement.
func (e *Emulator) renew(l *license, expires, at time.Time, notify bool) {
	old := l.agreement
	old.settle(at, statusRenewed)
	l.agreement = old.successor(l, at)
	l.agreement.endsAs(old.ends, old.endBehavior, old.endReason)
	l.expireBy(expires)
	e.agreements.add(l.agreement)
	if old.arn != "" {
		e.agreements.provision(l.agreement)
	}
	e.scheduleEnd(l)
	if notify {
		e.emitCreated(l, at, intentRenew)
		e.emitLicense(l, at, eventLicenseUpdated)
		if len(l.entitlements) > 0 {
			e.noticeEntitlements(l, at)
		}
	}
}

// replace ends a license in favour of a new one of the same buyer. The topics tell of the new one only: a buyer who
// has subscribed again is never said to have unsubscribed.
func (e *Emulator) replace(old, fresh *license, at time.Time, notify bool) {
	old.end(at, statusReplaced)
	e.begin(fresh, at, intentReplace, notify)
	if notify {
		e.emitLicense(old, at, eventDeprovisioned)
	}
}

// expire makes the date of a license now, and ends it.
func (e *Emulator) expire(l *license, at time.Time, notify bool) {
	l.expireBy(wholeSecond(at))
	e.finish(l, at, statusExpired, notify)
}

// deprovision is AWS taking a license away. Of its agreement no event tells, only the Agreement API.
func (e *Emulator) deprovision(l *license, at time.Time, notify bool) {
	l.end(at, statusTerminated)
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
