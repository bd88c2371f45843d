package policy

import (
	"fmt"
	"testing"
)

// BenchmarkDecide is a warm allowed decision, with 10 and with 1,000 routes.
func BenchmarkDecide(b *testing.B) {
	for _, routes := range []int{10, 1000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			c := acme()
			for i := len(c.Routes); i < routes; i++ {
				c.Routes = append(c.Routes, Route{Name: fmt.Sprintf("r%d", i), Match: Match{Path: fmt.Sprintf("/v2/things%d/{id}", i)}, Mode: "enforce"})
			}
			p := compile(b, c)
			m := newMemory(p)
			m.hold("basic", license("b", "basic"))
			h, _ := m.Find(Subject{SubjectTenant, "basic"}, "acme")
			v := &fixed{h, m.confirmed}
			r := get("/v1/plain", "basic")
			b.ReportAllocs()
			for b.Loop() {
				if d := p.Decide(r, v, now); !d.Allowed() {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}
