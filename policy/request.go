package policy

// Request is what a proxy says of one request. The strings may be views into the
// proxy's buffer: nothing here keeps them beyond the call.
type Request struct {
	// ID names the request across repeated checks; empty: a request of its own (BILLING B03).
	ID string
	// Method, Host and Path as received; Path includes the query.
	Method, Host, Path string
	// Route, where set, names the route and decides alone.
	Route string
	// Attributes is everything else that the configuration may ask for.
	Attributes Attributes
	// Subject, where set, is who asks; then the identity extractors are not used.
	Subject Subject
	// Unlogged tells that no access log entry can come of the request, so that it counts at the check (BILLING B04).
	Unlogged bool
	// Steps, where set, collects a line for each step to the decision.
	Steps *Steps
}

// Attributes are the parts of a request that only some configurations read.
// Values that occur more than once come joined by ",", with their count.
type Attributes interface {
	// Header is a request header by its lower-case name: its value and how often it was given.
	Header(name string) (value string, n int)
	// Headers counts the client's headers, pseudo headers and weir's own apart.
	Headers() int
	// Metadata is a dynamic metadata value, found by namespace and path of keys: text, or a number or boolean as text.
	// One that is there and is none of these is an empty text.
	Metadata(namespace string, path []string) (string, bool)
	// Context is a context extension of the proxy's route.
	Context(key string) (string, bool)
	// PeerURI is the URI subject alternative name of the client's certificate.
	PeerURI() (string, bool)
}

// Subject is who a request speaks for, as the identity extractors named it.
type Subject struct {
	Kind SubjectKind
	ID   string
}

// SubjectKind tells what a subject's id names.
type SubjectKind uint8

// The kinds of subject. The zero kind is nobody.
const (
	SubjectNone     SubjectKind = iota
	SubjectTenant               // the seller's id for a customer
	SubjectAccount              // AWS account id
	SubjectLicense              // license key
	SubjectCustomer             // legacy customer identifier
)

// String is the kind as weir.yaml spells it.
func (k SubjectKind) String() string {
	return [...]string{"none", "tenant", "account", "license", "customer"}[k]
}

// SubjectKinds are the kinds by the words of weir.yaml.
func SubjectKinds() map[string]SubjectKind {
	return map[string]SubjectKind{
		"tenant": SubjectTenant, "account": SubjectAccount,
		"license": SubjectLicense, "customer": SubjectCustomer,
	}
}
