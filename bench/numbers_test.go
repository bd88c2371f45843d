package main

import (
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

func TestSpreadIsMiddleLeastAndMost(t *testing.T) {
	same := func(n float64) float64 { return n }
	for _, tt := range []struct {
		of   []float64
		want spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		if got := spreadOf(tt.of, same); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.of, got, tt.want)
		}
	}
}

func TestRatiosAreOfWeirToA(t *testing.T) {
	p := pair{a: figure{cpu: 30 * time.Microsecond}, weir: figure{cpu: 12 * time.Microsecond}}
	if got := p.cpu(); got != 0.4 {
		t.Errorf("ratio %v, want 0.4", got)
	}
}

func TestEveryCheckHasAnIDOfItsOwn(t *testing.T) {
	all, err := checks(base().Tenant, func(int) string { return metered })
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for connection := range uint64(2) {
		prepare := numbering(connection)
		for n := range uint64(3) {
			prepare(n, &all[0])
			in := &authv3.CheckRequest{}
			if err := proto.Unmarshal(all[0].Body[grpcPrefix:], in); err != nil {
				t.Fatal(err)
			}
			seen[in.GetAttributes().GetRequest().GetHttp().GetId()] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d ids of 6 checks: %v", len(seen), seen)
	}
	if size := len(all[0].Body); size < 1400 || size > 1900 {
		t.Errorf("a check has %d bytes, want about 1,600", size)
	}
}
