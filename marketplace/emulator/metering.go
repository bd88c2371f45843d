package emulator

import (
	"time"
)

// BatchMeterUsage, with AWS's rules: aws-marketplace API reference, and the seller guide's "metering for usage".

const (
	statusSuccess       = "Success"
	statusDuplicate     = "DuplicateRecord"
	statusNotSubscribed = "CustomerNotSubscribed"
	// noteUnprocessed is how the records show one that AWS handed back.
	noteUnprocessed = "Unprocessed"

	// meteringWindow is how far back usage is taken; exactly 24 hours is too far (service model, UsageRecord).
	meteringWindow = 24 * time.Hour
	// monthGrace is how far into the 1st of a month, UTC, usage of the month before is taken.
	monthGrace = 6 * time.Hour
)

// batchMeterUsage takes a batch as a whole or refuses it as a whole; what it takes it settles record by record.
func (e *Emulator) batchMeterUsage(c *call) (object, error) {
	now := e.clock.now()
	if c.size >= maxMeteringBody {
		return nil, tooLargeError()
	}
	in := newInput(c.in)
	records, err := readUsage(in)
	code := in.text("ProductCode")
	if err == nil {
		err = e.admit(records, code, now)
	}
	if err == nil && len(e.ledger.billed)+len(records) > maxBilled {
		err = refuse(codeInternal, "the emulator holds %d billed hours: POST /_control/reset", maxBilled)
	}
	if err != nil {
		e.noteRefused(records, code, err, now)
		return nil, err
	}
	results, unprocessed := []object{}, []object{}
	for i, u := range records {
		if c.fault.passesOver(i, u.echo) {
			unprocessed = append(unprocessed, u.echo)
			e.noteRecord(u, code, record{Error: noteUnprocessed}, now)
			continue
		}
		results = append(results, e.meter(u, c.fault.deniesRepeat(u.echo), now))
	}
	return object{"Results": results, "UnprocessedRecords": unprocessed}, nil
}

// admit is nil when AWS would process the batch: every rule whose breach refuses all of it.
func (e *Emulator) admit(records []*usage, code string, now time.Time) error {
	batch := e.products[code]
	if code != "" && batch == nil {
		return refuse("InvalidProductCodeException", "The product code %s does not match a published product.", clip(code))
	}
	for _, u := range records {
		listing, err := e.attribute(u, code, batch)
		if err != nil {
			return err
		}
		if batch != nil && listing != batch {
			return refuse("InvalidLicenseException", "All records of a request must be for one product.")
		}
		batch = listing
		if err := checkTime(u, now); err != nil {
			return err
		}
		if !listing.sells(u.dimension, typeMetered) {
			return refuse("InvalidUsageDimensionException", "The usage dimension %s does not match one of the UsageDimensions "+
				"associated with products.", clip(u.dimension))
		}
	}
	return nil
}

// attribute finds the license and the product of a record.
func (e *Emulator) attribute(u *usage, code string, listing *product) (*product, error) {
	if u.account != "" && u.customer != "" {
		return nil, refuse("InvalidCustomerIdentifierException", "CustomerAWSAccountId and CustomerIdentifier are mutually exclusive.")
	}
	if u.account == "" && u.customer == "" {
		return nil, refuse("InvalidCustomerIdentifierException", "Each record must have a CustomerAWSAccountId or a CustomerIdentifier.")
	}
	if u.arn != "" {
		return e.attributeConcurrent(u, code)
	}
	if code == "" {
		return nil, refuse("InvalidProductCodeException", "ProductCode is required for records without LicenseArn.")
	}
	if listing.Agreements != agreementsLegacy {
		return nil, refuse("InvalidLicenseException", "LicenseArn is required: the product has concurrent agreements.")
	}
	return listing, e.attributeLegacy(u, listing)
}

func (e *Emulator) attributeConcurrent(u *usage, code string) (*product, error) {
	if code != "" {
		return nil, refuse("InvalidProductCodeException", "ProductCode must not be specified together with LicenseArn.")
	}
	if u.customer != "" {
		return nil, refuse("InvalidCustomerIdentifierException", "CustomerIdentifier is not supported together with LicenseArn: "+
			"use CustomerAWSAccountId.")
	}
	l, ok := e.licenses.byKey[u.arn]
	if !ok || l.account != u.account {
		return nil, refuse("InvalidLicenseException", "Ensure the LicenseArn is valid and matches the customer.")
	}
	u.license = l
	return l.product, nil
}

// attributeLegacy leaves the license of a customer without a subscription empty; only a CustomerIdentifier that does
// not exist anywhere refuses the batch.
func (e *Emulator) attributeLegacy(u *usage, listing *product) error {
	if u.customer == "" {
		u.license = latest(e.licenses.byAccount[listing.Code+"/"+u.account])
		return nil
	}
	if !e.licenses.identities[u.customer] {
		return refuse("InvalidCustomerIdentifierException", "You have metered usage for a CustomerIdentifier that does not exist.")
	}
	u.license = e.licenses.byKey[listing.Code+"/"+u.customer]
	return nil
}

// checkTime is nil when a record's timestamp can be metered at all, and lies inside its license's activation.
func checkTime(u *usage, now time.Time) error {
	if u.timestamp.After(now) || now.Sub(u.timestamp) >= meteringWindow || now.Sub(monthAfter(u.timestamp)) >= monthGrace {
		return refuse("TimestampOutOfBoundsException", "The timestamp %s is out of allowed range.", u.timestamp.Format(time.RFC3339))
	}
	l := u.license
	if l == nil {
		return nil
	}
	// After the final hour the record itself is answered CustomerNotSubscribed, whatever its time.
	afterEnd := l.inFinalHour(now) && u.timestamp.After(l.ended)
	if u.timestamp.Before(l.starts) || afterEnd {
		if l.arn == "" {
			return refuse("TimestampOutOfBoundsException", "The timestamp %s is outside of the customer's subscription.",
				u.timestamp.Format(time.RFC3339))
		}
		return refuse("InvalidLicenseException", "Ensure usage is within the license activation period.")
	}
	return nil
}

// monthAfter is the first instant of the month after t's.
func monthAfter(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
}

// meter settles one record: the first of its hour wins.
func (e *Emulator) meter(u *usage, denyRepeat bool, now time.Time) object {
	status, id := e.settleRecord(u, denyRepeat, now)
	e.noteRecord(u, "", record{ID: id, Status: status}, now)
	result := object{"UsageRecord": u.echo, "Status": status}
	addIfSet(result, "MeteringRecordId", id)
	return result
}

// settleRecord gives a record's status, and the id that AWS knows its hour by where the hour holds its quantity.
func (e *Emulator) settleRecord(u *usage, denyRepeat bool, now time.Time) (status, id string) {
	if u.license == nil || !u.license.subscribed(now) {
		return statusNotSubscribed, ""
	}
	first, taken := e.ledger.billed[u.hour()]
	if !taken {
		first = billed{id: newUUID(), quantity: u.quantity}
		e.ledger.billed[u.hour()] = first
	}
	if first.quantity != u.quantity || taken && denyRepeat {
		return statusDuplicate, ""
	}
	return statusSuccess, first.id
}

func (e *Emulator) noteRefused(records []*usage, code string, err error, now time.Time) {
	for _, u := range records {
		e.noteRecord(u, code, record{Error: errorCode(err)}, now)
	}
}

// noteRecord remembers a record with what became of it.
func (e *Emulator) noteRecord(u *usage, code string, r record, now time.Time) {
	r.License, r.Product = clip(u.arn), clip(code)
	if u.license != nil {
		r.License, r.Product = u.license.key(), u.license.product.Code
	} else if u.arn == "" && code != "" {
		r.License = clip(code + "/" + u.customer)
	}
	r.Customer = clip(u.account + u.customer)
	r.Dimension, r.Timestamp, r.Quantity = clip(u.dimension), wholeSecond(u.timestamp), u.quantity.number()
	r.ReceivedAt = wholeSecond(now)
	e.ledger.note(r)
}
