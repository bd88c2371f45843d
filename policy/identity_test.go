package policy

import (
	"regexp"
	"testing"
)

// identityRule is the rule of an identity value, written another way.
var identityRule = regexp.MustCompile(`\A[A-Za-z0-9._:@/+=-]{1,256}\z`)

func FuzzIdentity(f *testing.F) {
	for _, seed := range []string{"initech", "", "a b", "caf!", "caf\xe9", "a\x00", "spiffe://acme/ns/x", "arn:aws:license-manager::1:license:l-1", "a,b", "\u212a"} {
		f.Add(seed, uint8(1), "")
		f.Add(seed, uint8(0), seed)
	}
	c := acme()
	c.Identity = []Extractor{{From: "context", Key: "tenant", As: "tenant"}, {From: "header", Name: "x-tenant-id", As: "account"}}
	p := compile(f, c)
	f.Fuzz(func(t *testing.T, header string, n uint8, context string) {
		a := &attributes{headers: map[string][]string{}, context: map[string]string{}}
		for range n % 4 {
			a.headers["x-tenant-id"] = append(a.headers["x-tenant-id"], header)
		}
		want := Subject{}
		switch {
		case context != "": // present: it decides alone
			a.context["tenant"] = context
			if identityRule.MatchString(context) {
				want = Subject{SubjectTenant, context}
			}
		case n%4 == 1 && identityRule.MatchString(header):
			want = Subject{SubjectAccount, header}
		}
		if got := p.identify(a); got != want {
			t.Errorf("context %q, header %q given %d times: got %+v, want %+v", context, header, n%4, got, want)
		}
	})
}
