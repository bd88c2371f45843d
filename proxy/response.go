package proxy

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
	"github.com/weirhq/weir/proxy/wire"
)

// The headers that weir sets.
const (
	tenantHeader   = "x-weir-tenant"
	accountHeader  = "x-weir-account"
	licenseHeader  = "x-weir-license"
	planHeader     = "x-weir-plan"
	decisionHeader = "x-weir-decision"
	reasonHeader   = "x-weir-reason" // of a denial, to gRPC callers and nginx
)

// The fields of the dynamic metadata by which an access log entry is tied to its check.
const (
	checkField   = "check" // the token of BILLING B04
	licenseField = "license"
	routeField   = "route"
)

// answer makes every answer to a check. Envoy looks at the status code alone, and an
// answer without one allows, so this is the only place that makes one. It is good
// as long as the check. Now is AWS time.
func (c *check) answer(d *policy.Decision, now time.Time) *wire.Answer {
	if !d.Allowed() && d.Reason.GRPC() == 0 {
		d = &policy.Decision{} // a denial with the reason of a permission is a fault
	}
	c.reply.Allowed = d.Allowed()
	said := tell(d)
	if d.Allowed() {
		c.allow(d, &said, now)
	} else {
		c.deny(d, now)
	}
	c.describe(d, &said)
	return &c.reply
}

// told is what is said of a decision in two places, to the application and to the access
// log. Its values are fit for a header, which is seen to here once.
type told struct{ tenant, account, license, plan, decision string }

func tell(d *policy.Decision) told {
	return told{
		headerValue(d.Tenant), headerValue(d.Account), headerValue(string(d.License)), headerValue(d.Plan), headerValue(d.Annotation()),
	}
}

// allow says what the application and the client are told of a permission.
func (c *check) allow(d *policy.Decision, said *told, now time.Time) {
	a := &c.reply
	a.Headers = addFit(a.Headers, tenantHeader, said.tenant)
	a.Headers = addFit(a.Headers, accountHeader, said.account)
	a.Headers = addFit(a.Headers, licenseHeader, said.license)
	a.Headers = addFit(a.Headers, planHeader, said.plan)
	a.Headers = addFit(a.Headers, decisionHeader, said.decision)
	a.ResponseHeaders = addQuota(a.ResponseHeaders, d, now)
	a.Remove = unset(a.Remove, c.spoofed, a.Headers)
}

// unset appends the client's headers in weir's name that weir does not overwrite: Envoy
// removes after it has set, so one that is set must not be listed.
func unset(names, spoofed []string, set []wire.Field) []string {
	for _, name := range spoofed {
		isSet := slices.ContainsFunc(set, func(h wire.Field) bool { return strings.EqualFold(h.Name, name) })
		if !isSet {
			names = append(names, headerValue(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// deny says what the client is told of a refusal. Envoy turns the body into
// grpc-message for a gRPC client, so there it is one line for people; and
// the content type is left to Envoy, which would add weir's to its own.
func (c *check) deny(d *policy.Decision, now time.Time) {
	problem, a := d.Problem(), &c.reply
	a.Code, a.Status = int32(d.Reason.GRPC()), int32(problem.Status)
	if c.grpc {
		a.Body = headerValue(problem.Detail)
		a.Headers = add(a.Headers, "grpc-status", strconv.Itoa(d.Reason.GRPC()))
	} else {
		a.Body = string(problem.JSON())
		a.Headers = add(a.Headers, "content-type", policy.ProblemType)
	}
	if c.grpc || c.bodyless {
		a.Headers = add(a.Headers, reasonHeader, problem.Reason)
	}
	if s, ok := d.RetryAfter(now); ok {
		a.Headers = add(a.Headers, "retry-after", strconv.FormatInt(s, 10))
	}
	a.Headers = addQuota(a.Headers, d, now)
}

// describe says what the access log, and Envoy's other filters, can read of a decision
// in the dynamic metadata. Envoy takes it over from denials as well, which are given no token.
func (c *check) describe(d *policy.Decision, said *told) {
	decision := said.decision
	if d.Allowed() && d.Mode == policy.Shadow {
		decision = d.Mode.String()
	}
	fields := c.reply.Metadata
	fields = addFit(fields, "tenant", said.tenant)
	fields = addFit(fields, "account", said.account)
	fields = addFit(fields, licenseField, said.license)
	fields = addFit(fields, "plan", said.plan)
	fields = add(fields, routeField, d.Route)
	fields = add(fields, "decision", decision)
	fields = add(fields, "reason", d.Reason.String())
	fields = add(fields, checkField, c.token)
	c.reply.Metadata = fields
}

// add adds a field, unless it has no value.
func add(to []wire.Field, name, value string) []wire.Field {
	return addFit(to, name, headerValue(value))
}

// addFit is add for a value that is fit for a header.
func addFit(to []wire.Field, name, value string) []wire.Field {
	if value == "" {
		return to
	}
	return append(to, wire.Field{Name: name, Value: value})
}

// addQuota adds the state of a quota that is enforced.
func addQuota(to []wire.Field, d *policy.Decision, now time.Time) []wire.Field {
	rule, left, ok := d.RateLimit(now)
	if !ok {
		return to
	}
	return add(add(to, "ratelimit-policy", rule), "ratelimit", left)
}

// headerValue makes text fit for a header: Envoy passes CR and LF on as they are, which
// would let a value begin a header of its own. What is no UTF-8, which could not be sent
// at all, becomes U+FFFD. The common case is looked over once and copies nothing.
func headerValue(s string) string {
	if isPlain(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// isPlain tells whether s is printable ASCII. Of a text it looks at eight bytes at once, the
// last eight of it a second time in part.
func isPlain(s string) bool {
	const word = 8
	if len(s) < word {
		for i := range len(s) {
			if s[i] < ' ' || s[i] >= 0x7f {
				return false
			}
		}
		return true
	}
	for i := 0; i < len(s)-word; i += word {
		if !plainWord(binary.LittleEndian.Uint64([]byte(s[i : i+word]))) {
			return false
		}
	}
	return plainWord(binary.LittleEndian.Uint64([]byte(s[len(s)-word:])))
}

// plainWord tells whether each of eight bytes is printable ASCII, that is 0x20 to 0x7e.
func plainWord(w uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	low := ^((w | high) - ' '*each)   // the high bit of a byte: it is below 0x20, if it is ASCII
	return (w|(w+each)|low)&high == 0 // and: it is no ASCII, or is one above 0x7e
}
