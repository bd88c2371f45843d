package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/weirhq/weir/policy"
)

// Explainer decides a request as it would be decided, counts nothing, and fills in
// the request's steps. The instant is AWS time; zero: now.
type Explainer interface {
	Explain(ctx context.Context, r *policy.Request, at time.Time) policy.Decision
}

// Answer says how a request would be decided, and why.
type Answer struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
	// Status is the HTTP status: 200 where the request passes.
	Status  int        `json:"status"`
	Tenant  string     `json:"tenant,omitempty"`
	Account string     `json:"account,omitempty"`
	License policy.Key `json:"license,omitempty"`
	Plan    string     `json:"plan,omitempty"`
	Route   string     `json:"route,omitempty"`
	// Mode is enforce, shadow or open.
	Mode    string `json:"mode"`
	Feature string `json:"feature,omitempty"`
	// Limit, Used and ResetsAt are those of the metered feature; without a limit it is unlimited.
	Limit    *int64     `json:"limit,omitempty"`
	Used     *int64     `json:"used,omitempty"`
	ResetsAt *time.Time `json:"resetsAt,omitempty"`
	Steps    []string   `json:"steps"`
}

// NewAnswer shows a decision with the steps that its request collected.
func NewAnswer(d *policy.Decision, steps *policy.Steps) Answer {
	a := Answer{
		Allowed: d.Allowed(), Reason: d.Reason.String(), Status: http.StatusOK,
		Tenant: d.Tenant, Account: d.Account, License: d.License, Plan: d.Plan,
		Route: d.Route, Mode: d.Mode.String(), Feature: d.Feature, Steps: []string{},
	}
	if steps != nil {
		a.Steps = append(a.Steps, steps.Lines...)
	}
	if !a.Allowed {
		a.Status = d.Reason.Status()
	}
	if q := d.Quota; q.Terms.Per > 0 { // the quota was looked at
		a.Used = &q.Used
		if q.Terms.Included != policy.Unlimited {
			a.Limit = &q.Terms.Included
		}
		if end := q.End.UTC(); !q.End.IsZero() {
			a.ResetsAt = &end
		}
	}
	return a
}

func (a *Admin) explain(w http.ResponseWriter, r *http.Request) {
	q, err := ReadQuestion(r.Body)
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		tooLarge(w)
		return
	}
	var request *policy.Request
	if err == nil {
		request, err = q.Request()
	}
	if err != nil {
		fail(w, http.StatusBadRequest, reasonInvalid, err.Error())
		return
	}
	d := a.sources.Explainer.Explain(r.Context(), request, q.At)
	answer(w, http.StatusOK, NewAnswer(&d, request.Steps))
}
