package policy

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// scan looks at a path as received: it ends where its query or fragment begins,
// and it is plain when it has one reading, itself. No escape, backslash, parameter, empty
// segment, dot segment, control character nor byte beyond ASCII is in a plain one.
func scan(path string) (end int, plain bool) {
	plain = strings.HasPrefix(path, "/")
	for i := range len(path) {
		if ordinary[path[i]] {
			continue
		}
		switch c := path[i]; {
		case c == '?' || c == '#':
			return i, plain
		case isStrange(c):
			plain = false
		case i > 0 && path[i-1] == '/' && beginsStrange(path[i:]):
			plain = false
		}
	}
	return len(path), plain
}

// ordinary are the bytes that mean nothing but themselves wherever they stand.
//
//nolint:gochecknoglobals // a table that nobody writes
var ordinary = func() (is [256]bool) {
	for c := range is {
		is[c] = !isStrange(byte(c)) && strings.IndexByte("./?#", byte(c)) < 0
	}
	return is
}()

// isStrange tells whether a byte can be read in more than one way.
func isStrange(c byte) bool {
	return c == '%' || c == '\\' || c == ';' || c < ' ' || c >= 0x7f
}

// beginsStrange tells whether the first segment of what is left of a path is
// empty, though not the last, or a dot segment.
func beginsStrange(rest string) bool {
	if rest[0] != '.' {
		return rest[0] == '/'
	}
	rest = strings.TrimPrefix(rest[1:], ".")
	return rest == "" || strings.IndexByte("/?#", rest[0]) >= 0
}

// The rewritings below take a path and append what it reads as to dst, which may
// be the buffer that src lies in. One that has nothing to rewrite may append
// nothing. Each is linear in src and never appends more than src is long.

// unreserve decodes the escapes of characters that never need one (RFC 3986,
// 2.3): an escaped one is the same character.
func unreserve(dst, src []byte) []byte {
	return rewriteEscapes(dst, src, func(c byte) (byte, bool) {
		return c, alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
	})
}

// decode decodes every escape. A % without two hexadecimal digits stays.
func decode(dst, src []byte) []byte {
	return rewriteEscapes(dst, src, func(c byte) (byte, bool) { return c, true })
}

// splitEscapes takes escaped slashes and backslashes for slashes.
func splitEscapes(dst, src []byte) []byte {
	return rewriteEscapes(dst, src, func(c byte) (byte, bool) { return '/', c == '/' || c == '\\' })
}

// rewriteEscapes puts in place of each escape what write makes of its byte; one
// of which write makes nothing stays.
func rewriteEscapes(dst, src []byte, write func(byte) (byte, bool)) []byte {
	if bytes.IndexByte(src, '%') < 0 {
		return dst
	}
	for i := 0; i < len(src); i++ {
		c := src[i]
		if escaped, ok := escape(src[i:]); ok {
			if w, ok := write(escaped); ok {
				c, i = w, i+2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// splitBackslashes takes backslashes for slashes.
func splitBackslashes(dst, src []byte) []byte {
	if bytes.IndexByte(src, '\\') < 0 {
		return dst
	}
	for _, c := range src {
		if c == '\\' {
			c = '/'
		}
		dst = append(dst, c)
	}
	return dst
}

// cutQuery ends the path at its first ?, cutFragment at its first #. The path as
// received has none: these appeared by decoding.
func cutQuery(dst, src []byte) []byte    { return cutAt(dst, src, '?') }
func cutFragment(dst, src []byte) []byte { return cutAt(dst, src, '#') }

func cutAt(dst, src []byte, c byte) []byte {
	if i := bytes.IndexByte(src, c); i >= 0 {
		return append(dst, src[:i]...)
	}
	return dst
}

// dropParameters leaves out ;... in each segment.
func dropParameters(dst, src []byte) []byte {
	if bytes.IndexByte(src, ';') < 0 {
		return dst
	}
	inside := false
	for _, c := range src {
		inside = c == ';' || inside && c != '/'
		if !inside {
			dst = append(dst, c)
		}
	}
	return dst
}

// slashesFirst resolves duplicate slashes, then dot segments; dotsFirst the other
// way round, so that .. can take an empty segment away (RFC 3986, 5.2.4). Both
// leave a resolved path.
func slashesFirst(dst, src []byte) []byte {
	if isResolved(src) {
		return dst
	}
	return resolve(dst, src, false)
}

func dotsFirst(dst, src []byte) []byte {
	if isResolved(src) {
		return dst
	}
	start := len(dst)
	dst = resolve(dst, src, true)
	kept := dst[:start]
	for i, c := range dst[start:] {
		if c != '/' || i == 0 || kept[len(kept)-1] != '/' {
			kept = append(kept, c)
		}
	}
	if len(kept) > start+1 && kept[len(kept)-1] == '/' {
		kept = kept[:len(kept)-1]
	}
	return kept
}

// resolve resolves dot segments, and leaves empty segments out or keeps them.
func resolve(dst, src []byte, keepEmpty bool) []byte {
	root := len(dst)
	for more := true; more; {
		var segment []byte
		segment, src, more = cutSegment(src)
		switch {
		case isDot(segment), len(segment) == 0 && !keepEmpty:
		case isDotDot(segment):
			dst = dst[:root+max(0, bytes.LastIndexByte(dst[root:], '/'))]
		default:
			dst = append(append(dst, '/'), segment...)
		}
	}
	if len(dst) == root {
		dst = append(dst, '/')
	}
	return dst
}

// isResolved tells whether a path has no empty and no dot segment, and no slash
// at its end, which does not matter to a match.
func isResolved(path []byte) bool {
	if len(path) == 1 {
		return true
	}
	for more := true; more; {
		var segment []byte
		segment, path, more = cutSegment(path)
		if len(segment) == 0 || isDot(segment) || isDotDot(segment) {
			return false
		}
	}
	return true
}

// cutSegment takes the first segment off a path that begins with a slash; more
// tells that another follows.
func cutSegment(path []byte) (segment, rest []byte, more bool) {
	if end := bytes.IndexByte(path[1:], '/'); end >= 0 {
		return path[1 : end+1], path[end+1:], true
	}
	return path[1:], nil, false
}

func isDot(segment []byte) bool { return len(segment) == 1 && segment[0] == '.' }
func isDotDot(segment []byte) bool {
	return len(segment) == 2 && segment[0] == '.' && segment[1] == '.'
}

// escape is the byte that an escape at the start of s stands for.
func escape(s []byte) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, ok := hexDigit(s[1])
	low, okToo := hexDigit(s[2])
	return high<<4 | low, ok && okToo
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

// escapes counts what begins like an escape, and those that are none.
func escapes(s []byte) (all, broken int) {
	for i, c := range s {
		if c == '%' {
			all++
			if _, ok := escape(s[i:]); !ok {
				broken++
			}
		}
	}
	return all, broken
}

// isText tells whether s is UTF-8 without control characters.
func isText(s []byte) bool {
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) {
			return false
		}
		s = s[size:]
	}
	return true
}
