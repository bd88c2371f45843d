package proxy

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	logservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weirhq/weir/internal/listen"
)

// dialled is a client of a server in a bubble, which counts its connections.
func dialled(t *testing.T) (c *grpc.ClientConn, connections *int) {
	t.Helper()
	pipe := bufconn.Listen(1 << 16)
	t.Cleanup(start(t, options(), decide(allowAll), &listen.Listener{Listener: pipe}))
	connections = new(int)
	c, err := grpc.NewClient("passthrough:weir", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			*connections++
			return pipe.DialContext(ctx)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, connections
}

func TestAConnectionGetsOldAndItsAccessLogStreamGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, connections := dialled(t)
		stream, err := logservicev3.NewAccessLogServiceClient(c).StreamAccessLogs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 * 60 {
			if _, code := ask(t, c); code != codes.OK {
				t.Fatalf("a check ends with %v", code)
			}
			if err := stream.Send(&logservicev3.StreamAccessLogsMessage{}); err != nil {
				t.Fatalf("the stream ended: %v", err)
			}
			time.Sleep(time.Minute)
		}
		if *connections < 3 || *connections > 4 {
			t.Errorf("%d connections in three hours, want one each hour", *connections)
		}
	})
}

func TestAConnectionWithoutRPCsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, connections := dialled(t)
		for _, pause := range []time.Duration{maxIdle - time.Second, maxIdle + time.Second, 0} {
			if _, code := ask(t, c); code != codes.OK {
				t.Fatalf("a check ends with %v", code)
			}
			time.Sleep(pause)
		}
		if *connections != 2 {
			t.Errorf("%d connections, want 2: the second after more than %v without an rpc", *connections, maxIdle)
		}
	})
}
