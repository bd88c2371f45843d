package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// tieTimeout bounds one tie: AWS answers within a second, or is silent.
const tieTimeout = 10 * time.Second

// TenantSource knows and changes what tenants are tied to.
type TenantSource interface {
	Tie(ctx context.Context, tenant string, t cache.Tie) (cache.Tenant, error)
	Untie(ctx context.Context, tenant string) error
	Tenant(id string) (cache.Tenant, bool)
	Tenants(after string, limit int) (page []cache.Tenant, more bool)
}

var _ TenantSource = (*cache.Cache)(nil)

// ClaimReader believes claims, or says why not: [ErrClaimForged], [ErrClaimExpired].
type ClaimReader interface {
	Read(claim string) (cache.Claim, error)
}

var _ ClaimReader = (*Claims)(nil)

// Tenant is a tenant as the API and the command line show it.
type Tenant struct {
	Tenant   string `json:"tenant"`
	Account  string `json:"account,omitempty"`
	Customer string `json:"customer,omitempty"`
	Plan     string `json:"plan,omitempty"`
	// Products are those of the tie; left out: every one.
	Products []string        `json:"products,omitempty"`
	Licenses []TenantLicense `json:"licenses"`
}

// TenantLicense is a license that a tenant holds.
type TenantLicense struct {
	License policy.Key `json:"license"`
	Plan    string     `json:"plan"`
	Pinned  bool       `json:"pinned"`
	// State is active, grace, expired, ended or suspended.
	State string `json:"state"`
}

// TenantPage is a page of tenants.
type TenantPage struct {
	Tenants []Tenant `json:"tenants"`
	// Next is what to ask for after this page; empty: it is the last.
	Next string `json:"next,omitempty"`
}

// TieRequest is the body of a PUT: exactly one of its first five members.
type TieRequest struct {
	Claim    string     `json:"claim,omitempty"`
	Account  string     `json:"account,omitempty"`
	Customer string     `json:"customer,omitempty"`
	License  policy.Key `json:"license,omitempty"`
	Plan     string     `json:"plan,omitempty"`
	Product  string     `json:"product,omitempty"`
}

// NewTenant shows a tenant.
func NewTenant(t cache.Tenant) Tenant {
	shown := Tenant{
		Tenant: t.ID, Account: t.Account, Customer: t.Customer, Plan: t.Plan,
		Products: t.Products, Licenses: make([]TenantLicense, len(t.Licenses)),
	}
	for i, l := range t.Licenses {
		shown.Licenses[i] = TenantLicense{License: l.License, Plan: l.Plan, Pinned: l.Pinned, State: l.State.String()}
	}
	return shown
}

// NewTenantPage shows a page of tenants.
func NewTenantPage(tenants []cache.Tenant, more bool) TenantPage {
	page := TenantPage{Tenants: make([]Tenant, len(tenants))}
	for i, t := range tenants {
		page.Tenants[i] = NewTenant(t)
	}
	if more && len(tenants) > 0 {
		page.Next = tenants[len(tenants)-1].ID
	}
	return page
}

// Tie is the request as the cache takes it.
func (r *TieRequest) Tie(claims ClaimReader) (cache.Tie, error) {
	t := cache.Tie{Account: r.Account, Customer: r.Customer, License: r.License, Plan: r.Plan, Product: r.Product}
	if r.Claim == "" {
		return t, nil
	}
	claim, err := claims.Read(r.Claim)
	if err != nil {
		return t, err
	}
	t.Claim = &claim
	return t, nil
}

// tenants are the endpoints of tenants, which listen.http and listen.admin share.
type tenants struct {
	source TenantSource
	claims ClaimReader
	log    *slog.Logger
}

// mount puts them where both servers have them.
func (t *tenants) mount(mux *http.ServeMux) {
	mux.Handle("/v1/tenants/{tenant}/licenses", methods{
		http.MethodGet: t.show, http.MethodPut: t.tie, http.MethodDelete: t.untie,
	})
}

func (t *tenants) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, err := limit(q)
	if err != nil {
		fail(w, http.StatusBadRequest, reasonInvalid, err.Error())
		return
	}
	answer(w, http.StatusOK, NewTenantPage(t.source.Tenants(q.Get("after"), n)))
}

func (t *tenants) show(w http.ResponseWriter, r *http.Request) {
	tenant, ok := t.source.Tenant(r.PathValue("tenant"))
	if !ok {
		fail(w, http.StatusNotFound, reasonNotFound, "The tenant is tied to nothing; PUT ties it.")
		return
	}
	answer(w, http.StatusOK, NewTenant(tenant))
}

func (t *tenants) tie(w http.ResponseWriter, r *http.Request) {
	var asked TieRequest
	if !readJSON(w, r, &asked) {
		return
	}
	tie, err := asked.Tie(t.claims)
	if err != nil {
		t.refuse(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), tieTimeout)
	defer cancel()
	tenant, err := t.source.Tie(ctx, r.PathValue("tenant"), tie)
	if err != nil {
		t.refuse(w, err)
		return
	}
	answer(w, http.StatusOK, NewTenant(tenant))
}

func (t *tenants) untie(w http.ResponseWriter, r *http.Request) {
	if err := t.source.Untie(r.Context(), r.PathValue("tenant")); err != nil {
		t.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// refuse says why a tenant is not tied.
func (t *tenants) refuse(w http.ResponseWriter, err error) {
	var mistake *cache.TieError
	switch {
	case errors.As(err, &mistake):
		fail(w, http.StatusBadRequest, reasonInvalid, mistake.Msg)
	case errors.Is(err, ErrClaimForged):
		fail(w, http.StatusUnprocessableEntity, "claim_invalid", "The claim is not one that this weir gave out: take it from the redirect as it is.")
	case errors.Is(err, ErrClaimExpired):
		fail(w, http.StatusUnprocessableEntity, "claim_expired", "The claim is older than an hour: the buyer has to come from AWS Marketplace once more.")
	case errors.Is(err, cache.ErrUnknownBuyer):
		fail(w, http.StatusUnprocessableEntity, policy.LicenseMissing.String(), "AWS knows no license of what is named.")
	case errors.Is(err, cache.ErrFixed):
		fail(w, http.StatusConflict, "tenant_fixed", "The tenant is fixed in the configuration: change it there.")
	case errors.Is(err, cache.ErrPinned):
		fail(w, http.StatusConflict, "license_pinned", "The license is pinned to another tenant: untie that one first.")
	case errors.Is(err, cache.ErrClaimUsed):
		fail(w, http.StatusConflict, "claim_used", "Another tenant has used the claim: the buyer has to come from AWS Marketplace once more.")
	case errors.Is(err, cache.ErrDisk):
		t.log.Error("tenant not tied", "error", err)
		fail(w, http.StatusServiceUnavailable, reasonFault, "The state directory can't be written at the moment; the log says why. Nothing was changed.")
	default:
		t.log.Warn("tenant not tied", "error", err)
		fail(w, http.StatusServiceUnavailable, policy.EntitlementsStale.String(), "AWS did not answer. Nothing was changed: try again.")
	}
}

// readJSON reads a body of one JSON object; where it can't it has answered.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if !isJSON(r) {
		fail(w, http.StatusUnsupportedMediaType, reasonMediaType, "The body is JSON: set Content-Type to application/json.")
		return false
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one JSON value")
		}
	}
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		tooLarge(w)
		return false
	}
	if err != nil {
		fail(w, http.StatusBadRequest, reasonInvalid, fmt.Sprintf("The body can't be read: %s.", err))
		return false
	}
	return true
}
