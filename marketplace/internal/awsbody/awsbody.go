// Package awsbody keeps AWS's answers from being lost to an early one.
//
// The SDK closes a request's body once the head of the answer is there; net/http may then still be looking whether the body had more than
// its length. The body of smithy-go (v1.28) answers that look with io.EOF from WriteTo, which io.Copy takes for a failure, unlike one from
// Read: net/http ends the connection, and reading the answer fails with "use of closed network connection". Seen where an answer comes
// within the time that a busy machine takes to go on writing; each such call was carried out, and its outcome lost.
package awsbody

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Plain makes a client send bodies that are only read, never asked to write themselves. It is for [aws.Config.APIOptions].
func Plain(stack *middleware.Stack) error {
	return stack.Build.Add(middleware.BuildMiddlewareFunc("PlainBody", plain), middleware.Before)
}

func plain(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
	request, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return next.HandleBuild(ctx, in)
	}
	body, ok := request.GetStream().(io.ReadSeeker)
	if !ok { // no body, or one that can't be sent twice, which weir never sends
		return next.HandleBuild(ctx, in)
	}
	request, err := request.SetStream(struct{ io.ReadSeeker }{body})
	if err != nil {
		return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("set the request's body: %w", err)
	}
	in.Request = request
	return next.HandleBuild(ctx, in)
}
