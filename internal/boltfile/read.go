package boltfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Entry is a key and its value, as they were found.
type Entry struct {
	Bucket     string // empty where nothing tells: of a stray page
	Key, Value []byte
	// Stray tells that the page is no longer, or not provably, part of the file: what it
	// holds may be older than what was there.
	Stray bool
}

// Damage is a part of a file that can't be read.
type Damage struct {
	Offset int64  // in bytes from the start of the file
	Length int64  // in bytes; 0: not known
	Bucket string // empty: not known
	Why    string
}

// The layout of a page: its number, flags, the count of its elements and how many
// pages it goes on over; of elements of 16 bytes each; and of a bucket in its parent,
// whose page stands inline where it is small.
const (
	pageHeader    = 16
	pageFlags     = 8
	pageCount     = 10
	pageOverflow  = 12
	elementLength = 16
	bucketHeader  = 16

	branchPage  = 0x01
	leafPage    = 0x02
	bucketEntry = 0x01
	maxDepth    = 64       // a tree is a few pages deep: more is a loop
	maxRun      = 64 << 20 // bytes of one page with those that it goes on over: no value of ours is near it
)

// Read reads a file that bbolt can't, or should not, open: page by page, without a lock
// and without changing anything. Where a part of the tree is damaged it also looks through
// the pages that nothing leads to. What it visits is good until the visit ends.
func Read(path string, visit func(Entry)) ([]Damage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	r := &reader{file: f, size: info.Size(), seen: map[uint64]bool{}, visit: visit}
	m, ok := newestMeta(f)
	r.pageSize = m.pageSize
	switch {
	case ok && m.pageSize >= minPageSize && m.pageSize <= minPageSize<<pageSizeSteps:
		if want := m.size(); r.size < want {
			r.damaged(r.size, want-r.size, "", "the file is cut off here")
		}
		if r.behind = !m.paired(f); r.behind {
			r.damaged(0, 2*r.pageSize, "", "one of the two pages that say what the file is can't be read: the last change may be missing")
		}
		r.tree("", m.root, 0)
	default:
		r.pageSize = int64(os.Getpagesize())
		r.damaged(0, r.pageSize, "", "no page says what the file is")
	}
	if len(r.damage) > 0 {
		r.strays()
	}
	return r.damage, nil
}

// Readable reads the whole file and tells why it can't: a disk in trouble damages what is
// read, and not what is there.
func Readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

type reader struct {
	file     io.ReaderAt
	size     int64
	pageSize int64
	seen     map[uint64]bool
	behind   bool // the tree may be that of the change before the last
	visit    func(Entry)
	damage   []Damage
}

func (r *reader) damaged(offset, length int64, bucket, why string) {
	r.damage = append(r.damage, Damage{Offset: offset, Length: length, Bucket: bucket, Why: why})
}

// tree reads a page and what is below it.
func (r *reader) tree(bucket string, id uint64, depth int) {
	offset := int64(id) * r.pageSize
	if id > uint64(r.size/r.pageSize) || depth > maxDepth || r.seen[id] {
		r.damaged(0, 0, bucket, fmt.Sprintf("a page leads to page %d, which can't be", id))
		return
	}
	r.seen[id] = true
	page, whole, err := r.page(offset)
	if err != nil {
		r.damaged(offset, r.pageSize, bucket, err.Error())
		return
	}
	if !whole {
		r.damaged(offset, int64(len(page)), bucket, "the page is cut off")
	}
	if got := binary.NativeEndian.Uint64(page); got != id {
		r.damaged(offset, r.pageSize, bucket, fmt.Sprintf("page %d says that it is another one", id))
		return
	}
	switch flags(page) {
	case leafPage:
		r.leaf(bucket, page, offset, false)
	case branchPage:
		r.branch(bucket, page, offset, depth)
	default:
		r.damaged(offset, r.pageSize, bucket, fmt.Sprintf("page %d is of an unknown kind", id))
	}
}

// page reads a page with those that it goes on over, as far as they are there.
func (r *reader) page(offset int64) (page []byte, whole bool, err error) {
	var head [pageHeader]byte
	if _, err := r.file.ReadAt(head[:], offset); err != nil {
		return nil, false, fmt.Errorf("read page: %w", err)
	}
	length := (int64(binary.NativeEndian.Uint32(head[pageOverflow:])) + 1) * r.pageSize
	there := min(length, r.size-offset, maxRun)
	page = make([]byte, there)
	if n, err := r.file.ReadAt(page, offset); err != nil && n < pageHeader {
		return nil, false, fmt.Errorf("read page: %w", err)
	} else if int64(n) < there {
		return page[:n], false, nil
	}
	return page, there == length, nil
}

func flags(page []byte) uint16 { return binary.NativeEndian.Uint16(page[pageFlags:]) }

func (r *reader) branch(bucket string, page []byte, offset int64, depth int) {
	for i := range count(page) {
		at := pageHeader + i*elementLength
		if at+elementLength > len(page) {
			r.damaged(offset, int64(len(page)), bucket, "a page names more pages than it holds")
			return
		}
		r.tree(bucket, binary.NativeEndian.Uint64(page[at+8:]), depth+1)
	}
}

func count(page []byte) int { return int(binary.NativeEndian.Uint16(page[pageCount:])) }

// leaf reads the elements of a page. A stray one that makes no sense is none.
func (r *reader) leaf(bucket string, page []byte, offset int64, stray bool) {
	for i := range count(page) {
		key, value, kind, ok := element(page, i)
		switch {
		case !ok && stray:
		case !ok:
			r.damaged(offset, int64(len(page)), bucket, fmt.Sprintf("value %d of a page lies outside of it", i))
		case kind == bucketEntry:
			r.bucket(key, value, offset, stray)
		default:
			r.visit(Entry{Bucket: bucket, Key: key, Value: value, Stray: stray || r.behind})
		}
	}
}

// element is one key and value of a page; kind tells a bucket from a value.
func element(page []byte, i int) (key, value []byte, kind uint32, ok bool) {
	at := uint64(pageHeader + i*elementLength)
	if at+elementLength > uint64(len(page)) {
		return nil, nil, 0, false
	}
	native := binary.NativeEndian
	kind = native.Uint32(page[at:])
	from := at + uint64(native.Uint32(page[at+4:]))
	middle := from + uint64(native.Uint32(page[at+8:]))
	to := middle + uint64(native.Uint32(page[at+12:]))
	if to > uint64(len(page)) {
		return nil, nil, 0, false
	}
	return page[from:middle], page[middle:to], kind, true
}

// bucket reads a bucket, which stands inline or begins at a page of its own.
func (r *reader) bucket(key, value []byte, offset int64, stray bool) {
	if len(value) < bucketHeader {
		r.damaged(offset, 0, string(key), "the bucket has no beginning")
		return
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		if !stray { // one that is stray leads to pages that are looked through anyway
			r.tree(string(key), root, 0)
		}
		return
	}
	if inline := value[bucketHeader:]; len(inline) >= pageHeader {
		r.leaf(string(key), inline, offset, stray)
	}
}

// strays reads every page that the tree did not lead to.
func (r *reader) strays() {
	for id := range uint64((r.size + r.pageSize - 1) / r.pageSize) {
		offset := int64(id) * r.pageSize
		if r.seen[id] {
			continue
		}
		page, _, err := r.page(offset)
		if err == nil && flags(page) == leafPage {
			r.leaf("", page, offset, true)
		}
	}
}
