package emulator

import (
	"slices"
	"time"
)

// Filters of SearchAgreements that more than the table below looks at.
const (
	filterParty      = "PartyType"
	filterType       = "AgreementType"
	filterLicenseArn = "LicenseArn"
	filterChain      = "InitialAgreementId"
	filterAcceptor   = "AcceptorAccountId"
)

const (
	partyProposer    = "Proposer"
	partyAcceptor    = "Acceptor"
	agreementType    = "PurchaseAgreement"
	resourceType     = "SaaSProduct"
	maxSearchFilters = 10
	// filterCharacters are those of a filter's value beside letters and digits; it has 1 to 256 characters.
	filterCharacters = ".,+:/_-"
	maxFilterValue   = 256
)

// agreementTest is a filter at work: true of the agreements that pass.
type agreementTest func(*agreement) bool

// filterReader makes a test of a filter's value; false when the value is none that the filter takes.
type filterReader func(value string) (agreementTest, bool)

func startTime(a *agreement) time.Time      { return a.starts }
func endTime(a *agreement) time.Time        { return a.ends }
func lastUpdateTime(a *agreement) time.Time { return a.updated }

// filterTable is every filter by its name.
func filterTable() map[string]filterReader {
	return map[string]filterReader{
		filterParty:                 constant(partyProposer, partyAcceptor),
		filterType:                  constant(agreementType),
		"ResourceIdentifier":        text(func(a *agreement) string { return a.license.product.ID }),
		"ResourceType":              text(func(*agreement) string { return resourceType }, "AmiProduct", "ContainerProduct", resourceType, "ProfessionalServicesProduct", "MachineLearningProduct"),
		filterAcceptor:              text(func(a *agreement) string { return a.license.account }),
		"OfferId":                   text(func(a *agreement) string { return a.offer }),
		"OfferSetId":                text(func(*agreement) string { return "" }),
		"Status":                    text(func(a *agreement) string { return a.status }, statusActive, statusCancelled, statusExpired, statusRenewed, statusReplaced, statusTerminated),
		"EndTimeBehaviorType":       text(func(a *agreement) string { return a.endBehavior }, endRenew, endReplace, endExpire),
		"EndTimeBehaviorReasonCode": text(func(a *agreement) string { return a.endReason }, endReasons()...),
		filterChain:                 text(func(a *agreement) string { return a.initial }),
		filterLicenseArn:            text(func(a *agreement) string { return a.arn }),
		"IncludesContactOfType":     text(func(*agreement) string { return "" }, "ACCEPTOR"),
		"BeforeStartTime":           before(startTime),
		"AfterStartTime":            after(startTime),
		"BeforeEndTime":             before(endTime),
		"AfterEndTime":              after(endTime),
		"BeforeLastUpdateTime":      before(lastUpdateTime),
		"AfterLastUpdateTime":       after(lastUpdateTime),
	}
}

// constant is a filter that every agreement passes, if its value is one of those allowed.
func constant(allowed ...string) filterReader {
	return func(value string) (agreementTest, bool) {
		return func(*agreement) bool { return true }, slices.Contains(allowed, value)
	}
}

// text is a filter by one text of an agreement. Without a list of those allowed it takes any value.
func text(of func(*agreement) string, allowed ...string) filterReader {
	return func(value string) (agreementTest, bool) {
		return func(a *agreement) bool { return of(a) == value }, len(allowed) == 0 || slices.Contains(allowed, value)
	}
}

// before and after are filters by time, exclusive. An agreement without that time passes neither.
func before(of func(*agreement) time.Time) filterReader {
	return timed(of, func(t, bound time.Time) bool { return t.Before(bound) })
}

func after(of func(*agreement) time.Time) filterReader {
	return timed(of, func(t, bound time.Time) bool { return t.After(bound) })
}

func timed(of func(*agreement) time.Time, passes func(t, bound time.Time) bool) filterReader {
	return func(value string) (agreementTest, bool) {
		bound, err := time.Parse(time.RFC3339, value)
		return func(a *agreement) bool {
			t := of(a)
			return !t.IsZero() && passes(t, bound)
		}, err == nil
	}
}

// readFilters takes the filters of a search, each at most once and with one value.
func (q *agreementSearch) readFilters(in input) error {
	list := in.structures("filters")
	if in.has("filters") && len(list) == 0 || len(list) > maxSearchFilters {
		return unacceptable("INVALID_FILTERS", "filters", "There must be 1 to %d filters.", maxSearchFilters)
	}
	q.filters = map[string]string{}
	table := filterTable()
	for _, filter := range list {
		if err := q.addFilter(table, filter); err != nil {
			return err
		}
	}
	return q.checkCombination()
}

func (q *agreementSearch) addFilter(table map[string]filterReader, filter input) error {
	name, values := filter.text("name"), filter.texts("values")
	read, known := table[name]
	_, twice := q.filters[name]
	switch {
	case !filter.has("name"):
		return unacceptable("MISSING_FILTER_NAME", "filters.name", "A filter has no name.")
	case !known:
		return unacceptable("INVALID_FILTER_NAME", "filters.name", "There is no filter %s.", clip(name))
	case twice:
		return unacceptable("INVALID_FILTERS", "filters", "The filter %s is given twice.", name)
	case !filter.has("values"):
		return unacceptable("MISSING_FILTER_VALUES", "filters.values", "The filter %s has no values.", name)
	case len(values) != 1:
		return unacceptable("INVALID_FILTER_VALUES", "filters.values", "The filter %s must have exactly one value.", name)
	}
	test, ok := read(values[0])
	if !ok || values[0] == "" || len(values[0]) > maxFilterValue || !consists(values[0], filterCharacters) {
		reason := "INVALID_FILTER_VALUES"
		if name == filterParty {
			reason = "INVALID_PARTY_TYPE"
		}
		return unacceptable(reason, "filters.values", "The filter %s does not take the value %s.", name, clip(values[0]))
	}
	q.filters[name], q.admits = values[0], append(q.admits, test)
	return nil
}

// checkCombination holds the filters to the combinations that AWS supports. The emulated caller is a seller and has
// accepted nothing, so as acceptor it finds nothing.
func (q *agreementSearch) checkCombination() error {
	if q.filters[filterParty] == "" {
		return unacceptable("MISSING_PARTY_TYPE", "filters", "The filter PartyType is required.")
	}
	if q.filters[filterType] == "" {
		return unacceptable("UNSUPPORTED_FILTERS", "filters", "The filter AgreementType is required.")
	}
	if q.filters[filterParty] == partyProposer {
		return nil
	}
	acceptors := []string{filterParty, filterType, "Status", "BeforeEndTime", "AfterEndTime", "ResourceIdentifier", "ResourceType", "OfferId", "OfferSetId"}
	for name := range q.filters {
		if !slices.Contains(acceptors, name) {
			return unacceptable("UNSUPPORTED_FILTERS", "filters", "The filter %s is not supported when PartyType is Acceptor.", name)
		}
	}
	q.admits = append(q.admits, func(*agreement) bool { return false })
	return nil
}
