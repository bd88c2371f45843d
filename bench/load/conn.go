package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The windows that Envoy gives (Envoy: initial_stream_window_size, initial_connection_window_size).
const (
	streamWindow     = 16 << 20
	connectionWindow = 24 << 20
	peerWindow       = 65_535 // what a peer gives before it says more (RFC 9113, 6.9.2)
)

// frameHeader is the length of what stands before each frame, in bytes (RFC 9113, 4.1).
const frameHeader = 9

// Conn is one connection. It is for one goroutine.
type Conn struct {
	conn    net.Conn
	out     bytes.Buffer
	framer  *http2.Framer // writes into out
	block   bytes.Buffer
	encoder *hpack.Encoder // writes into block
	decoder *hpack.Decoder
	emit    *stream // whose header fields the decoder emits

	in     []byte // what was read and is no whole frame yet is in[:filled]
	filled int

	streams map[uint32]*stream
	spare   []*stream
	id      uint32
	sent    uint64 // requests
	window  int64  // bytes that the peer still takes
	taken   int    // bytes that came and were not given back to the peer's window
	most    int    // streams that the peer takes at once
}

// stream is a request under way.
type stream struct {
	due    time.Time
	answer Answer
}

// Dial opens a connection to a server that speaks HTTP/2 at once.
func Dial(ctx context.Context, network, address string) (*Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	c := &Conn{conn: raw, in: make([]byte, 1<<20), streams: map[uint32]*stream{}, id: 1, window: peerWindow, most: math.MaxInt}
	c.framer = http2.NewFramer(&c.out, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if c.emit != nil {
			c.emit.answer.Header = append(c.emit.answer.Header, f)
		}
	})
	c.out.WriteString(http2.ClientPreface)
	err = errors.Join(
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow}, http2.Setting{ID: http2.SettingEnablePush, Val: 0}),
		c.framer.WriteWindowUpdate(0, connectionWindow-peerWindow),
		c.flush())
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

// Close closes the connection.
func (c *Conn) Close() { c.conn.Close() }

// queue writes a request into the buffer; false where the peer has no room for it.
// A buffer takes every frame.
func (c *Conn) queue(r *Request, due time.Time) bool {
	if int64(len(r.Body)) > c.window || len(c.streams) >= c.most {
		return false
	}
	c.block.Reset()
	for _, f := range r.Header {
		_ = c.encoder.WriteField(f)
	}
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: c.id, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: len(r.Body) == 0,
	})
	if len(r.Body) > 0 {
		_ = c.framer.WriteData(c.id, true, r.Body)
		c.window -= int64(len(r.Body))
	}
	s := c.fresh()
	s.due = due
	c.streams[c.id] = s
	c.id += 2
	return true
}

// fresh is an empty stream.
func (c *Conn) fresh() *stream {
	if len(c.spare) == 0 {
		return &stream{}
	}
	s := c.spare[len(c.spare)-1]
	c.spare = c.spare[:len(c.spare)-1]
	s.answer = Answer{Header: s.answer.Header[:0], Body: s.answer.Body[:0]}
	return s
}

// flush sends what is queued in one write.
func (c *Conn) flush() error {
	if c.out.Len() == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

// read waits until a time for whatever comes, and hands over each answer that is whole.
func (c *Conn) read(until time.Time, answered func(*stream) error) error {
	if err := c.conn.SetReadDeadline(until); err != nil {
		return err
	}
	n, err := c.conn.Read(c.in[c.filled:])
	c.filled += n
	if n == 0 {
		return err
	}
	at := 0
	for {
		rest := c.in[at:c.filled]
		if len(rest) < frameHeader {
			break
		}
		size := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
		if len(rest) < frameHeader+size {
			break
		}
		f := frame{kind: http2.FrameType(rest[3]), flags: http2.Flags(rest[4]), payload: rest[frameHeader : frameHeader+size]}
		f.stream = binary.BigEndian.Uint32(rest[5:]) & (1<<31 - 1)
		if err := c.handle(f, answered); err != nil {
			return err
		}
		at += frameHeader + size
	}
	c.filled = copy(c.in, c.in[at:c.filled])
	return nil
}

// frame is a frame as it came.
type frame struct {
	kind    http2.FrameType
	flags   http2.Flags
	stream  uint32
	payload []byte
}

func (c *Conn) handle(f frame, answered func(*stream) error) error {
	switch f.kind {
	case http2.FrameHeaders:
		return c.headers(f, answered)
	case http2.FrameData:
		return c.data(f, answered)
	case http2.FrameSettings:
		if f.flags&http2.FlagSettingsAck == 0 {
			c.settings(f.payload)
			return c.framer.WriteSettingsAck()
		}
	case http2.FramePing:
		if f.flags&http2.FlagPingAck == 0 {
			return c.framer.WritePing(true, [8]byte(f.payload))
		}
	case http2.FrameWindowUpdate:
		if f.stream == 0 {
			c.window += int64(binary.BigEndian.Uint32(f.payload))
		}
	case http2.FrameGoAway, http2.FrameRSTStream:
		return fmt.Errorf("the server ended it: %v, code %d", f.kind, binary.BigEndian.Uint32(f.payload[len(f.payload)-4:]))
	}
	return nil
}

// settings takes the one setting that matters to what is sent here (RFC 9113, 6.5.1).
func (c *Conn) settings(payload []byte) {
	const size = 6
	for ; len(payload) >= size; payload = payload[size:] {
		if http2.SettingID(binary.BigEndian.Uint16(payload)) == http2.SettingMaxConcurrentStreams {
			c.most = int(binary.BigEndian.Uint32(payload[2:]))
		}
	}
}

// headers takes headers or trailers, which no server here splits or pads.
func (c *Conn) headers(f frame, answered func(*stream) error) error {
	if f.flags&http2.FlagHeadersEndHeaders == 0 || f.flags&(http2.FlagHeadersPadded|http2.FlagHeadersPriority) != 0 {
		return errors.New("headers in a form that is not read here")
	}
	c.emit = c.streams[f.stream]
	if _, err := c.decoder.Write(f.payload); err != nil {
		return fmt.Errorf("read headers: %w", err)
	}
	if err := c.decoder.Close(); err != nil {
		return fmt.Errorf("read headers: %w", err)
	}
	return c.ended(f, answered)
}

func (c *Conn) data(f frame, answered func(*stream) error) error {
	if s := c.streams[f.stream]; s != nil {
		s.answer.Body = append(s.answer.Body, f.payload...)
	}
	if c.taken += len(f.payload); c.taken > connectionWindow/2 {
		if err := c.framer.WriteWindowUpdate(0, uint32(c.taken)); err != nil {
			return err
		}
		c.taken = 0
	}
	return c.ended(f, answered)
}

// ended hands an answer over when its stream has ended.
func (c *Conn) ended(f frame, answered func(*stream) error) error {
	s := c.streams[f.stream]
	if s == nil || f.flags&http2.FlagDataEndStream == 0 {
		return nil
	}
	delete(c.streams, f.stream)
	err := answered(s)
	c.spare = append(c.spare, s)
	return err
}
