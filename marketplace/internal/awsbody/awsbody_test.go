package awsbody_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/middleware"

	"github.com/weirhq/weir/marketplace/internal/awsbody"
)

// busy is a connection of a machine that takes long to go on after each write: the SDK sees the answer and closes the body meanwhile.
type busy struct{ net.Conn }

func (c busy) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	time.Sleep(20 * time.Millisecond)
	return n, err
}

func TestAnAnswerThatComesWhileTheBodyIsBeingSentIsRead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.(http.Flusher).Flush()
		time.Sleep(60 * time.Millisecond) // for the client to go on writing
		if _, err := w.Write([]byte(`{"QueueUrls":["https://example.com/1/weir"]}`)); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	client := sqs.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		APIOptions:  []func(*middleware.Stack) error{awsbody.Plain},
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(transport *http.Transport) {
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				return busy{conn}, err
			}
		}),
	})
	for range 3 {
		if _, err := client.ListQueues(t.Context(), &sqs.ListQueuesInput{}); err != nil {
			t.Error(err)
		}
	}
}
