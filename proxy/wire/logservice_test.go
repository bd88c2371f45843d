package wire

import (
	"errors"
	"io"
	"strings"
	"testing"

	logservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// received is a stream on which one message comes, and then its end.
type received struct {
	grpc.ServerStream
	codec *codec
	data  mem.BufferSlice
}

func (r *received) RecvMsg(m any) error {
	if r.data == nil {
		return io.EOF
	}
	defer func() { r.data.Free(); r.data = nil }() // as grpc does
	return r.codec.Unmarshal(r.data, m)
}

func TestBuffersOfTheAccessLogGoBackOnceTheMessageIsTaken(t *testing.T) {
	pool := &poison{}
	in := typicalLog()
	in.Identifier = &logservicev3.StreamAccessLogsMessage_Identifier{LogName: strings.Repeat("long", 1024)} // grpc takes small buffers from no pool
	msg, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	room := pool.Get(len(msg))
	copy(*room, msg)
	s := &LogStream{ServerStream: &received{codec: &codec{generated: NewCodec(), pool: pool}, data: mem.BufferSlice{mem.NewBuffer(room, pool)}}}
	var kept string
	if err := s.Receive(func(e *LogEntry) {
		if kept = e.Details; kept != "via_upstream" {
			t.Errorf("details %q", kept)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if pool.taken != pool.given {
		t.Errorf("%d buffers were taken, %d given back", pool.taken, pool.given)
	}
	if kept == "via_upstream" {
		t.Error("a view outlives the call")
	}
	if err := s.Receive(func(*LogEntry) { t.Error("an entry after the end") }); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}
