package policy

// reasonFacts is what a reason means to callers.
type reasonFacts struct {
	word   string
	title  string
	status int // HTTP
	grpc   int // gRPC status code
}

// gRPC status codes (google.rpc.Code) that decisions use.
const (
	grpcOK                = 0
	grpcInvalidArgument   = 3
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16
)

// facts are those of every reason. 402 and 403 are PERMISSION_DENIED to gRPC
// callers: the call is understood and refused, and repeating it does not help.
func (r Reason) facts() reasonFacts { //nolint:cyclop // a table: one line for each reason
	switch r {
	case HeadersTooMany:
		return reasonFacts{"headers_too_many", "Too many request headers", 431, grpcResourceExhausted}
	case PathAmbiguous:
		return reasonFacts{"path_ambiguous", "The path can be read in more than one way", 400, grpcInvalidArgument}
	case RouteUnmatched:
		return reasonFacts{"route_unmatched", "Nothing is served at this path", 403, grpcPermissionDenied}
	case Public:
		return reasonFacts{"public", "Public", 200, grpcOK}
	case IdentityMissing:
		return reasonFacts{"identity_missing", "The caller is not known", 401, grpcUnauthenticated}
	case LicenseMissing:
		return reasonFacts{"license_missing", "No agreement", 402, grpcPermissionDenied}
	case LicenseExpired:
		return reasonFacts{"license_expired", "The agreement has expired", 402, grpcPermissionDenied}
	case LicenseEnded:
		return reasonFacts{"license_ended", "The agreement has ended", 402, grpcPermissionDenied}
	case EntitlementsStale:
		return reasonFacts{"entitlements_stale", "Entitlements can't be confirmed", 503, grpcUnavailable}
	case FeatureMissing:
		return reasonFacts{"feature_missing", "Not part of the plan", 403, grpcPermissionDenied}
	case QuantityInvalid:
		return reasonFacts{"quantity_invalid", "The quantity can't be read", 400, grpcInvalidArgument}
	case QuotaExhausted:
		return reasonFacts{"quota_exhausted", "The included quantity is used up", 429, grpcResourceExhausted}
	case Allowed:
		return reasonFacts{"allowed", "Allowed", 200, grpcOK}
	default:
		return reasonFacts{"fault", "Internal error", 503, grpcUnavailable}
	}
}

// String is the reason as headers, bodies and metrics spell it.
func (r Reason) String() string { return r.facts().word }

// Status is the HTTP status of an answer with this reason.
func (r Reason) Status() int { return r.facts().status }

// GRPC is the gRPC status code that a gRPC caller sees.
func (r Reason) GRPC() int { return r.facts().grpc }

// Reasons are all reasons, for metrics.
func Reasons() []Reason {
	all := make([]Reason, reasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}
