package wire

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// sameFields walks over a message by the brief way and by the general one.
func sameFields(t *testing.T, msg []byte) {
	t.Helper()
	brief, general := cursor{rest: msg}, cursor{rest: msg}
	for more := true; more; {
		more = brief.next()
		if got := general.general(); got != more {
			t.Fatalf("next = %v, want %v\n%x", more, got, msg)
		}
		if brief.number != general.number || brief.kind != general.kind || brief.broken != general.broken ||
			!bytes.Equal(brief.value, general.value) || len(brief.rest) != len(general.rest) {
			t.Fatalf("%+v, want %+v\n%x", brief, general, msg)
		}
	}
	key, value, ok := entry(msg)
	wantKey, wantValue, want := generalEntry(msg)
	if ok != want || ok && (!bytes.Equal(key, wantKey) || !bytes.Equal(value, wantValue)) {
		t.Fatalf("entry %q: %q, %v; want %q: %q, %v\n%x", key, value, ok, wantKey, wantValue, want, msg)
	}
}

func TestBriefFieldsAreReadAsAllOthers(t *testing.T) {
	// Every beginning of a field: the tags of one byte and one of two, lengths around those
	// at which a length grows, written in as many bytes as it takes and in more.
	lengths := []string{
		"", "\x00", "\x01", "\x7f", "\x80", "\x80\x00", "\x81\x00", "\x80\x80\x00", "\x80\x01", "\xff\x01",
		"\xff\x7f", "\x80\x80\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	}
	for first := range 256 {
		for _, tag := range []string{string([]byte{byte(first)}), string([]byte{byte(first), 1})} {
			for _, length := range lengths {
				for _, size := range []int{0, 1, 2, 126, 127, 128, 255, 256, 16_383, 16_384, 16_385} {
					sameFields(t, []byte(tag+length+strings.Repeat("\x07", size)))
				}
			}
		}
	}
}

func TestEntriesAreReadHoweverTheyAreWritten(t *testing.T) {
	parts := []string{
		string(pack(nil, entryKey, "")), string(pack(nil, entryKey, "k")), string(pack(nil, entryKey, strings.Repeat("k", 200))),
		string(pack(nil, entryValue, "")), string(pack(nil, entryValue, "v")), string(pack(nil, entryValue, strings.Repeat("v", 20_000))),
		"\x08\x01", "\x10\x01", "\x1a\x01x", "\x0a", "\x12\x05", "\x0a\x81\x00k", "\x8a\x00\x01k", "\x0b\x0c",
	}
	for _, a := range append(slices.Clone(parts), "") {
		for _, b := range append(slices.Clone(parts), "") {
			for _, c := range append(slices.Clone(parts), "") {
				sameFields(t, []byte(a+b+c))
			}
		}
	}
}

func FuzzBriefFieldsAreReadAsAllOthers(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		f.Add(scrambled(f, r))
	}
	const deepest = 5 // attributes, request, http, header, value
	f.Fuzz(func(t *testing.T, msg []byte) { sameBelow(t, msg, deepest) })
}

// sameBelow walks over a message, and over what it holds as if that were messages.
func sameBelow(t *testing.T, msg []byte, depth int) {
	t.Helper()
	sameFields(t, msg)
	c := cursor{rest: msg}
	for depth > 0 && c.next() {
		sameBelow(t, c.value, depth-1)
	}
}
