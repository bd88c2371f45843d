package config

import (
	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/marketplace"
	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
	"go.yaml.in/yaml/v3"
)

// Config is the whole of weir.yaml.
type Config struct {
	// Role is what this process does: all, hub or gate.
	Role string `yaml:"role" enum:"all,hub,gate"`
	// Listen holds the addresses that weir listens on: host:port, or unix:///path for a socket; an empty one is not
	// served. On anything but loopback and sockets callers need WEIR_TOKEN or a certificate of tls.clientCA.
	Listen Listen `yaml:"listen"`
	// State is the only directory that weir writes: ledger, copy of the entitlements, tenants.
	State string `yaml:"state"`
	// AWS says how AWS is called.
	AWS marketplace.Config `yaml:"aws"`

	Policy policy.Config `yaml:",inline"`

	// Updates says how changes of entitlements are heard of.
	Updates cache.Updates `yaml:"updates"`
	// Metering says how usage is counted and sent.
	Metering metering.Config `yaml:"metering"`
	// Registration is about buyers whom AWS Marketplace sends to /register.
	Registration Registration `yaml:"registration"`
	// Log says what is logged.
	Log Log `yaml:"log"`
	// Debug switches what only developers of weir need.
	Debug Debug `yaml:"debug"`
	// Hub is where a gate finds its hub.
	Hub Hub `yaml:"hub"`

	root *yaml.Node // the document, for lines; nil where no file was read
}

// The words of Config.Role.
const (
	RoleAll  = "all"
	RoleHub  = "hub"
	RoleGate = "gate"
)

// Listen holds the addresses that weir listens on: host:port, or unix:///path.
type Listen struct {
	// GRPC serves Envoy: ext_authz, access log and gRPC health. A socket has mode 0660.
	GRPC string `yaml:"grpc"`
	// HTTP serves forward-auth and the entitlement and usage API.
	HTTP string `yaml:"http"`
	// Admin serves metrics, health and status.
	Admin string `yaml:"admin"`
	// Public serves /register and /sns only: it may face the internet. Nothing is served when empty.
	Public string `yaml:"public"`
	// TLS is for grpc, http and admin.
	TLS listen.TLS `yaml:"tls"`
}

// Registration is about buyers whom AWS Marketplace sends to /register.
type Registration struct {
	// Redirect is the seller's page that a buyer is sent on to, with ?claim=…; required where listen.public is set.
	Redirect string `yaml:"redirect"`
}

// Log says what is logged.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level" enum:"debug,info,warn,error"`
	// Decisions is which decisions are logged: all, denied or none.
	Decisions string `yaml:"decisions" enum:"all,denied,none"`
}

// Debug switches what only developers need.
type Debug struct {
	// PProf serves /debug/pprof/ on listen.admin.
	PProf bool `yaml:"pprof"`
}

// Hub is where a gate finds its hub.
type Hub struct {
	// Address is the hub's host:port; required for role gate.
	Address string `yaml:"address"`
	// TLS names the PEM files for the connection to the hub.
	TLS ClientTLS `yaml:"tls"`
}

// ClientTLS names the PEM files of a client: whom it trusts, and who it is.
type ClientTLS struct {
	// CA is the file of the authorities that the hub's certificate is from.
	CA string `yaml:"ca"`
	// Cert is the file of the client's certificate chain.
	Cert string `yaml:"cert"`
	// Key is the file of the client's private key.
	Key string `yaml:"key"`
}

// Default is the configuration of a file that says nothing.
func Default() *Config {
	return &Config{
		Role:     RoleAll,
		Listen:   Listen{GRPC: "unix:///run/weir/weir.sock", HTTP: "127.0.0.1:9002", Admin: "127.0.0.1:9003"},
		State:    "/var/lib/weir",
		AWS:      marketplace.DefaultConfig(),
		Policy:   policy.DefaultConfig(),
		Updates:  cache.DefaultUpdates(),
		Metering: metering.DefaultConfig(),
		Log:      Log{Level: "info", Decisions: "denied"},
	}
}
