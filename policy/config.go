package policy

import (
	"maps"
	"slices"
	"time"
)

// Config is the part of the configuration that says what is sold and what a
// request needs: products, features, plans, identity, tenants, routes, failure.
// Keys are as in weir.yaml. Compile turns it into a Policy.
type Config struct {
	// Products are the listings on AWS Marketplace, by the name that this file and the metrics call them.
	Products map[string]Product `yaml:"products"`
	// Features are what the application can switch or count, by name.
	Features map[string]Feature `yaml:"features"`
	// Plans are named sets of feature grants, chosen by the dimensions of a license.
	Plans map[string]Plan `yaml:"plans"`
	// Identity lists where a request names its subject; the first that yields a value decides.
	Identity []Extractor `yaml:"identity"`
	// Tenants are fixed ones, by the seller's own id; registration and the API add the rest.
	Tenants map[string]Tenant `yaml:"tenants"`
	// Routes are request matchers with what they require and meter; the most specific match wins, whatever the order.
	Routes []Route `yaml:"routes"`
	// Failure says what happens when weir can't know; a route may say otherwise.
	Failure Failure `yaml:"failure"`
}

// Product is one listing on AWS Marketplace.
type Product struct {
	// Code is the product code of the listing.
	Code string `yaml:"code" required:"true"`
	// ID is the product id of the listing, such as prod-wa4ddxl7e7ktw.
	ID string `yaml:"id" required:"true"`
	// Model is the listing's pricing model: contract, subscription or contractWithConsumption.
	Model string `yaml:"model" required:"true" enum:"contract,subscription,contractWithConsumption"`
	// Agreements is concurrent (a license is named by its LicenseArn) or legacy (product code + customer identifier).
	Agreements string `yaml:"agreements" enum:"concurrent,legacy"`
	// Quantities is the form in which usage is sent: integer. Decimal comes later.
	Quantities string `yaml:"quantities" enum:"integer,decimal"`
	// URL is shown to those who have no license.
	URL string `yaml:"url"`
	// Plan is the plan that every subscriber has; required for, and only for, subscription listings.
	Plan string `yaml:"plan"`
	// Dimensions maps each dimension's key on the listing to what it means here.
	Dimensions map[string]Dimension `yaml:"dimensions"`
}

// ByEvents tells that only what AWS told of a listing's buyers is known of them: pay as you go has no
// entitlements to read, and agreements of before concurrent ones name no license.
func (p Product) ByEvents() bool {
	return p.Model == ModelSubscription && p.Agreements == AgreementsLegacy
}

// Metering are the dimensions of each product that bill usage, in order.
func (c *Config) Metering() map[string][]string {
	all := map[string][]string{}
	for name, product := range c.Products {
		for _, key := range slices.Sorted(maps.Keys(product.Dimensions)) {
			if product.Dimensions[key].Meters != "" {
				all[name] = append(all[name], key)
			}
		}
	}
	return all
}

// SetDefaults fills the keys that weir.yaml may leave out.
func (p *Product) SetDefaults() {
	p.Agreements, p.Quantities = AgreementsConcurrent, QuantitiesInteger
}

// The words of Product.Model, Product.Agreements and Product.Quantities.
const (
	ModelContract                = "contract"
	ModelSubscription            = "subscription"
	ModelContractWithConsumption = "contractWithConsumption"

	AgreementsConcurrent = "concurrent"
	AgreementsLegacy     = "legacy"

	QuantitiesInteger = "integer"
	QuantitiesDecimal = "decimal"
)

// Dimension is what one dimension of a listing means: exactly one of Plan, Adds, Meters.
type Dimension struct {
	// Plan is the plan that a license holding this dimension has.
	Plan string `yaml:"plan"`
	// Adds names the number or metered feature that the entitled quantity is added to.
	Adds string `yaml:"adds"`
	// Meters names the feature whose usage is billed in this dimension.
	Meters string `yaml:"meters"`
	// Per is how many counted units make one billed unit (meters) or are added by one entitled unit (adds to a metered feature); 1 by default.
	Per int64 `yaml:"per"`
}

// Feature is something that the application can switch or count.
type Feature struct {
	// Type is boolean, number, text or metered.
	Type string `yaml:"type" required:"true" enum:"boolean,number,text,metered"`
	// Unit is the word for one of it, shown to people.
	Unit string `yaml:"unit"`
	// Values are those of a text feature, in rising order.
	Values []string `yaml:"values"`
}

// The words of Feature.Type.
const (
	TypeBoolean = "boolean"
	TypeNumber  = "number"
	TypeText    = "text"
	TypeMetered = "metered"
)

// Plan is a named set of feature grants.
type Plan struct {
	// Rank orders plans: where a subject holds several licenses, the higher rank is asked first.
	Rank int64 `yaml:"rank"`
	// Extends names the parent plan; a grant here replaces the parent's whole grant of that feature.
	Extends string `yaml:"extends"`
	// Grants is what the plan gives, by feature.
	Grants map[string]Grant `yaml:"grants"`
}

// Grant is what a plan gives of one feature; which of the four depends on the feature's type.
type Grant struct {
	Boolean *bool         `oneof:"bool"`
	Number  *int64        `oneof:"number"`
	Text    *string       `oneof:"text"`
	Metered *MeteredGrant `oneof:"mapping"`
}

// MeteredGrant is a quantity in each period and what happens beyond it.
type MeteredGrant struct {
	// Included is how many units a period includes: a whole number, or the word unlimited.
	Included Included `yaml:"included"`
	// Every is the period: hour, day, month (all UTC) or term.
	Every string `yaml:"every" enum:"hour,day,month,term"`
	// Then is what happens beyond the included quantity: deny, or bill (which needs a dimension that meters the feature).
	Then string `yaml:"then" enum:"deny,bill"`
}

// SetDefaults fills the keys that weir.yaml may leave out (BILLING B06).
func (g *MeteredGrant) SetDefaults() { g.Every, g.Then = "month", "deny" }

// Included is a number of units, or the word unlimited.
type Included struct {
	Number *int64  `oneof:"number"`
	Text   *string `oneof:"text"`
}

// Extractor takes the subject's name from a request.
type Extractor struct {
	// From is where it is: jwt, metadata, peer, context or header.
	From string `yaml:"from" required:"true" enum:"jwt,metadata,peer,context,header"`
	// Provider is, for jwt, the payload_in_metadata of Envoy's jwt_authn provider.
	Provider string `yaml:"provider"`
	// Claim is, for jwt, the claim.
	Claim string `yaml:"claim"`
	// Namespace is, for metadata, the dynamic metadata namespace.
	Namespace string `yaml:"namespace"`
	// Key is, for metadata and context, the key.
	Key string `yaml:"key"`
	// SAN is, for peer, which subject alternative name of the peer's certificate: uri.
	SAN string `yaml:"san" enum:"uri"`
	// Name is, for header, the request header; only where a trusted hop sets it.
	Name string `yaml:"name"`
	// As is what the value names: tenant, account, license or customer.
	As string `yaml:"as" required:"true" enum:"tenant,account,license,customer"`
}

// Tenant ties the seller's own id for a customer to a buyer, or makes a direct customer.
type Tenant struct {
	// Account is the buyer's AWS account id: 12 digits, quoted.
	Account string `yaml:"account"`
	// Customer is the legacy customer identifier of the buyer.
	Customer string `yaml:"customer"`
	// Plan makes a direct customer, who did not buy through AWS: counted, exported, never sent.
	Plan string `yaml:"plan"`
	// Product limits the tie to one product; every product otherwise.
	Product string `yaml:"product"`
}

// Route is a request matcher with what it requires and what it meters.
type Route struct {
	// Name names the route in metrics, headers and the Envoy context extension weir.route.
	Name string `yaml:"name" required:"true"`
	// Match says which requests the route is for.
	Match Match `yaml:"match" required:"true"`
	// Public routes need no identity, and nothing is counted.
	Public bool `yaml:"public"`
	// Product is the listing whose license is needed; may be left out where there is one product.
	Product string `yaml:"product"`
	// Requires is what the plan has to grant: boolean true; number at least; text at least this one in the order of values.
	Requires map[string]Requirement `yaml:"requires"`
	// Meter is what a request counts.
	Meter *Meter `yaml:"meter"`
	// Mode is enforce, or shadow: decided, counted apart and logged, always allowed.
	Mode string `yaml:"mode" enum:"enforce,shadow"`
	// Failure overrides the global failure settings key by key.
	Failure RouteFailure `yaml:"failure"`
}

// SetDefaults fills the keys that weir.yaml may leave out.
func (r *Route) SetDefaults() { r.Mode = "enforce" }

// Match says which requests a route is for.
type Match struct {
	// Path is a pattern: literals, {x} for one non-empty segment, ** last for any number of segments.
	Path string `yaml:"path" required:"true"`
	// Methods are those that the route is for, upper case; all when left out. GET covers HEAD.
	Methods []string `yaml:"methods"`
	// Host is the request's host without port, lower case; any when left out.
	Host string `yaml:"host"`
}

// Requirement is what a route needs of one feature.
type Requirement struct {
	Boolean *bool   `oneof:"bool"`
	Number  *int64  `oneof:"number"`
	Text    *string `oneof:"text"`
}

// Meter is what a request of a route counts.
type Meter struct {
	// Feature is the metered feature that is counted.
	Feature string `yaml:"feature" required:"true"`
	// Quantity is a number, requestBytes, responseBytes, or one of {requestHeader: …}, {responseHeader: …}, {responseTrailer: …}.
	Quantity Quantity `yaml:"quantity"`
	// Reserve is held against a deny quota until the response says what it was, in units.
	Reserve int64 `yaml:"reserve"`
	// When is served (the application answered) or checked (at the check).
	When string `yaml:"when" enum:"served,checked"`
}

// SetDefaults fills the keys that weir.yaml may leave out.
func (m *Meter) SetDefaults() {
	one := int64(1)
	m.Quantity.Number, m.When = &one, "served"
}

// Quantity says where the quantity of a metered request comes from.
type Quantity struct {
	Number  *int64          `oneof:"number"`
	Text    *string         `oneof:"text"`
	Mapping *QuantitySource `oneof:"mapping"`
}

// QuantitySource names the header or trailer that holds a quantity; exactly one is set.
type QuantitySource struct {
	// RequestHeader is a header of the request.
	RequestHeader string `yaml:"requestHeader"`
	// ResponseHeader is a header of the response.
	ResponseHeader string `yaml:"responseHeader"`
	// ResponseTrailer is a trailer of the response.
	ResponseTrailer string `yaml:"responseTrailer"`
}

// Failure says what happens when weir can't know.
type Failure struct {
	// Unmatched is what no matching route means: allow or deny.
	Unmatched string `yaml:"unmatched" enum:"allow,deny"`
	// Unknown is what an account, license or customer not in memory means: lookup (once, within budget), deny or allow.
	Unknown string `yaml:"unknown" enum:"lookup,deny,allow"`
	// Stale is what happens when entitlements were not confirmed for long.
	Stale Stale `yaml:"stale"`
	// Fault is what an error of weir's own means: allow or deny.
	Fault string `yaml:"fault" enum:"allow,deny"`
	// Grace is how long a license goes on after an expiry that AWS has not confirmed yet.
	Grace time.Duration `yaml:"grace"`
}

// Stale says how old is too old, and what then.
type Stale struct {
	// After is the age at which entitlements are stale.
	After time.Duration `yaml:"after"`
	// Then is allow or deny.
	Then string `yaml:"then" enum:"allow,deny"`
}

// RouteFailure overrides Failure for one route; a key left out inherits.
type RouteFailure struct {
	// Unknown overrides failure.unknown.
	Unknown string `yaml:"unknown" enum:"lookup,deny,allow"`
	// Stale overrides failure.stale, key by key.
	Stale RouteStale `yaml:"stale"`
	// Fault overrides failure.fault.
	Fault string `yaml:"fault" enum:"allow,deny"`
}

// RouteStale overrides Stale for one route; a key left out inherits.
type RouteStale struct {
	// After overrides failure.stale.after.
	After *time.Duration `yaml:"after"`
	// Then overrides failure.stale.then.
	Then string `yaml:"then" enum:"allow,deny"`
}

// DefaultConfig is the configuration of a file that says nothing.
func DefaultConfig() Config {
	return Config{Failure: Failure{
		Unmatched: "deny", Unknown: "lookup", Fault: "deny",
		Stale: Stale{After: 24 * time.Hour, Then: "allow"},
		Grace: 24 * time.Hour,
	}}
}
