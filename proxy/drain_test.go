package proxy

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weirhq/weir/internal/listen"
	"github.com/weirhq/weir/policy"
)

func TestDrainingEndsWithinItsBoundWhateverADecisionDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := bufconn.Listen(1 << 16)
		asked := make(chan struct{})
		stop := start(t, options(), decide(func(ctx context.Context, _ *policy.Request) policy.Decision {
			close(asked)
			<-ctx.Done()
			return allowed()
		}), &listen.Listener{Listener: pipe})
		c, err := grpc.NewClient("passthrough:weir", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			_, err := authv3.NewAuthorizationClient(c).Check(context.Background(), checkOf(nil))
			answered <- err
		}()
		<-asked
		began := time.Now()
		stop()
		if got := time.Since(began); got != drainTimeout {
			t.Errorf("draining took %v, want %v", got, drainTimeout)
		}
		if err := <-answered; status.Code(err) != codes.Unavailable {
			t.Errorf("the check that was cut off got %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
