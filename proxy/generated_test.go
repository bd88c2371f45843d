package proxy

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weirhq/weir/policy"
)

// The tests speak the generated types, which Envoy's messages are defined by.

// request reads a CheckRequest.
func request(in *authv3.CheckRequest, trustRequestID bool) (c *check, ok bool) {
	c = new(check)
	return c, c.read(encoded(in), trustRequestID)
}

// response is the CheckResponse that answers a check.
func response(c *check, d *policy.Decision, now time.Time) *authv3.CheckResponse {
	c.reply.Reset()
	return decoded(c.answer(d, now).Append(nil))
}

// Check answers a check.
func (a *authorization) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	out, err := a.AppendAnswer(ctx, encoded(in), nil)
	if err != nil {
		return nil, err
	}
	return decoded(out), nil
}

func encoded(in *authv3.CheckRequest) []byte {
	b, err := proto.Marshal(in)
	if err != nil {
		panic(err)
	}
	return b
}

func decoded(b []byte) *authv3.CheckResponse {
	out := &authv3.CheckResponse{}
	if err := proto.Unmarshal(b, out); err != nil {
		panic(err)
	}
	return out
}
