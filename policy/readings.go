package policy

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"strings"
)

// A path is read by the proxy, by frameworks and by the application, and they
// differ: in what they decode and how often, in what separates segments, in whether ;
// begins a parameter, and in when they resolve dot segments. A reading is what
// one of them makes of a path: the path as received, rewritten by any of the
// steps of rewritings, in any order, and resolved at the end. So what is
// decoded twice, or resolved before it is decoded, is among them.
//
// # Cost
//
// The readings are found breadth first, and each text on the way is looked at
// once: every rewriting passes over it, and most find with one search for a byte
// that they have nothing to do. All rewritings are linear. A path may have
// maxTexts texts, and maxWork bytes may be written for it, what turns out to be
// known already included; one that needs more is ambiguous. So a path of n bytes
// costs at most the reading of len(rewritings) * min(maxTexts*n, maxWork) bytes,
// the writing and hashing of maxWork + n, and that many bytes of memory, which is pooled.
const (
	// maxStrange is the longest path with more than one reading that is looked
	// at: all the headers that Envoy takes by default are shorter.
	maxStrange = 64 << 10
	// maxTexts bounds the texts of one path, unresolved ones among them. A URL
	// inside of a path, escaped, with query, fragment and parameters, has 14.
	maxTexts = 64
	// maxWork bounds the bytes written for one path: room for 16 texts of the longest.
	maxWork = 16 * maxStrange
)

// flaw says why a path is ambiguous whatever the routes are; empty: it is not.
type flaw string

const (
	flawNoSlash  flaw = "the path does not begin with /"
	flawTooLong  flaw = "the path has more than one reading and is longer than 64 KiB"
	flawEscape   flaw = "the path has a % without two hexadecimal digits"
	flawText     flaw = "the path has a control character or bytes that are no UTF-8"
	flawNested   flaw = "the path still changes when it is decoded a third time"
	flawReadings flaw = "the path has too many readings"
)

// reader finds the readings of one path after another. Its memory is used again.
type reader struct {
	seed  maphash.Seed
	arena []byte // the texts, one behind the other
	texts []text
	work  int // bytes written for this path
}

// text is a path on its way through the rewritings: arena[start:end].
type text struct {
	start, end int
	hash       uint64
}

func newReader() *reader { return &reader{seed: maphash.MakeSeed()} }

// read hands each reading of a path, cut at query and fragment, to visit until
// that returns false. A reading is good during the call only. Where there is a
// flaw, some readings may have been handed out or none.
func (r *reader) read(path string, visit func(reading []byte) bool) flaw {
	switch {
	case !strings.HasPrefix(path, "/"):
		return flawNoSlash
	case len(path) > maxStrange:
		return flawTooLong
	}
	r.texts, r.work = r.texts[:0], 0
	r.arena = append(r.arena[:0], path...)
	f := r.check()
	r.arena = r.arena[:len(path)]
	if f != "" || !r.keep(0) {
		return cmp.Or(f, flawReadings)
	}
	for i := 0; i < len(r.texts); i++ {
		src := r.arena[r.texts[i].start:r.texts[i].end]
		if isResolved(src) && !visit(src) {
			return ""
		}
		for _, rewrite := range rewritings() {
			start := len(r.arena)
			r.arena = rewrite(r.arena, src)
			if len(r.arena) > start && !r.keep(start) {
				return flawReadings
			}
		}
	}
	return ""
}

// rewritings are the steps that lead to a reading.
func rewritings() [9]func(dst, src []byte) []byte {
	return [...]func(dst, src []byte) []byte{
		slashesFirst, dotsFirst, unreserve, splitEscapes, splitBackslashes,
		decode, cutQuery, cutFragment, dropParameters,
	}
}

// check finds the flaws in the text of the path that the arena holds; what it
// decodes lies behind it.
func (r *reader) check() flaw {
	path := r.arena
	all, broken := escapes(path)
	if broken > 0 {
		return flawEscape
	}
	if !isText(path) {
		return flawText
	}
	if all == 0 {
		return ""
	}
	for range 2 {
		start := len(r.arena)
		r.arena = decode(r.arena, path)
		if start == len(r.arena) {
			break // nothing is left to decode
		}
		path = r.arena[start:]
		if !isText(path) {
			return flawText
		}
	}
	all, broken = escapes(path)
	if all > broken {
		return flawNested
	}
	return ""
}

// keep adds what the arena holds from start to the texts, unless it is one of
// them. It is false when that is more than a path may cost.
func (r *reader) keep(start int) bool {
	written := r.arena[start:]
	r.work += len(written)
	hash := maphash.Bytes(r.seed, written)
	for _, t := range r.texts {
		if t.hash == hash && bytes.Equal(r.arena[t.start:t.end], written) {
			r.arena = r.arena[:start]
			return r.work <= maxWork
		}
	}
	if len(r.texts) == maxTexts || r.work > maxWork {
		return false
	}
	r.texts = append(r.texts, text{start, len(r.arena), hash})
	return true
}
