package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/policy"
	"go.yaml.in/yaml/v3"
)

const (
	listenForms = "host:port, such as 127.0.0.1:9001, or unix:///run/weir/weir.sock"
	hubForm     = "host:port, such as hub.internal:9443"
)

// validate finds what the types can't exclude, in every part. Paths begin at Config.
func (c *Config) validate() []*policy.FieldError {
	v := &validator{Config: c}
	v.listeners()
	v.serverTLS()
	if c.State == "" {
		v.fail("a directory, such as /var/lib/weir", "no directory is named", "state")
	}
	v.registration()
	v.hub()
	v.perZero()
	return slices.Concat(v.errs, c.Policy.Validate(), c.AWS.Validate(), c.Updates.Validate(), c.Metering.Validate())
}

type validator struct {
	*Config
	errs []*policy.FieldError
}

func (v *validator) fail(hint, msg string, path ...string) {
	v.errs = append(v.errs, &policy.FieldError{Path: path, Msg: msg, Hint: hint})
}

// listener is one of the addresses that weir listens on.
type listener struct {
	key, address string
	proven       bool // callers from other machines have to prove who they are
}

// each lists the listeners by the order of the file.
func (l Listen) each() []listener {
	return []listener{
		{"grpc", l.GRPC, true}, {"http", l.HTTP, true}, {"admin", l.Admin, true}, {"public", l.Public, false},
	}
}

func (v *validator) listeners() {
	taken := map[string]string{}
	for _, l := range v.Listen.each() {
		if l.address == "" {
			continue
		}
		if _, err := listen.Parse(l.address); err != nil {
			v.fail(listenForms, err.Error(), "listen", l.key)
			continue
		}
		if other := taken[l.address]; other != "" && !strings.HasSuffix(l.address, ":0") {
			v.fail("an address of its own", "listen."+other+" has this address too", "listen", l.key)
		}
		taken[l.address] = l.key
	}
	if v.Listen.GRPC == "" && v.Listen.HTTP == "" {
		v.fail("an address for grpc or http", "weir listens nowhere for requests to decide", "listen")
	}
}

func (v *validator) serverTLS() {
	t := v.Listen.TLS
	v.pair(t.Cert, t.Key, "listen", "tls")
	if t.ClientCA != "" && t.Cert == "" && t.Key == "" {
		v.fail("give cert and key too", "client certificates need TLS", "listen", "tls", "clientCA")
	}
}

// pair checks that a certificate has its key, and the other way round.
func (v *validator) pair(cert, key string, path ...string) {
	switch {
	case cert != "" && key == "":
		v.fail("the file of the private key", "required where cert is set", append(path, "key")...)
	case cert == "" && key != "":
		v.fail("the file of the certificate chain", "required where key is set", append(path, "cert")...)
	}
}

func (v *validator) registration() {
	const example = "such as https://app.example.com/welcome"
	switch redirect := v.Registration.Redirect; {
	case redirect == "" && v.Listen.Public != "":
		v.fail("the page that buyers are sent on to, "+example, "required where listen.public is set", "registration", "redirect")
	case redirect != "" && !isWebPage(redirect):
		v.fail(example, strconv.Quote(redirect)+" is no web address", "registration", "redirect")
	}
}

func isWebPage(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.Fragment == ""
}

func (v *validator) hub() {
	switch address := v.Hub.Address; {
	case address == "" && v.Role == RoleGate:
		v.fail("the hub's host:port", "required for role gate", "hub", "address")
	case address != "" && !hostAndPort(address):
		v.fail(hubForm, strconv.Quote(address)+" is no address", "hub", "address")
	}
	v.pair(v.Hub.TLS.Cert, v.Hub.TLS.Key, "hub", "tls")
}

// hostAndPort tells whether an address can be connected to.
func hostAndPort(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// perZero finds `per: 0`, which once read can't be told from a key left out.
func (v *validator) perZero() {
	products := v.at("products")
	eachOf(products, func(product string, p *yaml.Node) {
		_, dimensions := child(resolve(p), "dimensions")
		eachOf(dimensions, func(dimension string, d *yaml.Node) {
			_, per := child(resolve(d), "per")
			if per != nil && v.Policy.Products[product].Dimensions[dimension].Per == 0 {
				v.fail("1 or more", "0 is too small", "products", product, "dimensions", dimension, "per")
			}
		})
	})
}

// eachOf calls f for each key of a mapping; a nil node has none.
func eachOf(n *yaml.Node, f func(key string, value *yaml.Node)) {
	if n = resolve(n); n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f(n.Content[i].Value, n.Content[i+1])
	}
}

// at is what the file gives at path; nil: nothing.
func (c *Config) at(path ...string) *yaml.Node {
	n := c.root
	for _, s := range path {
		if _, n = child(resolve(n), s); n == nil {
			return nil
		}
	}
	return n
}
