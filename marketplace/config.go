package marketplace

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/weirhq/weir/policy"
)

// Config is the section aws of the configuration. Credentials come from the AWS
// SDK's standard chain: environment, shared files, web identity, container, instance.
type Config struct {
	// Region is where usage is metered. It is pinned: AWS de-duplicates usage records per region.
	Region string `yaml:"region"`
	// RoleARN is the IAM role that is assumed; none when left out.
	RoleARN string `yaml:"roleArn"`
	// ExternalID is the external id that the role's trust policy asks for.
	ExternalID string `yaml:"externalId"`
	// Endpoint is one URL for every AWS service, such as the emulator's; AWS itself when left out.
	Endpoint string `yaml:"endpoint"`
}

// DefaultConfig is the section of a file that says nothing.
func DefaultConfig() Config { return Config{Region: "us-east-1"} }

// entitlementRegion is the only region that serves GetEntitlements, wherever usage
// is metered (AWS: Marketplace Entitlement Service endpoints and quotas).
const entitlementRegion = "us-east-1"

// meteringRegions are those that serve BatchMeterUsage and ResolveCustomer for SaaS
// (AWS: Marketplace Metering Service, supported regions). AWS in China is left out: it has
// accounts, listings and an entitlement service of its own.
func meteringRegions() []string {
	return []string{
		"af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
		"ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ca-central-1", "eu-central-1",
		"eu-central-2", "eu-north-1", "eu-south-1", "eu-west-1", "eu-west-2", "eu-west-3", "eu-south-2", "il-central-1",
		"me-central-1", "me-south-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
	}
}

// AWS: IAM role ARNs; AssumeRole, ExternalId.
var (
	roleARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$`)
	externalID = regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]+$`)
)

// Validate tells every mistake in the section at once.
func (c Config) Validate() []*policy.FieldError {
	var errs []*policy.FieldError
	mistake := func(key, msg, hint string) {
		errs = append(errs, &policy.FieldError{Path: []string{"aws", key}, Msg: msg, Hint: hint})
	}
	if !slices.Contains(meteringRegions(), c.Region) {
		mistake("region", "usage can't be metered in region "+strconv.Quote(c.Region), "a region that serves BatchMeterUsage, such as us-east-1 or eu-central-1")
	}
	if c.RoleARN != "" && !roleARN.MatchString(c.RoleARN) {
		mistake("roleArn", strconv.Quote(c.RoleARN)+" is not the ARN of an IAM role", "arn:aws:iam::111122223333:role/weir")
	}
	switch {
	case c.ExternalID == "":
	case c.RoleARN == "":
		mistake("externalId", "an external id is of no use without a role", "set roleArn, or remove externalId")
	case len(c.ExternalID) < 2 || len(c.ExternalID) > 1224 || !externalID.MatchString(c.ExternalID):
		mistake("externalId", "not an external id", "2 to 1224 of letters, digits and _+=,.@:/-")
	}
	if msg := endpointMistake(c.Endpoint); msg != "" {
		mistake("endpoint", msg, "such as http://127.0.0.1:4588")
	}
	return errs
}

// endpointMistake tells what is wrong with an endpoint; empty: nothing.
func endpointMistake(endpoint string) string {
	if endpoint == "" {
		return ""
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return strconv.Quote(endpoint) + " is not an http or https URL"
	case u.User != nil:
		return "an endpoint holds no credentials"
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "an endpoint is scheme, host and port alone"
	default:
		return ""
	}
}
