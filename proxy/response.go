package proxy

import (
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
	if d.Allowed() {
		c.allow(d, now)
	} else {
		c.deny(d, now)
	}
	c.describe(d)
	return &c.reply
}

// allow says what the application and the client are told of a permission.
func (c *check) allow(d *policy.Decision, now time.Time) {
	a := &c.reply
	a.Headers = add(a.Headers, tenantHeader, d.Tenant)
	a.Headers = add(a.Headers, accountHeader, d.Account)
	a.Headers = add(a.Headers, licenseHeader, string(d.License))
	a.Headers = add(a.Headers, planHeader, d.Plan)
	a.Headers = add(a.Headers, decisionHeader, d.Annotation())
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
func (c *check) describe(d *policy.Decision) {
	decision := d.Annotation()
	if d.Allowed() && d.Mode == policy.Shadow {
		decision = d.Mode.String()
	}
	fields := c.reply.Metadata
	fields = add(fields, "tenant", d.Tenant)
	fields = add(fields, "account", d.Account)
	fields = add(fields, licenseField, string(d.License))
	fields = add(fields, "plan", d.Plan)
	fields = add(fields, routeField, d.Route)
	fields = add(fields, "decision", decision)
	fields = add(fields, "reason", d.Reason.String())
	fields = add(fields, checkField, c.token)
	c.reply.Metadata = fields
}

// add adds a field, unless it has no value.
func add(to []wire.Field, name, value string) []wire.Field {
	if value == "" {
		return to
	}
	return append(to, wire.Field{Name: name, Value: headerValue(value)})
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

// isPlain tells whether s is printable ASCII.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
