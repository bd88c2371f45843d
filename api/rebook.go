package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/weirhq/weir/metering"
)

// UsageKeeper changes the ledger by hand.
type UsageKeeper interface {
	// Rebook gives the units of a record that AWS will not bill to the license's open hour.
	Rebook(ctx context.Context, id string) (metering.Row, error)
	// Acknowledge forgets the conflicts of a product; its error is ErrNoProduct where there is no such product.
	Acknowledge(ctx context.Context, product string) (metering.OtherWriter, error)
}

// ErrNoProduct means that neither configuration nor ledger has a product.
var ErrNoProduct = errors.New("no such product")

// The reasons of what can't be rebooked.
const (
	reasonNotLost      = "not_rebookable"
	reasonLicenseEnded = "license_ended"
)

// Acknowledged are the conflicts that were acknowledged.
type Acknowledged struct {
	Product string `json:"product"`
	// Conflicts is how many records were in conflict since the last time; 0: none.
	Conflicts int64 `json:"conflicts"`
}

// NewAcknowledged shows what was acknowledged.
func NewAcknowledged(w metering.OtherWriter) Acknowledged {
	return Acknowledged{w.Product, w.Conflicts}
}

func (a *Admin) rebook(w http.ResponseWriter, r *http.Request) {
	row, err := a.sources.Keeper.Rebook(r.Context(), r.PathValue("id"))
	switch {
	case err == nil:
		answer(w, http.StatusOK, NewUsageRow(&row))
	case errors.Is(err, metering.ErrNoRow):
		fail(w, http.StatusNotFound, reasonNotFound, "The ledger holds no record of this id; `weir usage list` shows them.")
	case errors.Is(err, metering.ErrNotLost):
		fail(w, http.StatusConflict, reasonNotLost, "Only records that are refused, conflict or expired, with units, can be rebooked: "+err.Error()+".")
	case errors.Is(err, metering.ErrEnded):
		fail(w, http.StatusUnprocessableEntity, reasonLicenseEnded, "No hour of this license is open any more, AWS takes nothing for it: "+err.Error()+".")
	default:
		a.unable(w, "record not rebooked", err)
	}
}

func (a *Admin) acknowledge(w http.ResponseWriter, r *http.Request) {
	was, err := a.sources.Keeper.Acknowledge(r.Context(), r.PathValue("product"))
	switch {
	case err == nil:
		answer(w, http.StatusOK, NewAcknowledged(was))
	case errors.Is(err, ErrNoProduct):
		fail(w, http.StatusNotFound, reasonNotFound, "The configuration has no product of this name.")
	default:
		a.unable(w, "conflicts not acknowledged", err)
	}
}

// unable answers for a ledger that can't be written.
func (a *Admin) unable(w http.ResponseWriter, what string, err error) {
	a.log.Error(what, "error", err)
	fail(w, http.StatusServiceUnavailable, reasonFault, "The ledger can't be written at the moment; the log says why.")
}
