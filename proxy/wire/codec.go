package wire

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec hands the bytes of a check over as they are, and every other message to the
// codec of the generated types.
type codec struct {
	generated encoding.CodecV2
	pool      mem.BufferPool
}

var _ encoding.CodecV2 = (*codec)(nil)

// NewCodec makes the codec of a server on which Register was called.
func NewCodec() encoding.CodecV2 {
	return &codec{generated: encoding.GetCodecV2(proto.Name), pool: mem.DefaultBufferPool()}
}

// Unmarshal takes a reference to the data of a check, which its handler gives back.
func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*message); ok {
		m.buffer = data.MaterializeToBuffer(c.pool)
		return nil
	}
	return c.generated.Unmarshal(data, v)
}

// Marshal sends an answer that is bytes already; grpc gives its buffer back.
func (c *codec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(mem.Buffer); ok {
		return mem.BufferSlice{b}, nil
	}
	return c.generated.Marshal(v)
}

// Name is that of the generated types' codec: on the wire there is no difference.
func (c *codec) Name() string { return c.generated.Name() }
