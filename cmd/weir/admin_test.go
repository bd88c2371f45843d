package main

import "testing"

func TestAListenerOnEveryAddressIsAskedOnLoopback(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:9003":    "localhost:9003",
		"[::]:9003":       "localhost:9003",
		":9003":           "localhost:9003",
		"127.0.0.1:9003":  "127.0.0.1:9003",
		"weir.local:9003": "weir.local:9003",
	} {
		if got := reachable(address); got != want {
			t.Errorf("%s is asked at %s, want %s", address, got, want)
		}
	}
}
