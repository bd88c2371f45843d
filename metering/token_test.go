package metering

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

func receipt() *policy.Receipt {
	return &policy.Receipt{
		Kind: policy.Pending, Tally: 1<<63 + 1, Epoch: 1<<64 - 1, Number: 63<<58 + 7, Minute: 29_000_000,
		Terms: 1 << 31, Turn: 1<<31 + 1, Quantity: 999_999_999_999_999, Need: 4000,
	}
}

func TestB04ATokenBringsTheReceiptBackForItsRouteOnly(t *testing.T) {
	n := newNotary(TokenKey{1})
	token := string(n.append(nil, receipt(), "chat"))
	got, ok := n.read(token, "chat")
	if diff := cmp.Diff(*receipt(), got); diff != "" || !ok {
		t.Errorf("read: %t (-want +got):\n%s", ok, diff)
	}
	if len(token) > 100 {
		t.Errorf("it is %d characters", len(token))
	}
	for _, route := range []string{"", "cha", "chat2"} {
		if _, ok := n.read(token, route); ok {
			t.Errorf("good for route %q", route)
		}
	}
	if _, ok := newNotary(TokenKey{2}).read(token, "chat"); ok {
		t.Error("good under another key")
	}
}

func TestB04AnyChangeOfATokenIsSeen(t *testing.T) {
	n := newNotary(TokenKey{1})
	token := n.append(nil, receipt(), "chat")
	for i := range token {
		for _, c := range []byte("A-_z") {
			if c == token[i] {
				continue
			}
			changed := bytes.Clone(token)
			changed[i] = c
			if _, ok := n.read(string(changed), "chat"); ok {
				t.Fatalf("%q in place %d is not seen", c, i)
			}
		}
		if _, ok := n.read(string(token[:i]), "chat"); ok {
			t.Fatalf("cut off after %d it is good", i)
		}
	}
}

func FuzzB04NoTextButATokenIsOne(f *testing.F) {
	n := newNotary(TokenKey{1})
	good := string(n.append(nil, receipt(), "chat"))
	f.Add(good, "chat")
	f.Add(strings.Repeat("A", tokenText), "")
	f.Fuzz(func(t *testing.T, token, route string) {
		if _, ok := n.read(token, route); ok != (token == good && route == "chat") {
			t.Errorf("%q of %q: %t", token, route, ok)
		}
	})
}

func TestB04MakingATokenAllocatesNothing(t *testing.T) {
	n, r, dst := newNotary(TokenKey{1}), receipt(), make([]byte, 0, 100)
	if got := testing.AllocsPerRun(1000, func() { n.append(dst, r, "chat") }); got != 0 {
		t.Errorf("it allocates %v times", got)
	}
}

func TestB04TheKeyOfTokensOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenTokenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenTokenKey(dir)
	if err != nil || again != first || first == (TokenKey{}) {
		t.Errorf("another key the second time, or none: %v", err)
	}
	if other, err := OpenTokenKey(t.TempDir()); err != nil || other == first {
		t.Errorf("two state directories have the same key, %v", err)
	}
	path := filepath.Join(dir, tokenKeyFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
	if err := os.WriteFile(path, first[:31], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTokenKey(dir); err == nil || !strings.Contains(err.Error(), "take it away") {
		t.Errorf("a key that is cut off: %v", err)
	}
}
