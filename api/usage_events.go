package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// ChargeSource finds the license that reported usage counts for. The subject is a tenant or a
// license key.
type ChargeSource interface {
	Charge(ctx context.Context, subject, feature string) policy.Charge
}

var _ ChargeSource = (*cache.Gate)(nil)

// UsageTaker counts reported usage durably, whole or not at all. It knows events again.
type UsageTaker interface {
	Report(ctx context.Context, events []metering.Event) (metering.Reported, error)
}

var _ UsageTaker = (*metering.Meter)(nil)

// chargeTimeout bounds how long one batch waits for AWS to say what its subjects hold.
const chargeTimeout = time.Second

// maxBatches bounds the batches that are taken apart and wait for the ledger at once, and with
// that the memory they need: some 3 MB each, where they are as large as may be.
const maxBatches = 64

// The reasons for which an event is refused, beside those of the meter.
const (
	eventInvalid        metering.EventReason = "invalid"
	eventSubjectUnknown metering.EventReason = "subject_unknown"
	eventFeatureUnknown metering.EventReason = "feature_unknown"
	eventFeatureMissing metering.EventReason = "feature_missing"
)

// UsageAccepted is the answer to usage events that are counted, durably.
type UsageAccepted struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
}

// UsageProblem is the answer to a batch of which nothing was counted, because of some events.
type UsageProblem struct {
	policy.Problem
	Errors []UsageError `json:"errors"`
}

// UsageError is what is wrong with one event.
type UsageError struct {
	Index  int                  `json:"index"` // in the batch, from 0
	Reason metering.EventReason `json:"reason"`
	Detail string               `json:"detail"`
}

// report counts the usage events of a request.
func (h *HTTP) report(w http.ResponseWriter, r *http.Request) {
	body, batch, ok := readBody(w, r)
	if !ok {
		return
	}
	select {
	case h.batches <- struct{}{}:
		defer func() { <-h.batches }()
	case <-r.Context().Done():
		return // nobody waits for the answer
	}
	given, ok := readEvents(w, body, batch)
	if !ok {
		return
	}
	events := make([]metering.Event, len(given))
	if !h.charge(r.Context(), given, events) {
		retryAfter(w, time.Second)
		fail(w, http.StatusServiceUnavailable, policy.EntitlementsStale.String(), "AWS has not said yet what a subject holds: send the same events again.")
		return
	}
	reported, err := h.sources.Usage.Report(r.Context(), events)
	if err != nil {
		h.failReport(w, given, err)
		return
	}
	answer(w, http.StatusAccepted, UsageAccepted{reported.Accepted, reported.Duplicates})
}

// charge makes the meter's events and finds the license of each; false where AWS has to say first.
func (h *HTTP) charge(ctx context.Context, given []cloudEvent, events []metering.Event) bool {
	ctx, cancel := context.WithTimeout(ctx, chargeTimeout)
	defer cancel()
	for i := range events {
		g, e := &given[i], &events[i]
		if *e = g.event(i); e.Refused != "" {
			continue
		}
		c := h.sources.Charges.Charge(ctx, g.Subject, e.Feature)
		switch c.Result {
		case policy.ChargeFound:
			e.License, e.Terms = c.License, c.Terms
		case policy.ChargeSubjectUnknown:
			e.Refused = eventSubjectUnknown
		case policy.ChargeFeatureUnknown:
			e.Refused = eventFeatureUnknown
		case policy.ChargeFeatureMissing:
			e.Refused = eventFeatureMissing
		default:
			return false
		}
	}
	return true
}

// failReport answers for a batch that was not counted.
func (h *HTTP) failReport(w http.ResponseWriter, given []cloudEvent, err error) {
	refused, full := new(metering.RefusedError), new(metering.FullError)
	switch {
	case errors.As(err, &refused):
		refuseEvents(w, given, refused.Events)
	case errors.As(err, &full):
		retryAfter(w, full.Retry)
		fail(w, http.StatusTooManyRequests, "memory_full",
			"As many ids of usage events are known as metering.remember allows, and none is forgotten within 48 hours: send the same events again later.")
	default:
		h.log.Error("usage events can't be counted", "error", err)
		retryAfter(w, time.Second)
		fail(w, http.StatusServiceUnavailable, "ledger", "The ledger can't be written: send the same events again, with the same ids.")
	}
}

// refuseEvents lists every event that is refused.
func refuseEvents(w http.ResponseWriter, given []cloudEvent, refused []metering.RefusedEvent) {
	p := UsageProblem{Problem: policy.Problem{
		Type: "urn:weir:reason:" + string(eventInvalid), Title: "Some usage events can't be counted", Status: http.StatusUnprocessableEntity,
		Detail: "No event of the batch was counted: correct or leave out the events listed, and send the batch again.", Reason: string(eventInvalid),
	}}
	for _, e := range refused {
		p.Errors = append(p.Errors, UsageError{e.Index, e.Reason, given[e.Index].detail(e.Reason)})
	}
	body, err := json.Marshal(p)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, reasonFault, "The answer can't be written as JSON.")
		return
	}
	write(w, http.StatusUnprocessableEntity, policy.ProblemType, body)
}

// detail says what to do about an event that is refused.
func (c *cloudEvent) detail(reason metering.EventReason) string {
	switch reason {
	case eventSubjectUnknown:
		return "The subject is no tenant with a license, and no license key, that weir knows."
	case eventFeatureUnknown:
		return "The configuration has no metered feature of this name."
	case eventFeatureMissing:
		return "No license of the subject grants the feature."
	case metering.EventTimeAhead:
		return "The time is more than 5 minutes ahead of AWS's time."
	case metering.EventLicenseEnded:
		return "The license has ended, and AWS takes no more usage for it."
	case metering.EventQuantityInvalid:
		return "data.quantity has to be an integer from 1 to 999999999999999, and the sum of all one that can be counted."
	default:
		return c.wrong
	}
}

// retryAfter says when to try again, in whole seconds, at least 1.
func retryAfter(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatFloat(max(math.Ceil(d.Seconds()), 1), 'f', 0, 64))
}
