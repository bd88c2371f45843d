package metering

import (
	"encoding/binary"
	"fmt"
	"time"
)

// coder writes values as compact bytes, or reads them back: what a value consists of is
// said once for both ways. Numbers are varints (encoding/binary), a zero time is one byte.
type coder struct {
	buf     []byte // what is written so far, or is left to read
	reading bool
	err     error // of reading
}

// unread ends the reading of bytes that are no value.
func (c *coder) unread() {
	c.buf = nil
	if c.err == nil {
		c.err = fmt.Errorf("%w: a value ends too early", ErrCorrupt)
	}
}

func (c *coder) uint64(v *uint64) {
	if !c.reading {
		if *v < 0x80 { // as most are
			c.buf = append(c.buf, byte(*v))
			return
		}
		c.buf = binary.AppendUvarint(c.buf, *v)
		return
	}
	n := 0
	if *v, n = binary.Uvarint(c.buf); n <= 0 {
		c.unread()
		return
	}
	c.buf = c.buf[n:]
}

func (c *coder) int64(v *int64) {
	wide := zigzag(*v)
	c.uint64(&wide)
	*v = zagzig(wide)
}

// zigzag has numbers near 0 short, also those below it (encoding/binary: Varint); zagzig undoes it.
func zigzag(v int64) uint64 { return uint64(v<<1 ^ v>>63) }

func zagzig(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// small is a number of a type of its own, or a bool as 0 and 1.
func small[T ~uint8 | ~uint32](c *coder, v *T) {
	wide := uint64(*v)
	c.uint64(&wide)
	*v = T(wide)
}

func (c *coder) bool(v *bool) {
	var n uint8
	if *v {
		n = 1
	}
	small(c, &n)
	*v = n == 1
}

// time keeps an instant, in UTC, to the nanosecond.
func (c *coder) time(v *time.Time) {
	var seconds, nanos uint64 // 0: the zero time; else zigzag of Unix seconds, and 1
	if !c.reading && !v.IsZero() {
		seconds, nanos = zigzag(v.Unix())+1, uint64(v.Nanosecond())
	}
	if c.uint64(&seconds); seconds == 0 {
		*v = time.Time{}
		return
	}
	if c.uint64(&nanos); c.reading {
		*v = time.Unix(zagzig(seconds-1), int64(nanos)).UTC()
	}
}

// text is a string of any type, behind its length in bytes.
func text[T ~string](c *coder, v *T) {
	n := uint64(len(*v))
	c.uint64(&n)
	switch {
	case !c.reading:
		c.buf = append(c.buf, *v...)
	case n > uint64(len(c.buf)):
		c.unread()
	default:
		*v, c.buf = T(c.buf[:n]), c.buf[n:]
	}
}

// raw is bytes whose number is known.
func (c *coder) raw(v []byte) {
	switch {
	case !c.reading:
		c.buf = append(c.buf, v...)
	case len(v) > len(c.buf):
		c.unread()
	default:
		copy(v, c.buf)
		c.buf = c.buf[len(v):]
	}
}

// each is a list behind its length. An element takes a byte at least, which bounds what a length can ask for.
func each[S ~[]T, T any](c *coder, list *S, one func(*coder, *T)) {
	n := uint64(len(*list))
	c.uint64(&n)
	if c.reading {
		*list = nil
		if n > uint64(len(c.buf)) {
			c.unread()
			return
		}
		if n > 0 {
			*list = make(S, n)
		}
	}
	for i := range *list {
		one(c, &(*list)[i])
	}
}
