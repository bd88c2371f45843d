package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// finalHour is how long usage of an ended license is still taken (AWS: one hour after unsubscribe-pending or
	// License Deprovisioned).
	finalHour = time.Hour
	// maxLicenses bounds what is kept; a reset begins anew.
	maxLicenses = 200_000
)

// license is what one buyer's agreement for one product entitles to.
type license struct {
	number       int // in order of creation
	id           string
	arn          string // empty for legacy agreements
	product      *product
	account      string
	customer     string     // CustomerIdentifier; empty where AWS leaves it unpopulated
	agreement    *agreement // the latest; a renewal puts the license under another
	starts       time.Time
	suspended    bool
	ended        time.Time // zero while it lives
	entitlements []entitlement
}

// entitlement is a dimension and its value inside a license.
type entitlement struct {
	dimension string
	value     object // EntitlementValue with exactly one member
	expires   time.Time
}

// key names the license everywhere: its LicenseArn, or product code and customer identifier.
func (l *license) key() string {
	if l.arn != "" {
		return l.arn
	}
	return l.product.Code + "/" + l.customer
}

func (l *license) alive() bool { return l.ended.IsZero() }

// provisioned is true while GetEntitlements shows the license.
func (l *license) provisioned(now time.Time) bool { return l.alive() && !now.Before(l.starts) }

// inFinalHour is true after the end, while usage from before it is still taken.
func (l *license) inFinalHour(now time.Time) bool {
	return !l.alive() && now.Before(l.ended.Add(finalHour))
}

// subscribed is true while usage of the license is taken.
func (l *license) subscribed(now time.Time) bool {
	return !l.suspended && (l.alive() || l.inFinalHour(now))
}

// licenses is every license ever created, with the ways to find one. Ended ones stay: they answer for an hour,
// and the control API names them.
type licenses struct {
	all        []*license
	byID       map[string]*license
	byKey      map[string]*license   // the latest of that key
	byProduct  map[string][]*license // in order of creation
	byAccount  map[string][]*license // of "<product code>/<account>", in order of creation
	customers  map[string]string     // account -> CustomerIdentifier, the same in all legacy products
	identities map[string]bool       // every CustomerIdentifier there is
}

func newLicenses() licenses {
	return licenses{
		byID: map[string]*license{}, byKey: map[string]*license{}, byProduct: map[string][]*license{},
		byAccount: map[string][]*license{}, customers: map[string]string{}, identities: map[string]bool{},
	}
}

func (s *licenses) add(l *license) {
	l.number = len(s.all) + 1
	s.all = append(s.all, l)
	s.byID[l.id] = l
	s.byKey[l.key()] = l
	s.byProduct[l.product.Code] = append(s.byProduct[l.product.Code], l)
	held := l.product.Code + "/" + l.account
	s.byAccount[held] = append(s.byAccount[held], l)
	if l.customer != "" {
		s.customers[l.account] = l.customer
		s.identities[l.customer] = true
	}
}

// find takes the id that creating a license answered, its LicenseArn, or <product code>/<customer identifier>.
func (s *licenses) find(name string) (*license, bool) {
	if l, ok := s.byID[name]; ok {
		return l, true
	}
	l, ok := s.byKey[name]
	return l, ok
}

// end ends a license and its agreement: no entitlements from now, usage for one more hour.
func (l *license) end(at time.Time, status string) {
	l.ended = wholeSecond(at)
	l.agreement.settle(at, status)
}

// expireBy moves the end of the agreement, if it has one, and the dates of all entitlements.
func (l *license) expireBy(at time.Time) {
	if !l.agreement.ends.IsZero() {
		l.agreement.ends = at
	}
	for i := range l.entitlements {
		l.entitlements[i].expires = at
	}
}

// defaultExpiry is the date of an entitlement that was given none: the agreement's end, else a year from its start.
func (l *license) defaultExpiry() time.Time {
	if !l.agreement.ends.IsZero() {
		return l.agreement.ends
	}
	return l.starts.AddDate(1, 0, 0)
}

// entitlementValue makes AWS's EntitlementValue of a JSON value: an integer, a fraction, a boolean or a text.
func entitlementValue(raw any) (object, error) {
	switch v := raw.(type) {
	case string:
		return object{"StringValue": v}, nil
	case bool:
		return object{"BooleanValue": v}, nil
	case json.Number:
		return numberValue(v)
	}
	return nil, fmt.Errorf("the value is %T: give an integer, a fraction, a boolean or a text", raw)
}

func numberValue(n json.Number) (object, error) {
	if strings.ContainsAny(n.String(), ".eE") {
		f, err := n.Float64()
		if err != nil {
			return nil, fmt.Errorf("the value %s is no number that fits a double", n)
		}
		return object{"DoubleValue": f}, nil
	}
	i, err := n.Int64()
	if err != nil || i > maxWhole || i < -maxWhole-1 {
		return nil, fmt.Errorf("the value %s does not fit IntegerValue, which has 32 bits", n)
	}
	return object{"IntegerValue": int(i)}, nil
}

func newLicenseID() string  { return "l-" + randomHex(16) }
func newProductID() string  { return "prod-" + randomText(13, lowerAlphanumeric) }
func newCustomerID() string { return randomText(11, upperAlphanumeric) }

// licenseArn is the ARN of a license that AWS Marketplace issues.
func licenseArn(id string) string {
	return "arn:aws:license-manager::" + sellerAccount + ":license:" + id
}

const arnPattern = `^arn:aws[a-zA-Z-]*:[A-Za-z0-9][A-Za-z0-9_/.-]{0,62}:[A-Za-z0-9_/.-]{0,63}:[A-Za-z0-9_/.-]{0,63}:` +
	`[A-Za-z0-9][A-Za-z0-9:_/+=,@.-]{0,1023}$`

// isLicenseArn matches arnPattern, which Go's regular expressions can't repeat often enough for.
func isLicenseArn(s string) bool {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") {
		return false
	}
	partition, resource := strings.TrimPrefix(parts[1], "aws"), parts[5]
	if strings.ContainsAny(partition, "0123456789") || !consists(partition, "-") {
		return false
	}
	for _, part := range parts[2:5] {
		if len(part) > 63 || !consists(part, "_/.-") {
			return false
		}
	}
	return beginsAlphanumeric(parts[2]) && beginsAlphanumeric(resource) && len(resource) <= 1024 && consists(resource, ":_/+=,@.-")
}

func beginsAlphanumeric(s string) bool { return s != "" && isAlphanumeric(rune(s[0])) }

// latest is the license of a list that counts: the last that lives, else the last.
func latest(list []*license) *license {
	for _, l := range slices.Backward(list) {
		if l.alive() {
			return l
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[len(list)-1]
}
