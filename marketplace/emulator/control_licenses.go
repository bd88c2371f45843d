package emulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Control calls about licenses and registration tokens.

const (
	maxEntitlements = 1000
	maxTokens       = 200_000
	maxNameLength   = 255
)

// licenseDocument is the body of POST /_control/licenses.
type licenseDocument struct {
	Product            string                `json:"product"`
	Account            string                `json:"account"`
	LicenseArn         string                `json:"licenseArn"`
	CustomerIdentifier string                `json:"customerIdentifier"`
	AgreementID        string                `json:"agreementId"`
	Starts             time.Time             `json:"starts"`
	Ends               time.Time             `json:"ends"`
	Status             string                `json:"status"`
	EndBehavior        string                `json:"endBehavior"`
	EndReason          string                `json:"endReason"`
	Entitlements       []entitlementDocument `json:"entitlements"`
	Trial              string                `json:"trial"` // a free trial of so many days, such as P14D
	Notify             *bool                 `json:"notify"`
}

// entitlementDocument is one entitlement in a control call.
type entitlementDocument struct {
	Dimension string    `json:"dimension"`
	Value     any       `json:"value"`
	Expires   time.Time `json:"expires"`
}

// licenseAnswer is what creating, replacing or changing a license answers.
type licenseAnswer struct {
	ID                 string `json:"id"`
	LicenseArn         string `json:"licenseArn"`
	CustomerIdentifier string `json:"customerIdentifier"`
	AgreementID        string `json:"agreementId"`
}

func answer(l *license) licenseAnswer { return licenseAnswer{l.id, l.arn, l.customer, l.agreement.id} }

func (e *Emulator) postLicense(c *controlCall) (any, error) {
	var document licenseDocument
	if err := c.read(&document); err != nil {
		return nil, err
	}
	notify, err := c.notify()
	if err != nil {
		return nil, err
	}
	if document.Notify != nil {
		notify = *document.Notify
	}
	l, err := e.draft(&document, c.now)
	if err != nil {
		return nil, err
	}
	e.begin(l, c.now, intentNew, notify)
	return answer(l), nil
}

// draft makes a license of a document, without bringing it into being.
func (e *Emulator) draft(d *licenseDocument, now time.Time) (*license, error) {
	p, ok := e.products[d.Product]
	if !ok {
		return nil, invalid("PUT /_control/products/"+clip(d.Product)+" first", "product %q does not exist", clip(d.Product))
	}
	if !digitsOnly(d.Account) || len(d.Account) != 12 {
		return nil, invalid(`give the buyer's 12 digits as text, such as "111122223333"`, "account is %q", clip(d.Account))
	}
	l := &license{
		product: p, account: d.Account, starts: wholeSecond(now), suspended: d.Status == "suspended",
	}
	if !d.Starts.IsZero() {
		l.starts = wholeSecond(d.Starts)
	}
	l.agreement = newAgreement(l, now)
	l.agreement.starts, l.agreement.trial = l.starts, d.Trial
	if err := readTrial(d.Trial); err != nil {
		return nil, err
	}
	if err := e.name(l, d); err != nil {
		return nil, err
	}
	if err := l.settleEnd(d); err != nil {
		return nil, err
	}
	list, err := l.read(d.Entitlements)
	l.entitlements = list
	return l, err
}

// name gives a license its identity: an ARN for concurrent agreements, a customer identifier for legacy ones.
func (e *Emulator) name(l *license, d *licenseDocument) error {
	if len(e.licenses.all) >= maxLicenses {
		return conflict("POST /_control/reset", "there are %d licenses already", maxLicenses)
	}
	if err := e.nameAgreement(l.agreement, d.AgreementID); err != nil {
		return err
	}
	if len(d.CustomerIdentifier) > maxNameLength || strings.ContainsAny(d.CustomerIdentifier, "/ \t\r\n") {
		return invalid("use at most 255 characters without slash and space", "customerIdentifier is %q", clip(d.CustomerIdentifier))
	}
	l.id, l.customer = newLicenseID(), d.CustomerIdentifier
	if l.product.Agreements == agreementsLegacy {
		return e.nameLegacy(l, d)
	}
	l.arn = licenseArn(l.id)
	if d.LicenseArn == "" {
		return nil
	}
	if !isLicenseArn(d.LicenseArn) {
		return invalid("use one such as "+l.arn, "licenseArn does not match %s", arnPattern)
	}
	if _, taken := e.licenses.byKey[d.LicenseArn]; taken {
		return conflict("leave it out, or use another", "a license %s exists already", clip(d.LicenseArn))
	}
	l.arn = d.LicenseArn
	id := l.arn[strings.LastIndex(l.arn, ":")+1:]
	if _, taken := e.licenses.byID[id]; !taken && !strings.Contains(id, "/") {
		l.id = id
	}
	return nil
}

// nameAgreement gives an agreement the id that was asked for.
func (e *Emulator) nameAgreement(a *agreement, id string) error {
	if id == "" {
		return nil
	}
	if len(id) > maxResourceID || !consists(id, resourceIDCharacters) {
		return invalid("use 1 to 64 letters, digits and _/-", "agreementId is %q", clip(id))
	}
	if _, taken := e.agreements.byID[id]; taken {
		return conflict("leave it out, or use another", "an agreement %s exists already", id)
	}
	a.id, a.initial = id, id
	return nil
}

func (e *Emulator) nameLegacy(l *license, d *licenseDocument) error {
	if d.LicenseArn != "" {
		return invalid("leave it out, or PUT the product with agreements concurrent", "a legacy product has no licenseArn")
	}
	if l.customer == "" {
		l.customer = orDefault(e.licenses.customers[l.account], newCustomerID())
	}
	if old, ok := e.licenses.byKey[l.key()]; ok && old.alive() {
		return conflict("cancel, expire or replace it first", "customer %s has a license of this product, and legacy agreements are one at a time", l.customer)
	}
	return nil
}

// settleEnd takes the end of the agreement, and what happens then.
func (l *license) settleEnd(d *licenseDocument) error {
	if d.Status != "" {
		if err := oneOf("status", d.Status, "active", "suspended"); err != nil {
			return err
		}
	}
	if d.EndBehavior != "" {
		if err := oneOf("endBehavior", d.EndBehavior, endRenew, endReplace, endExpire); err != nil {
			return err
		}
	}
	if d.Ends.IsZero() {
		if d.EndBehavior != "" || d.EndReason != "" {
			return invalid("give ends too, or leave endBehavior and endReason out", "endBehavior or endReason without ends")
		}
		return nil
	}
	reason, err := d.endReason()
	if err != nil {
		return err
	}
	l.agreement.endsAs(wholeSecond(d.Ends), orDefault(d.EndBehavior, endExpire), reason)
	if !l.agreement.ends.After(l.starts) {
		return invalid("give a later date", "ends is not after starts")
	}
	return nil
}

// endReason is why the agreement will not renew, where it will not.
func (d *licenseDocument) endReason() (string, error) {
	if d.EndBehavior == endRenew {
		if d.EndReason != "" {
			return "", invalid("leave it out, or use endBehavior EXPIRE", "endReason with endBehavior RENEW")
		}
		return "", nil
	}
	reason := orDefault(d.EndReason, reasonNoTerm)
	return reason, oneOf("endReason", reason, endReasons()...)
}

// read makes entitlements of documents, for this license.
func (l *license) read(documents []entitlementDocument) ([]entitlement, error) {
	if len(documents) > maxEntitlements {
		return nil, invalid(fmt.Sprintf("at most %d", maxEntitlements), "there are %d entitlements", len(documents))
	}
	if len(documents) > 0 && l.product.Model == modelSubscription {
		return nil, invalid("leave them out, or PUT the product with another model", "a subscription has no entitlements")
	}
	var list []entitlement
	seen := map[string]bool{}
	for i, d := range documents {
		if !l.product.sells(d.Dimension, typeEntitled) {
			return nil, invalid("add it to the product with type Entitled", "entitlements[%d]: product %s has no entitled dimension %q",
				i, l.product.Code, clip(d.Dimension))
		}
		if seen[d.Dimension] {
			return nil, invalid("list it once", "entitlements[%d]: dimension %q is there twice", i, clip(d.Dimension))
		}
		seen[d.Dimension] = true
		value, err := entitlementValue(d.Value)
		if err != nil {
			return nil, invalid("give an integer, a fraction, a boolean or a text", "entitlements[%d]: %v", i, err)
		}
		list = append(list, entitlement{dimension: d.Dimension, value: value, expires: d.Expires})
	}
	return l.setExpiry(list), nil
}

// onLicense makes a control call of a function that works on the living license which the path names.
func (e *Emulator) onLicense(serve func(c *controlCall, l *license, notify bool) (any, error)) controlFunc {
	return func(c *controlCall) (any, error) {
		name := c.r.PathValue("id")
		l, ok := e.licenses.find(name)
		if !ok {
			return nil, missing("use the id that creating it answered, its LicenseArn or <product code>/<customer identifier>, percent-encoded",
				"no license %q", clip(name))
		}
		if !l.alive() {
			return nil, conflict("create another", "license %s ended at %s (%s)", name, eventTime(l.ended), l.agreement.status)
		}
		notify, err := c.notify()
		if err != nil {
			return nil, err
		}
		return serve(c, l, notify)
	}
}

func (e *Emulator) putEntitlements(c *controlCall) (any, error) {
	return e.onLicense(func(c *controlCall, l *license, notify bool) (any, error) {
		var documents []entitlementDocument
		if err := c.read(&documents); err != nil {
			return nil, err
		}
		list, err := l.read(documents)
		if err != nil {
			return nil, err
		}
		e.amend(l, list, c.now, notify)
		return answer(l), nil
	})(c)
}

func (e *Emulator) postRenew(c *controlCall, l *license, notify bool) (any, error) {
	var document struct {
		Expires time.Time `json:"expires"`
	}
	if err := c.read(&document); err != nil {
		return nil, err
	}
	if !document.Expires.After(c.now) {
		return nil, invalid("give a later date", "expires is missing or not in the future")
	}
	if len(e.agreements.all) >= maxAgreements {
		return nil, conflict("POST /_control/reset", "there are %d agreements already", maxAgreements)
	}
	e.renew(l, wholeSecond(document.Expires), c.now, notify)
	return answer(l), nil
}

func (e *Emulator) postReplace(c *controlCall, l *license, notify bool) (any, error) {
	var document struct {
		Entitlements *[]entitlementDocument `json:"entitlements"`
	}
	if err := c.read(&document); err != nil {
		return nil, err
	}
	fresh := &license{
		id: newLicenseID(), product: l.product, account: l.account, customer: l.customer, starts: wholeSecond(c.now),
		suspended: l.suspended, entitlements: slices.Clone(l.entitlements),
	}
	fresh.agreement = l.agreement.successor(fresh, c.now)
	if l.agreement.ends.After(c.now) {
		fresh.agreement.endsAs(l.agreement.ends, l.agreement.endBehavior, l.agreement.endReason)
	}
	if l.arn != "" {
		fresh.arn = licenseArn(fresh.id)
	}
	if document.Entitlements != nil {
		list, err := fresh.read(*document.Entitlements)
		if err != nil {
			return nil, err
		}
		fresh.entitlements = list
	}
	if len(e.licenses.all) >= maxLicenses {
		return nil, conflict("POST /_control/reset", "there are %d licenses already", maxLicenses)
	}
	e.replace(l, fresh, c.now, notify)
	return answer(fresh), nil
}

func (e *Emulator) postCancel(c *controlCall, l *license, notify bool) (any, error) {
	return e.change(func(l *license, at time.Time, notify bool) { e.finish(l, at, statusCancelled, notify) })(c, l, notify)
}

// change makes a control call without a body of a change to a license.
func (e *Emulator) change(apply func(l *license, at time.Time, notify bool)) func(*controlCall, *license, bool) (any, error) {
	return func(c *controlCall, l *license, notify bool) (any, error) {
		var none struct{}
		if err := c.read(&none); err != nil {
			return nil, err
		}
		apply(l, c.now, notify)
		return answer(l), nil
	}
}

func (e *Emulator) postToken(c *controlCall) (any, error) {
	var document struct {
		Token   string    `json:"token"`
		License string    `json:"license"`
		Expires time.Time `json:"expires"`
	}
	if err := c.read(&document); err != nil {
		return nil, err
	}
	l, ok := e.licenses.find(document.License)
	if !ok {
		return nil, invalid("give the id, the LicenseArn or <product code>/<customer identifier> of one that exists",
			"license is %q", clip(document.License))
	}
	if len(e.tokens) >= maxTokens {
		return nil, &problem{http.StatusConflict, fmt.Sprintf("there are %d tokens already", maxTokens), "POST /_control/reset"}
	}
	expires := document.Expires
	if expires.IsZero() {
		expires = c.now.Add(tokenLifetime)
	}
	name := orDefault(document.Token, randomHex(32))
	e.tokens[name] = token{license: l, expires: expires}
	return object{"token": name}, nil
}
