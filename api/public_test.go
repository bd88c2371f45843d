package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/internal/listen/listentest"
)

const (
	form  = "application/x-www-form-urlencoded"
	token = "tok/en+<b>=="
)

// desk is an AWS that knows one token, and what was read again.
type desk struct {
	err   error // of Resolve
	stale error // of Hint
	hints []cache.Hint
}

func (d *desk) Resolve(_ context.Context, asked string) (Registered, error) {
	if d.err == nil && asked != token {
		return Registered{}, ErrTokenInvalid
	}
	return buyer, d.err
}

func (d *desk) Hint(_ context.Context, h cache.Hint) (bool, error) {
	d.hints = append(d.hints, h)
	return true, d.stale
}

// public serves registration by a desk.
func public(t *testing.T, d *desk, sns http.Handler) (*http.Client, string, *Claims) {
	t.Helper()
	claims := openClaims(t, t.TempDir())
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	p, err := NewPublic([]*listen.Listener{l}, PublicSources{
		Resolver: d, Licenses: d, Claims: claims, Redirect: "https://seller.example/welcome?from=aws", SNS: sns,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, base := serving(t, p, l)
	return c, base, claims
}

func tokenForm(tokens ...string) string { return url.Values{tokenField: tokens}.Encode() }

func TestBuyerIsSentOnWithAClaimThatReadsBack(t *testing.T) {
	d := &desk{}
	c, base, claims := public(t, d, nil)
	var read [2]cache.Claim
	for i := range read {
		out, body := call(t, c, "POST", base+"/register", tokenForm(token), "Content-Type", form)
		if out.StatusCode != http.StatusSeeOther {
			t.Fatalf("%d %s", out.StatusCode, body)
		}
		to, err := out.Location()
		if err != nil {
			t.Fatal(err)
		}
		if to.Host != "seller.example" || to.Path != "/welcome" || to.Query().Get("from") != "aws" {
			t.Errorf("sent to %s", to)
		}
		if out.Header.Get("Referrer-Policy") != "no-referrer" || out.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("the claim may leak: %v", out.Header)
		}
		if read[i], err = claims.Read(to.Query().Get("claim")); err != nil {
			t.Fatal(err)
		}
		want := cache.Claim{
			ID: read[i].ID, Until: noon.Add(claimLife), Product: buyer.Product,
			Account: buyer.Account, Customer: buyer.Customer, License: buyer.License,
		}
		if diff := cmp.Diff(want, read[i]); diff != "" {
			t.Error(diff)
		}
	}
	if read[0].ID == read[1].ID {
		t.Error("the same token twice gave the same claim")
	}
	hint := cache.Hint{Product: buyer.Product, License: buyer.License, Account: buyer.Account, Customer: buyer.Customer}
	if diff := cmp.Diff([]cache.Hint{hint, hint}, d.hints); diff != "" {
		t.Error(diff)
	}
}

func TestBuyerWhoCannotBeRegisteredReadsWhatToDo(t *testing.T) {
	silent := errors.New("no answer about " + token)
	tests := []struct {
		name        string
		desk        desk
		form, kind  string
		status      int
		title       string
		asked, wait bool
	}{
		{name: "expired", desk: desk{err: ErrTokenExpired}, form: tokenForm(token), kind: form, status: 400, title: "has expired"},
		{name: "invalid", form: tokenForm("another"), kind: form, status: 400, title: "does not know this link"},
		{name: "AWS is silent", desk: desk{err: silent}, form: tokenForm(token), kind: form, status: 503, title: "does not answer", wait: true},
		{name: "license unread", desk: desk{stale: silent}, form: tokenForm(token), kind: form, status: 503, title: "does not answer", asked: true, wait: true},
		{name: "no token", kind: form, status: 400, title: "come from AWS"},
		{name: "an empty token", form: tokenForm(""), kind: form, status: 400, title: "come from AWS"},
		{name: "two tokens", form: tokenForm(token, token), kind: form, status: 400, title: "come from AWS"},
		{name: "no form", form: "%zz", kind: form, status: 400, title: "come from AWS"},
		{name: "a long token", form: tokenForm(strings.Repeat("a", maxToken+1)), kind: form, status: 400, title: "does not know this link"},
		{name: "JSON", form: `{}`, kind: "application/json", status: 415, title: "come from AWS"},
		{name: "no type", form: tokenForm(token), kind: "", status: 415, title: "come from AWS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, base, _ := public(t, &tt.desk, nil)
			out, body := call(t, c, "POST", base+"/register", tt.form, "Content-Type", tt.kind)
			wantPage(t, out, body, tt.status, tt.title)
			if got := out.Header.Get("Retry-After") != ""; got != tt.wait {
				t.Errorf("Retry-After %q", out.Header.Get("Retry-After"))
			}
			if asked := len(tt.desk.hints) > 0; asked != tt.asked {
				t.Errorf("licenses read: %t", asked)
			}
		})
	}
}

// wantPage checks that an answer is a page that runs nothing and repeats nothing.
func wantPage(t *testing.T, out *http.Response, body string, status int, title string) {
	t.Helper()
	if out.StatusCode != status || !strings.Contains(body, title) {
		t.Errorf("answered %d %s, want %d and %q", out.StatusCode, body, status, title)
	}
	if got := out.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	policy := out.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy %q lacks %q", policy, part)
		}
	}
	if strings.Contains(body, "tok/en") || strings.Contains(body, "claim=") || strings.Contains(body, "<script") {
		t.Errorf("the page repeats the request: %s", body)
	}
}

func TestRegistrationTakesOnlyPOSTAndSmallBodies(t *testing.T) {
	c, base, _ := public(t, &desk{}, nil)
	out, body := call(t, c, "GET", base+"/register", "", "Accept", "text/html,*/*")
	wantPage(t, out, body, 405, "come from AWS")
	out, body = call(t, c, "GET", base+"/register", "")
	wantProblem(t, out, body, 405, "method_not_allowed")
	if got := out.Header.Get("Allow"); got != "POST" {
		t.Errorf("Allow = %q", got)
	}
	large := tokenField + "=" + strings.Repeat("a", maxBody)
	out, body = call(t, c, "POST", base+"/register", large, "Content-Type", form)
	wantProblem(t, out, body, 413, "too_large")
	out, err := c.Post(base+"/register", form, io.MultiReader(strings.NewReader(large)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		t.Fatal(err)
	}
	wantPage(t, out, string(b), 413, "come from AWS")
}

func TestNotificationsAreTakenOnlyWhereTheyAreMounted(t *testing.T) {
	c, base, _ := public(t, &desk{}, nil)
	for _, path := range []string{"/sns", "/", "/v1/tenants/globex/licenses", "/livez"} {
		out, body := call(t, c, "POST", base+path, "")
		wantProblem(t, out, body, 404, "not_found")
	}
	c, base, _ = public(t, &desk{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	if out, body := call(t, c, "POST", base+"/sns", "{}"); out.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", out.StatusCode, body)
	}
	out, body := call(t, c, "GET", base+"/sns", "")
	wantProblem(t, out, body, 405, "method_not_allowed")
}

func TestRedirectThatIsNoURLIsRefused(t *testing.T) {
	if _, err := NewPublic(nil, PublicSources{Redirect: "https://%zz"}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("taken")
	}
}

// endless is a listener to which somebody connects always, until err is set.
type endless struct {
	net.Listener
	err error
}

func (e *endless) Accept() (net.Conn, error) {
	if e.err != nil {
		return nil, e.err
	}
	c, _ := net.Pipe()
	return c, nil
}

func (*endless) Close() error { return nil }

func accepted(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConnectionThatClosesGivesItsPlaceBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limited{Listener: &endless{}, places: make(chan struct{}, 2), closed: make(chan struct{})}
		first, second := accepted(t, l), accepted(t, l)
		third := make(chan net.Conn, 1)
		go func() {
			c, _ := l.Accept()
			third <- c
		}()
		if synctest.Wait(); len(third) != 0 {
			t.Fatal("a third connection has a place of two")
		}
		if err := errors.Join(first.Close(), first.Close()); err != nil {
			t.Error(err)
		}
		if synctest.Wait(); len(third) != 1 || len(l.places) != 2 {
			t.Fatalf("%d waiting connections got the place, %d places are taken", len(third), len(l.places))
		}
		if err := errors.Join(second.Close(), (<-third).Close()); err != nil || len(l.places) != 0 {
			t.Errorf("%d places are taken at the end, %v", len(l.places), err)
		}
	})
}

func TestConnectionThatFailsTakesNoPlace(t *testing.T) {
	broken := errors.New("broken")
	l := &limited{Listener: &endless{err: broken}, places: make(chan struct{}, 1), closed: make(chan struct{})}
	if _, err := l.Accept(); !errors.Is(err, broken) || len(l.places) != 0 {
		t.Errorf("%v, %d places are taken", err, len(l.places))
	}
}

func TestClosingEndsTheWaitForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limited{Listener: &endless{}, places: make(chan struct{}), closed: make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		synctest.Wait()
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// slowDesk is an AWS that answers when it is let go.
type slowDesk struct {
	desk
	asked chan struct{}
	let   chan struct{}
}

func (d *slowDesk) Resolve(ctx context.Context, asked string) (Registered, error) {
	d.asked <- struct{}{}
	<-d.let
	return d.desk.Resolve(ctx, asked)
}

func TestAWSIsAskedForSoManyBuyersAtOnceAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDesk{asked: make(chan struct{}, 2*maxResolves), let: make(chan struct{})}
		p, err := NewPublic(nil, PublicSources{Resolver: d}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 * maxResolves {
			go func() { _, _ = p.resolve(t.Context(), token) }()
		}
		synctest.Wait()
		if got := len(d.asked); got != maxResolves {
			t.Errorf("asked for %d at once, want %d", got, maxResolves)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.resolve(gone, token); !errors.Is(err, context.Canceled) {
			t.Errorf("a buyer who has gone: %v", err)
		}
		close(d.let)
		synctest.Wait()
		if got := len(d.asked); got != 2*maxResolves {
			t.Errorf("asked for %d in the end, want %d", got, 2*maxResolves)
		}
	})
}
