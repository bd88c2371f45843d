package emulator

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// SearchAgreements: the agreements of the seller, filtered, sorted, and a page at a time (service model 2020-03-01).

// maxAgreementResults is the largest page of the Agreement API, and the default.
const maxAgreementResults = 50

// rank is a place in the order of a search. Agreements of the same time are in order of creation.
type rank struct{ time, number int64 }

func (r rank) compare(other rank) int {
	return cmp.Or(cmp.Compare(r.time, other.time), cmp.Compare(r.number, other.number))
}

// agreementSearch is a SearchAgreements request, decoded.
type agreementSearch struct {
	filters    map[string]string
	admits     []agreementTest // all must hold
	sortBy     func(*agreement) time.Time
	descending bool
	page       int
	digest     string
	after      rank
}

func (e *Emulator) searchAgreements(c *call) (object, error) {
	q, err := readSearch(newInput(c.in))
	if err != nil {
		return nil, err
	}
	if c.fault.emptiesPage() {
		return object{"agreementViewSummaries": []object{}, "nextToken": pageToken(q.digest, q.after.time, q.after.number)}, nil
	}
	found, more := q.collect(e.agreementCandidates(q))
	out := object{}
	if more {
		last := q.rank(found[len(found)-1])
		out["nextToken"] = pageToken(q.digest, last.time, last.number)
	}
	summaries := []object{}
	for _, a := range found {
		summaries = append(summaries, a.summary())
	}
	out["agreementViewSummaries"] = summaries
	return out, nil
}

// agreementCandidates is the shortest list that holds everything the search can find.
func (e *Emulator) agreementCandidates(q *agreementSearch) []*agreement {
	for name, list := range map[string]map[string][]*agreement{
		filterLicenseArn: e.agreements.byLicense, filterChain: e.agreements.byChain, filterAcceptor: e.agreements.byAccount,
	} {
		if value, given := q.filters[name]; given {
			return list[value]
		}
	}
	return e.agreements.all
}

// collect picks the page from a list in any order: the first agreements after the place where the page before ended.
func (q *agreementSearch) collect(list []*agreement) (found []*agreement, more bool) {
	byRank := func(a *agreement, r rank) int { return q.rank(a).compare(r) }
	for _, a := range list {
		r := q.rank(a)
		if r.compare(q.after) <= 0 || len(found) > q.page && byRank(found[q.page], r) < 0 || !q.admitsAll(a) {
			continue
		}
		at, _ := slices.BinarySearchFunc(found, r, byRank)
		found = slices.Insert(found, at, a)
		found = found[:min(len(found), q.page+1)]
	}
	if len(found) > q.page {
		return found[:q.page], true
	}
	return found, false
}

func (q *agreementSearch) admitsAll(a *agreement) bool {
	for _, test := range q.admits {
		if !test(a) {
			return false
		}
	}
	return true
}

// rank places an agreement. One without the time that is sorted by comes last, as if it lay farthest ahead.
func (q *agreementSearch) rank(a *agreement) rank {
	r := rank{math.MaxInt64, int64(a.number)}
	if t := q.sortBy(a); !t.IsZero() {
		r.time = t.UnixMilli()
	}
	if q.descending {
		return rank{-r.time, -r.number}
	}
	return r
}

// readSearch decodes and checks a request; every breach is a ValidationException that names its reason.
func readSearch(in input) (*agreementSearch, error) {
	q := &agreementSearch{after: rank{math.MinInt64, math.MinInt64}}
	for _, read := range []func(input) error{checkCatalog, q.readFilters, q.readSort} {
		err := read(in)
		if wrong := in.err(); wrong != nil {
			return nil, wrong
		}
		if err != nil {
			return nil, err
		}
	}
	page, next, err := readPage(in)
	if err != nil {
		return nil, err
	}
	sort := in.structure("sort")
	q.page, q.digest = page, queryDigest(q.filters, sort.text("sortBy"), q.descending)
	if next == "" {
		return q, nil
	}
	var ok bool
	if q.after.time, q.after.number, ok = readPageToken(q.digest, next); !ok {
		return nil, badToken()
	}
	return q, nil
}

func checkCatalog(in input) error {
	if in.has("catalog") && in.text("catalog") != "AWSMarketplace" {
		return unacceptable("INVALID_CATALOG", "catalog", "The catalog %s does not exist.", clip(in.text("catalog")))
	}
	return nil
}

func (q *agreementSearch) readSort(in input) error {
	sort := in.structure("sort")
	by, order := "EndTime", "ASCENDING"
	if sort.has("sortBy") {
		by = sort.text("sortBy")
	}
	if sort.has("sortOrder") {
		order = sort.text("sortOrder")
	}
	q.sortBy = map[string]func(*agreement) time.Time{"EndTime": endTime, "StartTime": startTime, "LastUpdateTime": lastUpdateTime}[by]
	q.descending = order == "DESCENDING"
	switch {
	case q.sortBy == nil:
		return unacceptable("INVALID_SORT_BY", "sort.sortBy", "%s is no attribute to sort by.", clip(by))
	case by != "EndTime" && q.filters[filterParty] == partyAcceptor:
		return unacceptable("INVALID_SORT_BY", "sort.sortBy", "%s is supported only when PartyType is Proposer.", by)
	case !q.descending && order != "ASCENDING":
		return unacceptable("INVALID_SORT_ORDER", "sort.sortOrder", "%s is neither ASCENDING nor DESCENDING.", clip(order))
	}
	return nil
}

// readPage takes the two members that every operation with pages has.
func readPage(in input) (page int, next string, err error) {
	page, next = maxAgreementResults, in.text("nextToken")
	if in.has("maxResults") {
		page = in.integer("maxResults")
	}
	switch {
	case in.err() != nil:
		return 0, "", in.err()
	case page < 1 || page > maxAgreementResults:
		return 0, "", unacceptable("INVALID_MAX_RESULTS", "maxResults", "maxResults must be between 1 and %d.", maxAgreementResults)
	}
	return page, next, nil
}

func badToken() *apiError {
	return unacceptable("INVALID_NEXT_TOKEN", "nextToken", "The nextToken is invalid.")
}
