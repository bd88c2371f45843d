package policy

import "strconv"

// Source says where the quantity of a metered request comes from.
type Source uint8

// The sources. All but the first are read from the access log.
const (
	KnownAtCheck        Source = iota // a number, or a request header
	FromResponseHeader                // 1 to 15 digits in a response header
	FromResponseTrailer               // 1 to 15 digits in a response trailer
	FromRequestBytes                  // size of the request's body
	FromResponseBytes                 // size of the response's body
)

// Measure says how the requests of a route are counted.
type Measure struct {
	Feature string
	Source  Source
	Name    string // of the header or trailer, lower case; otherwise empty
	Served  bool   // counted when the application has answered; otherwise at the check
}

// Measure is how the requests of a route are counted; false where there is no such
// route, or it meters nothing.
func (p *Policy) Measure(route string) (Measure, bool) {
	i, ok := p.routeIndex[route]
	if !ok || p.routes[i].meter == nil {
		return Measure{}, false
	}
	m := p.routes[i].meter
	return Measure{Feature: p.features[m.feature].name, Source: m.source, Name: m.name, Served: m.served}, true
}

// meter is what a request of a route counts.
type meter struct {
	feature int
	source  Source
	units   int64  // where they are known at the check and header is empty
	header  string // the request header that holds the units
	name    string // of the response header or trailer
	reserve int64
	served  bool
}

func (p *Policy) compileMeter(m *Meter) *meter {
	made := &meter{feature: p.featureIndex[m.Feature], reserve: m.Reserve, served: m.When == WhenServed}
	switch q := m.Quantity; {
	case q.Number != nil:
		made.units = *q.Number
	case q.Text != nil && *q.Text == QuantityRequestBytes:
		made.source = FromRequestBytes
	case q.Text != nil:
		made.source = FromResponseBytes
	case q.Mapping != nil:
		made.compileSource(q.Mapping)
	}
	return made
}

func (m *meter) compileSource(s *QuantitySource) {
	switch {
	case s.RequestHeader != "":
		m.header = s.RequestHeader
	case s.ResponseHeader != "":
		m.source, m.name = FromResponseHeader, s.ResponseHeader
	default:
		m.source, m.name = FromResponseTrailer, s.ResponseTrailer
	}
}

// quantity is how many units of the request are known at the check: a number, or 1 to 15
// ASCII digits in a header that is given once; 0 where the access log will tell.
func (m *meter) quantity(a Attributes) (units int64, ok bool) {
	if m.header == "" {
		return m.units, true
	}
	value, n := a.Header(m.header)
	if n != 1 || len(value) > 15 || !allDigits(value) {
		return 0, false
	}
	units, err := strconv.ParseInt(value, 10, 64)
	return units, err == nil
}

// need is what has to be left of a quota: the reserve, else what is known, else 1 (BILLING B05).
func (m *meter) need(units int64) int64 {
	switch {
	case m.reserve > 0:
		return m.reserve
	case m.source != KnownAtCheck:
		return 1
	default:
		return units
	}
}
