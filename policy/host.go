package policy

import "strings"

// hostBuffer is room for the longest DNS name, 253 characters, and some more:
// no route's host is longer.
const hostBuffer = 256

// hostName is a request's host without port and without the dot at its end,
// still as the client spelled it. It is false for one that can't be read: with a
// character that no host has (two Host headers arrive joined by a comma), with
// brackets or colons that are no IPv6 address and port.
func hostName(host string) (string, bool) {
	for i := range len(host) {
		if !hostByte(host[i]) {
			return "", false
		}
	}
	name, port := host, ""
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']') + 1
		name, port = host[:end], host[end:]
	} else if colon := strings.IndexByte(host, ':'); colon >= 0 {
		name, port = host[:colon], host[colon:]
	}
	if !isPort(port) || strings.LastIndexByte(name, '[') > 0 || strings.HasPrefix(host, "[") != strings.HasSuffix(name, "]") {
		return "", false
	}
	return strings.TrimSuffix(name, "."), true
}

// hostByte tells whether a host may have this byte, in either case.
func hostByte(c byte) bool {
	switch c {
	case '.', ':', '_', '[', ']', '-':
		return true
	default:
		return alphanumeric(c)
	}
}

// isPort tells whether s is nothing, or a colon and digits or none.
func isPort(s string) bool {
	return s == "" || s[0] == ':' && (len(s) == 1 || allDigits(s[1:]))
}

// byHost is what the map holds for a host name in whatever case. It allocates
// nothing.
func byHost[V any](hosts map[string]V, name string) V {
	if len(hosts) == 0 || len(name) > hostBuffer {
		var none V
		return none
	}
	var buffer [hostBuffer]byte
	lower := buffer[:0]
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	return hosts[string(lower)]
}
