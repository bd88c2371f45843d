package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/weirhq/weir/bench/load"
	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/internal/listen/listentest"
	"github.com/weirhq/weir/internal/race"
	"github.com/weirhq/weir/policy"
)

// What a check may cost, grpc-go's share and the client's of this test included: a handful
// of allocations more than it does cost, because grpc's batches vary.
const (
	maxAllocations    = 64
	maxAllocatedBytes = 5800
	maxOwnAllocations = 1 // the token, whose length varies
)

// typicalCheck is a check of 1.6 KB.
func typicalCheck() []byte {
	headers := map[string]string{"authorization": "Bearer " + strings.Repeat("eyJhbGciOiJSUzI1NiJ9", 30), "x-weir-tenant": "spoofed"}
	for i := range 17 {
		headers[fmt.Sprintf("x-header-%d", i)] = "a value of some thirty bytes..."
	}
	return encoded(checkOf(headers))
}

func TestCostOfADecidedCheckIsItsTokenAlone(t *testing.T) {
	if race.Detector {
		t.Skip("pools forget under the race detector")
	}
	a := newAuthorization(t, func(context.Context, *policy.Request) policy.Decision { return allowed() })
	a.tokens = fixedToken{}
	msg, dst := typicalCheck(), make([]byte, 0, 4096)
	for want, d := range map[float64]policy.Decision{0: allowed(), maxOwnAllocations: held()} {
		a.decider = decide(func(context.Context, *policy.Request) policy.Decision { return d })
		got := testing.AllocsPerRun(1000, func() {
			if _, err := a.AppendAnswer(t.Context(), msg, dst); err != nil {
				t.Fatal(err)
			}
		})
		if got != want {
			t.Errorf("%v allocations, want %v", got, want)
		}
	}
}

// tokenText is as long as a token is.
var tokenText = strings.Repeat("eyJhbGciOiJSUzI1NiJ9", 4)

// fixedToken makes tokens without allocating.
type fixedToken struct{}

func (fixedToken) AppendToken(dst []byte, _ *policy.Receipt, _ string) []byte {
	return append(dst, tokenText...)
}
func (fixedToken) Abandon(string, *policy.Receipt) {}

func TestCostOfACheckOverAConnection(t *testing.T) {
	if race.Detector {
		t.Skip("pools forget under the race detector")
	}
	l := listentest.Open(t, "127.0.0.1:0", listen.Access{})
	o := options()
	o.Tokens = fixedToken{}
	start(t, o, decide(func(context.Context, *policy.Request) policy.Decision { return held() }), l)
	conn, err := load.Dial(t.Context(), "tcp", l.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	msg := typicalCheck()
	plan := &load.Plan{InFlight: 16, For: 300 * time.Millisecond, Check: func(*load.Answer) error { return nil }, Requests: []load.Request{{
		Header: []hpack.HeaderField{
			{Name: ":method", Value: "POST"},
			{Name: ":scheme", Value: "http"},
			{Name: ":path", Value: "/envoy.service.auth.v3.Authorization/Check"},
			{Name: ":authority", Value: "weir"},
			{Name: "te", Value: "trailers"},
			{Name: "grpc-timeout", Value: "5S"},
			{Name: "content-type", Value: "application/grpc"},
		},
		Body: append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...),
	}}}
	if _, err := conn.Run(plan); err != nil { // pools and windows fill
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, err := conn.Run(plan)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	n := float64(len(result.Latencies))
	allocations, bytes := float64(after.Mallocs-before.Mallocs)/n, float64(after.TotalAlloc-before.TotalAlloc)/n
	t.Logf("%.0f checks: %.1f allocations and %.0f bytes each", n, allocations, bytes)
	if allocations > maxAllocations {
		t.Errorf("a check makes %.1f allocations, want at most %d", allocations, maxAllocations)
	}
	if bytes > maxAllocatedBytes {
		t.Errorf("a check allocates %.0f bytes, want at most %d", bytes, maxAllocatedBytes)
	}
}

func BenchmarkAnswer(b *testing.B) {
	d, room := allowed(), make([]byte, 0, 4096)
	var c check
	b.ReportAllocs()
	for b.Loop() {
		c.reset()
		c.token = tokenText
		c.answer(&d, noon).Append(room)
	}
}

func BenchmarkRead(b *testing.B) {
	msg := typicalCheck()
	var c check
	b.ReportAllocs()
	for b.Loop() {
		if !c.read(msg, true) {
			b.Fatal("the check is malformed")
		}
		c.reset()
	}
}
