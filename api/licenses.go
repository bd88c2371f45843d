package api

import (
	"net/http"
	"time"

	"github.com/weirhq/weir/policy"
)

// LicenseSource knows the licenses that memory holds.
type LicenseSource interface {
	// Licenses is a page of them by key: at most limit whose key is greater than after.
	// Next is the last key of the page, empty when none follows.
	Licenses(after policy.Key, limit int) (page []License, next policy.Key)
	// License is one of them.
	License(key policy.Key) (License, bool)
}

// License is a license as operators see it.
type License struct {
	Key     policy.Key `json:"key"`
	Product string     `json:"product"`
	Account string     `json:"account"`
	Plan    string     `json:"plan"`
	// State is active, grace, expired, ended or suspended.
	State string `json:"state"`
	// Expires is when it does so at the earliest; zero: never.
	Expires time.Time `json:"expires,omitzero"`
	// Confirmed is when the read began that showed it last.
	Confirmed time.Time `json:"confirmed,omitzero"`
}

// LicensePage is a page of licenses.
type LicensePage struct {
	Licenses []License `json:"licenses"`
	// Next is what to ask for after this page; empty: it is the last.
	Next policy.Key `json:"next,omitempty"`
}

func (a *Admin) licenses(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, err := limit(q)
	if err != nil {
		fail(w, http.StatusBadRequest, reasonInvalid, err.Error())
		return
	}
	page, next := a.sources.Licenses.Licenses(policy.Key(q.Get("after")), n)
	answer(w, http.StatusOK, LicensePage{Licenses: append([]License{}, page...), Next: next})
}

func (a *Admin) license(w http.ResponseWriter, r *http.Request) {
	l, ok := a.sources.Licenses.License(policy.Key(r.PathValue("key")))
	if !ok {
		fail(w, http.StatusNotFound, reasonNotFound, "Memory holds no license with this key; a key is percent-encoded in the path.")
		return
	}
	answer(w, http.StatusOK, LicensePage{Licenses: []License{l}})
}
