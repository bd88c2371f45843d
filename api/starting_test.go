package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/weirhq/weir/internal/listen"
)

func TestWhileWeirStartsItLivesAndTheListenerIsForWhatFollows(t *testing.T) {
	a, err := listen.Parse("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Open(t.Context(), a, listen.Access{})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	status := func(path string) int {
		resp, err := client.Get("http://" + l.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	run := func(serve func(context.Context) error) (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- serve(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	end := run(NewStarting(l, slog.New(slog.DiscardHandler)).Run)
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/metrics": 503, "/v1/status": 503} {
		if got := status(path); got != want {
			t.Errorf("%s: status %d, want %d", path, got, want)
		}
	}
	end()
	end = run(func(ctx context.Context) error {
		return serve(ctx, []*listen.Listener{l}, func(*listen.Listener) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		}, slog.New(slog.DiscardHandler))
	})
	if got := status("/livez"); got != http.StatusTeapot {
		t.Errorf("what follows: status %d", got)
	}
	end()
}
