package policy

// jwtNamespace is where Envoy's jwt_authn filter puts the payload of a verified token.
const jwtNamespace = "envoy.filters.http.jwt_authn"

// maxIdentity bounds the length of an identity value, in bytes.
const maxIdentity = 256

// identify names the subject by the first extractor that finds a value. One that is
// present but unusable names nobody: going on would let a broken value choose
// another extractor's subject.
func (p *Policy) identify(a Attributes) Subject {
	for i := range p.identity {
		value, n := p.identity[i].find(a)
		switch {
		case n == 0:
			continue
		case n > 1 || !usable(value):
			return Subject{}
		default:
			return Subject{Kind: p.identity[i].kind, ID: value}
		}
	}
	return Subject{}
}

// extractor is a compiled Extractor.
type extractor struct {
	from      source
	namespace string   // of metadata
	path      []string // of metadata, made once: a slice made for the call would be allocated
	name      string   // of a header, or key of the context
	kind      SubjectKind
}

// source is where an extractor looks. The zero source finds nothing.
type source uint8

const (
	fromMetadata source = iota + 1
	fromPeer
	fromContext
	fromHeader
)

func compileExtractor(e Extractor) extractor {
	made := extractor{kind: SubjectKinds()[e.As]}
	switch e.From {
	case "jwt":
		made.from, made.namespace, made.path = fromMetadata, jwtNamespace, []string{e.Provider, e.Claim}
	case "metadata":
		made.from, made.namespace, made.path = fromMetadata, e.Namespace, []string{e.Key}
	case "peer":
		made.from = fromPeer
	case "context":
		made.from, made.name = fromContext, e.Key
	case "header":
		made.from, made.name = fromHeader, e.Name
	}
	return made
}

// find finds the extractor's value and how often it was given.
func (e *extractor) find(a Attributes) (value string, n int) {
	var ok bool
	switch e.from {
	case fromMetadata:
		value, ok = a.Metadata(e.namespace, e.path)
	case fromPeer:
		value, ok = a.PeerURI()
	case fromContext:
		value, ok = a.Context(e.name)
	case fromHeader:
		return a.Header(e.name)
	}
	if ok {
		return value, 1
	}
	return "", 0
}

// usable tells whether an identity value is made of [A-Za-z0-9._:@/+=-]: Envoy replaces
// bytes that are no UTF-8 by "!" without saying so, which could make two names equal.
func usable(value string) bool {
	if value == "" || len(value) > maxIdentity {
		return false
	}
	for i := range len(value) {
		if !identityByte(value[i]) {
			return false
		}
	}
	return true
}

func identityByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	switch c {
	case '.', '_', ':', '@', '/', '+', '=', '-':
		return true
	}
	return false
}

// knowable tells whether AWS could know the subject, so that a look-up makes sense.
func (s Subject) knowable() bool {
	switch s.Kind {
	case SubjectAccount:
		return len(s.ID) == accountDigits && allDigits(s.ID)
	case SubjectLicense:
		return Key(s.ID).Kind() == KindARN
	case SubjectCustomer, SubjectTenant:
		return true
	default:
		return false
	}
}

// accountDigits is the length of an AWS account id.
const accountDigits = 12

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
