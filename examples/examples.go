// Package examples holds configuration files that work as they are. The demo and
// the end-to-end tests start from them, with other ports.
package examples

import _ "embed"

// Weir is weir.yaml: one listing, two plans, a route of each sort.
//
//go:embed weir.yaml
var Weir string

// Envoy is envoy.yaml: Envoy in front of one application, asking weir.
//
//go:embed envoy.yaml
var Envoy string

// Marketplace is marketplace.yaml: a scenario for the emulator, the listing and its buyers.
//
//go:embed marketplace.yaml
var Marketplace string
