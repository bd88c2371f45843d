package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/config"
)

const (
	// adminTimeout bounds one call of a running weir.
	adminTimeout = 30 * time.Second
	// maxAdminAnswer bounds what is read of an answer, in bytes: a page of the ledger is far smaller.
	maxAdminAnswer = 16 << 20
)

// errNotRunning tells that nothing listens at a weir's admin address.
var errNotRunning = errors.New("no weir is running there")

// admin calls the admin API of a running weir.
type admin struct {
	base   string
	token  string
	client http.Client
}

// adminFlag is the flag that names a running weir.
func adminFlag(fs *flag.FlagSet) *string {
	return urlFlag(fs, "admin", "`URL` of a running weir's admin address; else that of the configuration, else the state on disk", "http://127.0.0.1:9003")
}

// urlFlag is a flag whose value is a URL such as the one given.
func urlFlag(fs *flag.FlagSet, name, usage, such string) *string {
	var at string
	fs.Func(name, usage, func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("want a URL such as %s", such)
		}
		at = s
		return nil
	})
	return &at
}

// newAdmin is the weir at a URL, or else the one that the configuration describes.
func newAdmin(given string, cfg *config.Config, token string) *admin {
	a := &admin{base: strings.TrimSuffix(given, "/"), token: token}
	a.client.Timeout = adminTimeout
	if given != "" {
		return a
	}
	if path, ok := strings.CutPrefix(cfg.Listen.Admin, "unix://"); ok {
		a.base = "http://weir"
		a.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		return a
	}
	a.base = "http://" + reachable(cfg.Listen.Admin)
	if cfg.Listen.TLS.Cert != "" {
		a.base = "https://" + reachable(cfg.Listen.Admin)
	}
	return a
}

// reachable is where this machine reaches a listener: one on every address has loopback too.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return address
}

// call makes a request and reads the JSON answer into out.
func (a *admin) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	status, said, err := a.fetch(ctx, method, path, query, body)
	switch {
	case err != nil:
		return err
	case status == http.StatusNoContent:
		return nil
	case status != http.StatusOK:
		return adminError(status, said)
	}
	if err := json.Unmarshal(said, out); err != nil {
		return fmt.Errorf("ask weir: read answer: %w", err)
	}
	return nil
}

// fetch makes a request and reads the answer, whatever it says.
func (a *admin) fetch(ctx context.Context, method, path string, query url.Values, body any) (status int, said []byte, err error) {
	req, err := a.request(ctx, method, path, query, body)
	if err != nil {
		return 0, nil, fmt.Errorf("ask weir: %w", err)
	}
	resp, err := a.client.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist):
		return 0, nil, fmt.Errorf("ask weir at %s: %w", a.base, errNotRunning)
	case err != nil:
		return 0, nil, fmt.Errorf("ask weir: %w", err)
	}
	defer resp.Body.Close()
	said, err = io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("ask weir: read answer: %w", err)
	}
	return resp.StatusCode, said, nil
}

// request makes a request with a JSON body, or none.
func (a *admin) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var sent io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	address := a.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, sent)
	if err != nil {
		return nil, err
	}
	req.Header.Set("content-type", "application/json")
	if a.token != "" {
		req.Header.Set("authorization", "Bearer "+a.token)
	}
	return req, nil
}

// adminError is what a running weir refused.
func adminError(status int, said []byte) error {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(said, &problem) != nil || problem.Detail == "" {
		problem.Detail = fmt.Sprintf("%d %s", status, http.StatusText(status))
	}
	err := fmt.Errorf("ask weir: %s", problem.Detail)
	if status == http.StatusUnauthorized {
		return withHint(err, "set WEIR_TOKEN to the token that weir was started with")
	}
	return err
}
