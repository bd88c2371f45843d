package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Problem is the body of a denial (RFC 9457). It tells a buyer about that buyer's own license, and never about another.
type Problem struct {
	Type     string     `json:"type"`
	Title    string     `json:"title"`
	Status   int        `json:"status"`
	Detail   string     `json:"detail"`
	Reason   string     `json:"reason"`
	Feature  string     `json:"feature,omitempty"`
	Plan     string     `json:"plan,omitempty"`
	Plans    []string   `json:"plans,omitempty"`
	URL      string     `json:"url,omitempty"`
	Limit    *int64     `json:"limit,omitempty"`
	Used     *int64     `json:"used,omitempty"`
	ResetsAt *time.Time `json:"resetsAt,omitempty"`
}

// ProblemType is the content type of a Problem.
const ProblemType = "application/problem+json"

// JSON is the problem as bytes.
func (p *Problem) JSON() []byte {
	b, err := json.Marshal(p)
	if err != nil { // text, numbers and a time can't fail
		return []byte(`{"type":"urn:weir:reason:fault","title":"Internal error","status":503,"reason":"fault"}`)
	}
	return b
}

// Problem describes a denial to the buyer.
func (d *Decision) Problem() Problem {
	f := d.Reason.facts()
	p := Problem{
		Type: "urn:weir:reason:" + f.word, Title: f.title, Status: f.status,
		Detail: d.Detail(), Reason: f.word,
	}
	switch d.Reason {
	case LicenseMissing:
		p.Plans, p.URL = d.Plans, d.URL
	case LicenseExpired, LicenseEnded:
		p.Plan, p.URL = d.Plan, d.URL
	case FeatureMissing:
		p.Feature, p.Plan, p.Plans, p.URL = d.Feature, d.Plan, d.Plans, d.URL
	case QuotaExhausted:
		p.Feature, p.Plan, p.Plans, p.URL = d.Feature, d.Plan, d.Plans, d.URL
		limit, used := d.Quota.Terms.Included, d.Quota.Used
		p.Limit, p.Used = &limit, &used
		if end := d.Quota.End.UTC(); !d.Quota.End.IsZero() {
			p.ResetsAt = &end
		}
	}
	return p
}

// Detail is one sentence for the buyer; a gRPC caller gets it as the message.
func (d *Decision) Detail() string { //nolint:cyclop // a table: one sentence for each reason
	switch d.Reason {
	case HeadersTooMany:
		return fmt.Sprintf("The request has more than %d headers.", maxHeaders)
	case PathAmbiguous:
		return "The path of the request can be read in more than one way; send it in its plain form."
	case RouteUnmatched:
		return "Nothing is served at this path."
	case IdentityMissing:
		return "The request does not say, in a form that can be used, who is asking."
	case LicenseMissing:
		return "There is no active AWS Marketplace agreement for this product."
	case LicenseExpired:
		return "The AWS Marketplace agreement for this product has expired."
	case LicenseEnded:
		return "The AWS Marketplace agreement for this product has ended."
	case EntitlementsStale:
		return "It can't be confirmed at the moment what the agreement covers; try again shortly."
	case FeatureMissing:
		return fmt.Sprintf("The plan does not include %s, or not enough of it.", d.Feature)
	case QuantityInvalid:
		return "The request does not say in digits, once, how much it asks for."
	case QuotaExhausted:
		return fmt.Sprintf("The quantity of %s that the plan includes is used up.", d.Feature)
	case Allowed, Public:
		return "The request is allowed."
	default:
		return "The request could not be decided; try again shortly."
	}
}

// Annotation is the value of x-weir-decision.
func (d *Decision) Annotation() string {
	switch {
	case d.Effect == Deny:
		return "denied"
	case d.Mode == Shadow:
		return "shadow; reason=" + d.Reason.String()
	case d.Mode == Open:
		return "open; cause=" + d.Cause.String()
	default:
		return d.Reason.String()
	}
}

// RateLimit is the pair of headers RateLimit-Policy and RateLimit for a quota that
// is enforced; ok is false where there is none to show.
func (d *Decision) RateLimit(now time.Time) (policy, limit string, ok bool) {
	q := &d.Quota
	if d.Feature == "" || d.Mode == Shadow || q.Terms.Per == 0 || q.Terms.Then != ThenDeny || q.Terms.Included == Unlimited {
		return "", "", false
	}
	left := q.Terms.Included - q.Used - q.Held
	if !q.OK {
		left = 0 // with this request's need taken off, which did not fit
	}
	// On the path of every request with a quota: a text each is all that this allocates.
	var room [128]byte
	rule := appendNumber(appendQuoted(room[:0], d.Feature), ";q=", q.Terms.Included)
	if !q.End.IsZero() {
		rule = appendNumber(rule, ";w=", seconds(q.End.Sub(q.Start)))
	}
	policy = string(rule)
	rest := appendNumber(appendQuoted(room[:0], d.Feature), ";r=", max(left, 0))
	if !q.End.IsZero() {
		rest = appendNumber(rest, ";t=", max(seconds(q.End.Sub(now)), 0))
	}
	return policy, string(rest), true
}

// appendQuoted appends a name between quotes; none holds one.
func appendQuoted(to []byte, name string) []byte {
	return append(append(append(to, '"'), name...), '"')
}

// appendNumber appends a parameter.
func appendNumber(to []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(to, name...), n, 10)
}

// RetryAfter is after how many seconds a denied request may fit again; ok is false where that is not known.
func (d *Decision) RetryAfter(now time.Time) (s int64, ok bool) {
	switch {
	case d.Reason == EntitlementsStale:
		return 1, true
	case d.Reason != QuotaExhausted:
		return 0, false
	case d.Quota.Waiting:
		return 1, true
	case d.Quota.End.IsZero():
		return 0, false
	default:
		return max(seconds(d.Quota.End.Sub(now)), 1), true
	}
}

// seconds rounds up to whole seconds.
func seconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// describe adds to a denial what would allow it.
func (p *Policy) describe(d *Decision, rt *route) {
	switch d.Reason {
	case LicenseMissing, FeatureMissing:
		d.Plans = p.plansFor(rt, 0)
	case QuotaExhausted:
		d.Plans = p.plansFor(rt, d.Quota.Terms.Included+1)
	}
}

// plansFor are the plans on sale that allow a route, rank ascending: of a metered
// feature they include at least so many units, or bill what is beyond.
func (p *Policy) plansFor(rt *route, least int64) []string {
	var names []string
	for _, pl := range p.products[rt.product].sells {
		if _, ok := p.missing(rt, pl, nil); !ok {
			continue
		}
		if rt.meter != nil {
			g := &pl.grants[rt.meter.feature]
			if g.then == ThenDeny && g.included != Unlimited && g.included < least {
				continue
			}
		}
		names = append(names, pl.name)
	}
	return names
}

func (p *Policy) addURL(d *Decision) {
	if i, ok := p.productIndex[d.Product]; ok {
		d.URL = p.products[i].url
	}
}
