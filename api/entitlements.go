package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// EntitlementSource says what a tenant may use of a product; of the first that it holds
// a license of where none is named.
type EntitlementSource interface {
	Entitlements(ctx context.Context, tenant, product string) (policy.Entitled, policy.Knowledge)
}

// Entitlements is what a tenant may use, as an application shows it.
type Entitlements struct {
	Tenant   string             `json:"tenant"`
	Account  string             `json:"account"`
	License  policy.Key         `json:"license"`
	Plan     string             `json:"plan"`
	Trial    bool               `json:"trial"`
	Features map[string]Feature `json:"features"`
}

// Feature is what a tenant may use of one feature: a value, or a quota.
type Feature struct {
	// Type is boolean, number, text or metered.
	Type  string `json:"type"`
	Value any    `json:"value,omitempty"`
	*Quota
}

// Quota is how a metered feature stands.
type Quota struct {
	// Limit is what the period includes; null: it is unlimited.
	Limit *int64 `json:"limit"`
	Used  int64  `json:"used"`
	Held  int64  `json:"held"`
	// ResetsAt is when the next period begins; left out: never.
	ResetsAt *time.Time `json:"resetsAt,omitempty"`
	// Then is deny or bill: what happens beyond the limit.
	Then string `json:"then"`
}

func (h *HTTP) entitlements(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	found, known := h.sources.Entitlements.Entitlements(r.Context(), tenant, r.URL.Query().Get("product"))
	switch {
	case known == policy.Unanswered:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, policy.EntitlementsStale.String(), "AWS has not said yet what the tenant holds: try again.")
	case found.License == nil:
		fail(w, http.StatusNotFound, policy.LicenseMissing.String(), "The tenant holds no license.")
	default:
		tagged(w, r, newEntitlements(tenant, &found))
	}
}

func newEntitlements(tenant string, found *policy.Entitled) Entitlements {
	made := Entitlements{
		Tenant: tenant, Account: found.License.Account, License: found.License.Key,
		Plan: found.Plan, Trial: found.Trial, Features: map[string]Feature{},
	}
	for i := range found.Features {
		made.Features[found.Features[i].Name] = newFeature(&found.Features[i])
	}
	return made
}

func newFeature(f *policy.EntitledFeature) Feature {
	made := Feature{Type: f.Type}
	switch f.Type {
	case policy.TypeBoolean:
		made.Value = f.Boolean
	case policy.TypeNumber:
		made.Value = f.Number
	case policy.TypeText:
		made.Value = f.Text
	default:
		q := &f.Quota
		made.Quota = &Quota{Used: q.Used, Held: q.Held, Then: q.Terms.Then.String()}
		if q.Terms.Included != policy.Unlimited {
			made.Limit = &q.Terms.Included
		}
		if end := q.End.UTC(); !q.End.IsZero() {
			made.ResetsAt = &end
		}
	}
	return made
}

// tagged answers with JSON that a caller who has it already need not be sent again.
func tagged(w http.ResponseWriter, r *http.Request, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, reasonFault, "The answer can't be written as JSON.")
		return
	}
	sum := sha256.Sum256(b)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "private, no-cache") // it may be kept, and is asked about each time
	if matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // a caller who is gone needs no answer
}

// matches tells whether an If-None-Match has the tag in it (RFC 9110, 13.1.2).
func matches(given []string, tag string) bool {
	for _, list := range given {
		for one := range strings.SplitSeq(list, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}
