package metering

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// catchUp takes over what the files of an earlier process hold that the ledger does not.
func (j *Journal) catchUp() error {
	numbers, err := j.numbers()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	limits := map[uint64]uint64{}
	for _, n := range numbers {
		if err := j.readLimits(n, limits); err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
	}
	for _, n := range numbers {
		j.number = n
		s, err := j.readSegment(n, limits)
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		if s.damage != nil && !j.setAside {
			return fmt.Errorf("read journal: %s: %w", j.name(n), s.damage)
		}
		j.sealed = append(j.sealed, s)
	}
	_ = j.Fold(context.Background()) // an error is said there, and it is tried again: what is there is durable
	return nil
}

// numbers are those of the files that are there, in their order.
func (j *Journal) numbers() ([]uint64, error) {
	entries, err := os.ReadDir(filepath.Dir(j.path))
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), filepath.Base(j.path)+"-")
		if n, err := strconv.ParseUint(text, 10, 64); ok && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// content reads a segment's file.
func (j *Journal) content(number uint64) ([]byte, error) {
	info, err := os.Stat(j.name(number))
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSegmentFile {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", j.name(number), maxSegmentFile)
	}
	return os.ReadFile(j.name(number))
}

// readLimits reads what a file says of the earlier ones.
func (j *Journal) readLimits(number uint64, limits map[uint64]uint64) error {
	content, err := j.content(number)
	if err != nil {
		return err
	}
	body, _, ok := frameAt(content, number, 0)
	if !ok {
		return nil // readSegment looks why
	}
	var said []limit
	c := &coder{buf: body, reading: true}
	if opening(c, &said); c.err != nil {
		return fmt.Errorf("%s: %w", j.name(number), c.err)
	}
	for _, l := range said {
		limits[l.Number] = l.Length
	}
	return nil
}

// readSegment reads what of a file counts: up to what a later one says of it, else as far as it is
// whole. A frame that is torn at the end of the last file was never acknowledged, for its writer
// waited; one with a whole frame behind it was, and is damage.
func (j *Journal) readSegment(number uint64, limits map[uint64]uint64) (*segment, error) {
	content, err := j.content(number)
	if err != nil {
		return nil, err
	}
	s := newSegment(number)
	s.size = int64(len(content))
	end, limited := limits[number]
	if limited && end <= uint64(len(content)) {
		content, s.size = content[:end], int64(end)
	} else if limited {
		s.damage = fmt.Errorf("%w: %d bytes of %d are there", ErrCorrupt, len(content), end)
	}
	said := map[uint64]Delta{}
	for at := int64(0); at < int64(len(content)); {
		body, next, ok := frameAt(content, number, at)
		if ok {
			if at > 0 {
				s.replay(body, said)
			}
			at = next
			continue
		}
		again, more := nextFrame(content, number, at)
		switch {
		case !more && !limited:
			j.log.Warn("the journal ends within a commit: it was never acknowledged and is cut off",
				"file", j.name(number), "offset", at, "bytes", int64(len(content))-at)
			s.size = at
			return s, nil
		case !more:
			again = int64(len(content))
		}
		s.damage = errors.Join(s.damage, fmt.Errorf("%w: bytes %d to %d of %d", ErrCorrupt, at, again, len(content)))
		at = again
	}
	return s, nil
}

// replay takes over a commit.
func (s *segment) replay(body []byte, said map[uint64]Delta) {
	writer, seq, deltas, lost, err := decode(body, said)
	if err != nil || lost > 0 {
		s.damage = errors.Join(s.damage, err)
	}
	if lost > 0 {
		s.damage = errors.Join(s.damage, fmt.Errorf("%w: of %d counts it is not known what they are of", ErrCorrupt, lost))
	}
	for i := range deltas {
		s.add(s.change(deltas[i].book()), writer, seq, &deltas[i])
	}
}
