package metering

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"
)

// A segment is one file of a journal. It holds frames, one after the other; the first says what
// the file is, each other one is a commit. A frame is
//
//	"weiR"    by which the next one is found behind a damaged one
//	length    4 bytes, big endian, of what follows the checksum
//	CRC-32C   of the segment's number, the frame's offset, and what follows
//	body
//
// so that no bytes that were left over, or came from elsewhere, are taken for one.
const (
	frameMagic  = "weiR"
	frameHeader = len(frameMagic) + 4 + 4
	// segmentFormat is what a segment's first frame begins with; another one is refused, not guessed.
	segmentFormat = "weir-journal-1"
	// maxSegmentFile bounds what is read of one file, in bytes: maxJournal, and the largest commit beside it.
	maxSegmentFile = 1 << 30
)

// limit says how long a segment's file is in bytes, as far as what it holds was acknowledged.
type limit struct{ Number, Length uint64 }

// segment is what a journal holds of one of its files.
type segment struct {
	number  uint64
	file    journalFile // nil: nothing is written to it any more
	size    int64       // bytes that are durable
	changes map[bookID]*change
	events  map[EventID]struct{}
	oldest  time.Time // when the first of the events came
	damage  error     // what was found when its file was read; nil: none
}

func newSegment(number uint64) *segment {
	return &segment{number: number, changes: map[bookID]*change{}, events: map[EventID]struct{}{}}
}

// change finds or makes the change of a book.
func (s *segment) change(id bookID) *change {
	c := s.changes[id]
	if c == nil {
		c = &change{key: string(bookKey(id.license, id.feature)), id: id, number: uint64(len(s.changes))}
		s.changes[id] = c
	}
	return c
}

// add takes a commit's delta over.
func (s *segment) add(c *change, writer string, seq uint64, d *Delta) {
	c.add(d)
	c.note(writer, seq)
	for _, id := range d.Events {
		s.events[id] = struct{}{}
	}
	if len(d.Events) == 0 {
		return
	}
	if seen := seenSecond(d.Seen); s.oldest.IsZero() || seen.Before(s.oldest) {
		s.oldest = seen
	}
}

// list are the changes that hold anything.
func (s *segment) list() []*change {
	return slices.DeleteFunc(slices.Collect(maps.Values(s.changes)), func(c *change) bool { return len(c.deltas) == 0 })
}

// frame appends the frame of a body to what will be at an offset of the segment's file.
func frame(to []byte, number uint64, offset int64, body []byte) []byte {
	to = append(to, frameMagic...)
	to = binary.BigEndian.AppendUint32(to, uint32(len(body)))
	to = binary.BigEndian.AppendUint32(to, frameSum(number, offset, body))
	return append(to, body...)
}

func frameSum(number uint64, offset int64, body []byte) uint32 {
	var place [16]byte
	binary.BigEndian.PutUint64(place[:], number)
	binary.BigEndian.PutUint64(place[8:], uint64(offset))
	return crc32.Update(crc32.Checksum(place[:], castagnoli()), castagnoli(), body)
}

// frameAt is the body of the frame at an offset, and where the next one begins; false: there is no whole one.
func frameAt(content []byte, number uint64, offset int64) (body []byte, next int64, ok bool) {
	rest := content[offset:]
	if len(rest) < frameHeader || string(rest[:len(frameMagic)]) != frameMagic {
		return nil, 0, false
	}
	length := int64(binary.BigEndian.Uint32(rest[len(frameMagic):]))
	if length > int64(len(rest)-frameHeader) {
		return nil, 0, false
	}
	body = rest[frameHeader : int64(frameHeader)+length]
	if binary.BigEndian.Uint32(rest[len(frameMagic)+4:]) != frameSum(number, offset, body) {
		return nil, 0, false
	}
	return body, offset + int64(frameHeader) + length, true
}

// nextFrame finds the first whole frame after an offset; false: there is none.
func nextFrame(content []byte, number uint64, after int64) (offset int64, ok bool) {
	for at := after + 1; at < int64(len(content)); at++ {
		i := bytes.Index(content[at:], []byte(frameMagic))
		if i < 0 {
			break
		}
		at += int64(i)
		if _, _, ok := frameAt(content, number, at); ok {
			return at, true
		}
	}
	return 0, false
}

// opening is the body of a segment's first frame: its format, and how much of earlier ones counts.
func opening(c *coder, limits *[]limit) {
	name := segmentFormat
	if text(c, &name); c.reading && c.err == nil && name != segmentFormat {
		c.err = fmt.Errorf("format %q is not %q, which this version of weir reads", name, segmentFormat)
		return
	}
	each(c, limits, func(c *coder, l *limit) {
		c.uint64(&l.Number)
		c.uint64(&l.Length)
	})
}

// encode appends the body of a commit: each delta names its book by a number, and describes it
// where the segment has not done so in the same words. changes are those of the deltas, by index.
func (s *segment) encode(to []byte, writer string, seq uint64, deltas []*Delta, changes []*change) []byte {
	c := &coder{buf: to}
	text(c, &writer)
	c.uint64(&seq)
	n := uint64(len(deltas))
	c.uint64(&n)
	for i, d := range deltas {
		k := changes[i]
		name := k.number << 1
		if k.told && k.said.describes(d) && sameTerms(&k.said.Terms, &d.Terms) {
			c.uint64(&name)
		} else {
			name |= 1
			c.uint64(&name)
			d.codeDescription(c)
			k.told, k.said = true, *d
			k.said.Events, k.said.Tokens = nil, nil
		}
		d.code(c)
	}
	return c.buf
}

// decode reads what encode wrote. said holds the deltas that described books in the frames before, by
// number: where one of these is damaged, so are those that need it, and lost tells how many.
func decode(body []byte, said map[uint64]Delta) (writer string, seq uint64, deltas []Delta, lost int, err error) {
	c := &coder{buf: body, reading: true}
	text(c, &writer)
	c.uint64(&seq)
	var n uint64
	for c.uint64(&n); n > 0 && c.err == nil; n-- {
		var name uint64
		if c.uint64(&name); name&1 == 1 {
			var says Delta
			says.codeDescription(c)
			said[name>>1] = says
		}
		d, known := said[name>>1]
		d.code(c)
		if !known {
			lost++
			continue
		}
		deltas = append(deltas, d)
	}
	return writer, seq, deltas, lost, c.err
}

// codeDescription is what a delta says of its book.
func (d *Delta) codeDescription(c *coder) {
	text(c, &d.License)
	text(c, &d.Feature)
	text(c, &d.Account)
	text(c, &d.Customer)
	text(c, &d.Product)
	c.time(&d.Starts)
	c.time(&d.Ends)
	codeTerms(c, &d.Terms)
}

// code is what a delta says beside its description.
func (d *Delta) code(c *coder) {
	small(c, &d.Kind)
	c.int64(&d.Quantity)
	c.time(&d.Hour)
	c.time(&d.First)
	c.bool(&d.Late)
	c.time(&d.Else)
	each(c, &d.Events, func(c *coder, id *EventID) { c.raw(id[:]) })
	c.time(&d.Seen)
	c.time(&d.Minute)
	c.time(&d.To)
	c.int64(&d.Count)
	c.int64(&d.Held)
	c.uint64(&d.Epoch)
	small(c, &d.Turn)
	d.Tokens.code(c)
}
