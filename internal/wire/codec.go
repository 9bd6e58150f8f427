package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// ErrMalformed is the error for bytes that no conforming peer sends.
var ErrMalformed = errors.New("malformed message")

// Booleans are one byte, 0 or 1; a decoder takes any other value for true.
func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendUint writes a uvarint: seven bits a byte, the lowest first, as Protocol Buffers do.
func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// appendInt writes a varint with zigzag, for integers that may be negative and for durations in
// nanoseconds.
func appendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// appendTime writes t in Unix milliseconds, 0 for the zero Time.
func appendTime(b []byte, t time.Time) []byte { return appendInt(b, millis.Of(t)) }

// appendBytes writes the length of v and then v.
func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// appendPairs writes a map in the order of its keys, so that equal values have equal bytes.
func appendPairs(b []byte, pairs map[string]string) []byte {
	b = appendUint(b, uint64(len(pairs)))
	if len(pairs) == 0 {
		return b
	}
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		b = appendBytes(appendBytes(b, k), pairs[k])
	}
	return b
}

// A decoder decodes values from the front of b. After the first failure it returns zeros, so that callers check err
// once, at the end. Its allocations grow with the elements that it has read, never with a count that precedes them.
type decoder struct {
	b        []byte
	err      error
	elements int // that may still be decoded, see maxElements
}

const (
	// maxElements is how many pairs and records one request may hold. A decoded element takes about 100 bytes, but only
	// two on the wire, so a request of small elements would take many times its size.
	maxElements = 512 << 10
	// firstElements is the largest initial capacity of a decoded slice or map.
	firstElements = 256
)

// newDecoder makes a decoder without a limit of elements: for messages of a server, and for bodies without elements.
func newDecoder(b []byte) decoder { return decoder{b: b, elements: math.MaxInt} }

// element reports whether one more may be decoded.
func (d *decoder) element() bool {
	if d.err == nil && d.elements == 0 {
		d.err = fmt.Errorf("%w: more than %d records and pairs in one request", streamhub.ErrTooLarge, maxElements)
		d.b = nil
	}
	d.elements--
	return d.err == nil
}

// fail records the first failure. Without bytes every later read fails at once.
func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, what)
		d.b = nil
	}
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// time reads what appendTime wrote.
func (d *decoder) time() time.Time { return millis.Time(d.int()) }

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("integer")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("end of bytes")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bool() bool { return d.byte() != 0 }

// bytes reads a length and that many bytes. They share memory with the input; their capacity is cut, so that an append
// copies them. The result is nil if the length is 0.
func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail("length beyond the end")
	}
	if d.err != nil || n == 0 {
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes()) }

// uint64 reads eight bytes, big-endian: for random values, which a varint would make longer.
func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail("end of bytes")
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) uint32() uint32 {
	if len(d.b) < 4 {
		d.fail("end of bytes")
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *decoder) uuid() (id uuid.UUID) {
	if len(d.b) < len(id) {
		d.fail("end of bytes")
		return id
	}
	d.b = d.b[copy(id[:], d.b):]
	return id
}

// count reads how many elements follow. Each has at least size bytes, so a count that the input
// cannot hold is refused before anything is allocated.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.fail("count beyond the end")
		return 0
	}
	return int(n)
}

// pairs reads what appendPairs wrote. The map is nil if there are no pairs.
func (d *decoder) pairs() map[string]string {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	pairs := make(map[string]string, min(n, 8))
	for i := 0; i < n && d.element(); i++ {
		k := d.string()
		pairs[k] = d.string()
	}
	return pairs
}
