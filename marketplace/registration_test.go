package marketplace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

// token makes a registration token for a license.
func (w *world) token(license, rest string) string {
	w.t.Helper()
	var made struct{ Token string }
	w.control("POST", "tokens", fmt.Sprintf(`{"license": %q%s}`, license, rest), &made)
	return made.Token
}

func TestTokenGivesTheBuyerAndTheLicense(t *testing.T) {
	w := newWorld(t)
	registrations := w.Registrations(testProducts())
	var bought struct{ ID, LicenseArn, CustomerIdentifier, AgreementID string }
	buy := func(code string) {
		w.control("POST", "licenses", `{"product": "`+code+`", "account": "111122223333"}`, &bought)
	}
	buy(acmeCode)
	token := w.token(bought.ID, "")
	want := Registered{
		Product: "acme", ProductCode: acmeCode, Account: "111122223333", Customer: bought.CustomerIdentifier,
		License: policy.Key(bought.LicenseArn), Agreement: bought.AgreementID,
	}
	for range 2 { // a reload of the page posts the token again
		got, err := registrations.Resolve(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || got.Agreement == "" {
			t.Error(diff)
		}
	}
	buy(oldCode)
	got, err := registrations.Resolve(t.Context(), w.token(bought.ID, ""))
	if err != nil {
		t.Fatal(err)
	}
	want = Registered{
		Product: "old", ProductCode: oldCode, Account: "111122223333", Customer: bought.CustomerIdentifier,
		License: policy.Key(oldCode + "/" + bought.CustomerIdentifier), Agreement: bought.AgreementID,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(w.log.String(), token) {
		t.Error("the token is in the log")
	}
}

func TestTokensThatResolveToNobody(t *testing.T) {
	w := newWorld(t)
	registrations := w.Registrations(testProducts())
	b := w.buy(acmeCode, "111122223333", "")
	expired := w.token(b.ID, `, "expires": "`+time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)+`"`)
	for name, tt := range map[string]struct {
		token string
		want  error
		calls int
	}{
		"expired":    {expired, ErrTokenExpired, 1},
		"forged":     {"forged", ErrTokenInvalid, 1},
		"empty":      {"", ErrTokenInvalid, 0},
		"endless":    {strings.Repeat("x", maxToken+1), ErrTokenInvalid, 0},
		"newline":    {"a\nb", ErrTokenInvalid, 0},
		"not a text": {"\xff", ErrTokenInvalid, 0},
	} {
		before := w.calls("ResolveCustomer")
		got, err := registrations.Resolve(t.Context(), tt.token)
		if !errors.Is(err, tt.want) || got != (Registered{}) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if calls := w.calls("ResolveCustomer") - before; calls != tt.calls {
			t.Errorf("%s: %d calls", name, calls)
		}
	}
}

func TestListingThatDiffersFromTheConfigurationIsToldWithItsCure(t *testing.T) {
	w := newWorld(t)
	acme, old := w.buy(acmeCode, "111122223333", ""), w.buy(oldCode, "111122223333", "")
	wrong := func(code, agreements string) *Registrations {
		return w.Registrations(map[string]policy.Product{"p": {Code: code, ID: "prod-p", Agreements: agreements}})
	}
	for name, tt := range map[string]struct {
		registrations *Registrations
		license, cure string
	}{
		"unknown product": {wrong("other", policy.AgreementsConcurrent), acme.ID, "add the listing under products"},
		"legacy":          {wrong(acmeCode, policy.AgreementsLegacy), acme.ID, "agreements: concurrent"},
		"concurrent":      {wrong(oldCode, policy.AgreementsConcurrent), old.ID, "agreements: legacy"},
	} {
		_, err := tt.registrations.Resolve(t.Context(), w.token(tt.license, ""))
		if err == nil || !strings.Contains(err.Error(), tt.cure) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, sentinel := range []error{ErrTokenExpired, ErrTokenInvalid, ErrUnavailable} {
			if errors.Is(err, sentinel) {
				t.Errorf("%s: is %v", name, sentinel)
			}
		}
	}
}

func TestTroubleAtAWSIsNotTheTokensFault(t *testing.T) {
	const token = "a-token-of-the-buyer"
	for name, code := range map[string]string{
		"throttled": "ThrottlingException", "internal": "InternalServiceErrorException", "region": "DisabledApiException", "permission": "AccessDeniedException",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(rw, `{"__type": %q, "message": "no: %s"}`, code, strings.ReplaceAll(string(body), `"`, `'`))
		}))
		w := connectWith(t, server.URL, map[string]string{"AWS_MAX_ATTEMPTS": "1"})
		_, err := w.Registrations(testProducts()).Resolve(t.Context(), token)
		server.Close()
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), token) || strings.Contains(w.log.String(), token) {
			t.Errorf("%s: tells the token", name)
		}
	}
}

func TestFloodOfTokensIsHeldBack(t *testing.T) {
	w := newWorld(t)
	registrations := w.Registrations(testProducts())
	registrations.limit.SetLimit(0)
	registrations.limit.AllowN(time.Now(), resolvesPerSecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := registrations.Resolve(ctx, "forged"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if n := w.calls("ResolveCustomer"); n != 0 {
		t.Errorf("%d calls", n)
	}
}
