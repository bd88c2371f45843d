package proxy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weirhq/weir/policy"
)

// The headers that weir sets.
const (
	tenantHeader   = "x-weir-tenant"
	accountHeader  = "x-weir-account"
	licenseHeader  = "x-weir-license"
	planHeader     = "x-weir-plan"
	decisionHeader = "x-weir-decision"
	reasonHeader   = "x-weir-reason" // to gRPC callers, of a denial
)

// The fields of the dynamic metadata by which an access log entry is tied to its check.
const (
	checkField   = "check" // the token of BILLING B04
	licenseField = "license"
	routeField   = "route"
)

// response makes every answer to a check. Envoy looks at the status code alone, and an
// answer without one allows, so this is the only place that makes one. Now is AWS time.
func response(c *check, d *policy.Decision, now time.Time) *authv3.CheckResponse {
	if !d.Allowed() && d.Reason.GRPC() == 0 {
		d = &policy.Decision{} // a denial with the reason of a permission is a fault
	}
	out := &authv3.CheckResponse{DynamicMetadata: dynamicMetadata(c, d)}
	if d.Allowed() {
		out.Status = &status.Status{}
		out.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: allowance(c, d, now)}
		return out
	}
	out.Status = &status.Status{Code: int32(d.Reason.GRPC())}
	out.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: denial(c, d, now)}
	return out
}

// allowance is what the application and the client are told of a permission.
func allowance(c *check, d *policy.Decision, now time.Time) *authv3.OkHttpResponse {
	set := headers{}
	set.add(tenantHeader, d.Tenant)
	set.add(accountHeader, d.Account)
	set.add(licenseHeader, string(d.License))
	set.add(planHeader, d.Plan)
	set.add(decisionHeader, d.Annotation())
	toClient := headers{}
	toClient.addQuota(d, now)
	return &authv3.OkHttpResponse{
		Headers: set, ResponseHeadersToAdd: toClient, HeadersToRemove: unset(c.spoofed, set),
	}
}

// unset are the client's headers in weir's name that weir does not overwrite: Envoy
// removes after it has set, so one that is set must not be listed.
func unset(spoofed []string, set headers) []string {
	var names []string
	for _, name := range spoofed {
		isSet := slices.ContainsFunc(set, func(h *corev3.HeaderValueOption) bool {
			return strings.EqualFold(h.GetHeader().GetKey(), name)
		})
		if !isSet {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// denial is what the client is told of a refusal. Envoy turns the body into
// grpc-message for a gRPC client, so there it is one line for people; and
// the content type is left to Envoy, which would add weir's to its own.
func denial(c *check, d *policy.Decision, now time.Time) *authv3.DeniedHttpResponse {
	problem := d.Problem()
	out := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(problem.Status)}}
	set := headers{}
	if c.grpc {
		out.Body = headerValue(problem.Detail)
		set.add("grpc-status", strconv.Itoa(d.Reason.GRPC()))
		set.add(reasonHeader, problem.Reason)
	} else {
		out.Body = string(problem.JSON())
		set.add("content-type", policy.ProblemType)
	}
	if s, ok := d.RetryAfter(now); ok {
		set.add("retry-after", strconv.FormatInt(s, 10))
	}
	set.addQuota(d, now)
	out.Headers = set
	return out
}

// dynamicMetadata is what the access log, and Envoy's other filters, can read of a
// decision. Envoy takes it over from denials as well, which are given no token.
func dynamicMetadata(c *check, d *policy.Decision) *structpb.Struct {
	decision := d.Annotation()
	if d.Allowed() && d.Mode == policy.Shadow {
		decision = d.Mode.String()
	}
	fields := make(map[string]*structpb.Value, 8)
	for _, f := range [...]struct{ name, value string }{
		{"tenant", d.Tenant},
		{"account", d.Account},
		{licenseField, string(d.License)},
		{"plan", d.Plan},
		{routeField, d.Route},
		{"decision", decision},
		{"reason", d.Reason.String()},
		{checkField, c.token},
	} {
		if f.value != "" {
			fields[f.name] = structpb.NewStringValue(headerValue(f.value))
		}
	}
	return &structpb.Struct{Fields: fields}
}

// headers are header fields as Envoy wants them: with no append action, because it
// drops a denial's header that has one (Envoy: DeniedHttpResponse.headers).
type headers []*corev3.HeaderValueOption

// add adds a header, unless it has no value.
func (h *headers) add(name, value string) {
	if value == "" {
		return
	}
	*h = append(*h, &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: headerValue(value)},
	})
}

// addQuota adds the state of a quota that is enforced.
func (h *headers) addQuota(d *policy.Decision, now time.Time) {
	if rule, left, ok := d.RateLimit(now); ok {
		h.add("ratelimit-policy", rule)
		h.add("ratelimit", left)
	}
}

// headerValue makes text fit for a header: Envoy passes CR and LF on as they are, which
// would let a value begin a header of its own. What is no UTF-8, which could not be sent
// at all, becomes U+FFFD. The common case copies nothing.
func headerValue(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
