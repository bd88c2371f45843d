package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// EnvoyLines are the lines that Envoy's configuration needs for this file, one
// line of YAML each with a comment that says where it goes: what the access log
// has to tell, and which metadata the check has to carry.
func (c *Config) EnvoyLines() []string {
	headers, trailers := map[string]bool{}, map[string]bool{}
	for _, r := range c.Policy.Routes {
		if r.Meter == nil || r.Meter.Quantity.Mapping == nil {
			continue
		}
		headers[r.Meter.Quantity.Mapping.ResponseHeader] = true
		trailers[r.Meter.Quantity.Mapping.ResponseTrailer] = true
	}
	// A failed gRPC call is a response of status 200; its grpc-status is a trailer, or,
	// where there is no body, a header.
	headers["grpc-status"], trailers["grpc-status"] = true, true
	lines := []string{
		"# access log to weir (HttpGrpcAccessLogConfig)",
		yamlList("additional_response_headers_to_log", headers),
		yamlList("additional_response_trailers_to_log", trailers),
	}
	if namespaces := c.metadataNamespaces(); len(namespaces) > 0 {
		lines = append(lines, "# filter envoy.filters.http.ext_authz", yamlList("metadata_context_namespaces", namespaces))
	}
	return lines
}

// metadataNamespaces are those that identity is taken from.
func (c *Config) metadataNamespaces() map[string]bool {
	namespaces := map[string]bool{}
	for _, e := range c.Policy.Identity {
		switch e.From {
		case "jwt":
			namespaces["envoy.filters.http.jwt_authn"] = true
		case "metadata":
			namespaces[e.Namespace] = true
		}
	}
	return namespaces
}

func yamlList(key string, words map[string]bool) string {
	delete(words, "")
	var quoted []string
	for _, w := range slices.Sorted(maps.Keys(words)) {
		if strings.ContainsAny(w, `,[]{}:#&*!|>'"%@`+"`") {
			w = fmt.Sprintf("%q", w)
		}
		quoted = append(quoted, w)
	}
	return key + ": [ " + strings.Join(quoted, ", ") + " ]"
}
