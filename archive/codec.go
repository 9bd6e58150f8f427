package archive

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-147127fe/streamhub"
)

// A writer encodes integers and strings; a reader decodes them. uint is a uvarint, int a varint with zigzag, and fixed
// has eight bytes, big-endian, for random values.
type writer struct{ b []byte }

func (w *writer) uint(v uint64)  { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)    { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) fixed(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }

func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) span(r Range) {
	w.uint(r.First)
	w.uint(r.Last)
	w.int(r.FirstTimestamp)
	w.int(r.LastTimestamp)
}

// A reader decodes values from the front of b. After a failure it returns zeros, so that callers need only one check,
// with end.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes takes n bytes, which share the memory of the input.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.failed = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) fixed() uint64 {
	if b := r.bytes(8); !r.failed {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) text() string { return string(r.bytes(r.uint())) }

func (r *reader) span() Range { return Range{r.uint(), r.uint(), r.int(), r.int()} }

// count reads the number of elements that follow. Each has at least size bytes, so a damaged count cannot cause a large
// allocation.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.failed = true
		return 0
	}
	return int(n)
}

// end returns an error unless every value was read and no byte is left.
func (r *reader) end(what string) error {
	if r.failed || len(r.b) != 0 {
		return fmt.Errorf("%w: the %s of an archived object", streamhub.ErrCorrupt, what)
	}
	return nil
}
