package metering

import (
	"reflect"
	"testing"
	"time"

	"github.com/weirhq/weir/policy"
)

func TestTermsThatTakeTurnsAreKeptOnceEach(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	terms := [2]policy.Terms{{Then: policy.ThenBill, Dimension: "calls", Per: 1}, {Then: policy.ThenBill, Dimension: "calls", Per: 1000}}
	for _, served := range []bool{false, true} {
		y := &tally{record: &record{meter: new(Meter)}}
		taking := policy.Taking{Quantity: 1, Need: 1, At: at, Served: served}
		next := func() {
			for i := range terms {
				taking.Terms = terms[i]
				y.take(&taking, at, 1, 0, new(policy.Balance))
			}
		}
		next()
		first := [2]*agreed{y.agreed(&terms[0]), y.agreed(&terms[1])}
		for range 100 {
			next()
		}
		if n := len(y.counts) + len(y.waits.cells); n != len(terms) {
			t.Errorf("served %t: %d sums are kept, want %d", served, n, len(terms))
		}
		for i := range terms {
			if y.agreed(&terms[i]) != first[i] {
				t.Errorf("served %t: terms %d were made anew", served, i)
			}
		}
	}
}

func TestTermsThatDifferInOneFieldAreNotTheSame(t *testing.T) {
	plain := policy.Terms{}
	of := reflect.TypeOf(plain)
	for i := range of.NumField() {
		changed := plain
		switch f := reflect.ValueOf(&changed).Elem().Field(i); f.Interface().(type) {
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(1, 0)))
		case string:
			f.SetString("calls")
		default:
			if f.CanInt() {
				f.SetInt(1)
			} else {
				f.SetUint(1)
			}
		}
		if sameTerms(&plain, &changed) {
			t.Errorf("terms with another %s are taken for the same", of.Field(i).Name)
		}
	}
	if !sameTerms(&plain, &policy.Terms{}) {
		t.Error("terms are not the same as themselves")
	}
}
