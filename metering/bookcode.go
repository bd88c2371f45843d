package metering

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/weirhq/weir/policy"
)

// bookVersion is the first byte of a book's encoding; another one is refused, not guessed.
const bookVersion = 1

// sealBook encodes a book behind its checksum. Books are read and written a thousand times as
// often as anything else in a ledger, so they are not in JSON, where a third of a commit's time went to them.
func sealBook(b *book) []byte {
	c := &coder{buf: make([]byte, 4, 512)}
	c.buf = append(c.buf, bookVersion)
	b.code(c)
	binary.BigEndian.PutUint32(c.buf, crc32.Checksum(c.buf[4:], castagnoli()))
	return c.buf
}

// unsealBook decodes a book whose checksum is right.
func unsealBook(value []byte) (*book, error) {
	body, err := unsum(value)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 || body[0] != bookVersion {
		return nil, fmt.Errorf("%w: a book of another version", ErrCorrupt)
	}
	b := new(book)
	c := &coder{buf: body[1:], reading: true}
	b.code(c)
	if c.err == nil && len(c.buf) > 0 {
		c.err = fmt.Errorf("%w: a book is longer than it says", ErrCorrupt)
	}
	return b, c.err
}

func (b *book) code(c *coder) {
	text(c, &b.License)
	text(c, &b.Feature)
	text(c, &b.Account)
	text(c, &b.Customer)
	text(c, &b.Product)
	c.time(&b.Starts)
	c.time(&b.Ends)
	c.time(&b.First)
	c.time(&b.Closed)
	b.Writers.code(c)
	for p := range policy.Periods {
		b.Periods[p].code(c)
		b.Before[p].code(c)
	}
	for _, units := range []*int64{&b.Counted, &b.Included, &b.Billable, &b.Overrun, &b.Unpriced} {
		c.int64(units)
	}
	each(c, &b.Lines, func(c *coder, l *line) { l.code(c) })
	b.Pending.code(c)
}

func (s *sequences) code(c *coder) {
	each(c, s, func(c *coder, e *serial) {
		text(c, &e.writer)
		c.uint64(&e.seq)
	})
}

func (p *PeriodTotal) code(c *coder) {
	c.time(&p.Start)
	c.int64(&p.Used)
}

func (l *line) code(c *coder) {
	text(c, &l.Dimension)
	c.int64(&l.Per)
	c.int64(&l.Carry)
	c.int64(&l.Pruned)
	each(c, &l.Open, func(c *coder, o *openHour) {
		c.time(&o.Hour)
		c.int64(&o.Units)
		c.bool(&o.Late)
	})
}

func (p *pending) code(c *coder) {
	each(c, &p.Cells, func(c *coder, cell *PendingCell) { cell.code(c) })
	c.int64(&p.Issued)
	c.int64(&p.Resolved)
	c.time(&p.Settled)
	each(c, &p.Turns, func(c *coder, t *Turn) {
		c.uint64(&t.Epoch)
		small(c, &t.Turn)
		c.time(&t.Minute)
	})
}

func (p *PendingCell) code(c *coder) {
	c.time(&p.Minute)
	codeTerms(c, &p.Terms)
	c.int64(&p.Count)
	c.int64(&p.Units)
	c.int64(&p.Held)
	p.Moved.code(c)
}

func (t *Tokens) code(c *coder) {
	each(c, t, func(c *coder, one *Token) {
		c.uint64(&one.Epoch)
		c.uint64(&one.Number)
	})
}

func codeTerms(c *coder, t *policy.Terms) {
	c.int64(&t.Included)
	small(c, &t.Every)
	c.time(&t.Since)
	c.time(&t.Until)
	small(c, &t.Then)
	text(c, &t.Dimension)
	c.int64(&t.Per)
}
