package streamhub

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
)

// A Cursor is an opaque text naming a position after one entry of a segment or of a space. The
// zero Cursor is the start. It holds only letters, digits, '-' and '_', and begins with a letter.
type Cursor string

// A TimelineID names an entry of the timeline of a space: the Unix milliseconds at which Redis stored it, and a counter
// within that millisecond. One entry may hold several changes.
type TimelineID struct{ MS, N uint64 }

// IsZero reports whether id names no entry.
func (id TimelineID) IsZero() bool { return id == TimelineID{} }

// Before reports whether id lies before other in the timeline.
func (id TimelineID) Before(other TimelineID) bool {
	return id.MS < other.MS || id.MS == other.MS && id.N < other.N
}

// String returns the id in the form of Redis: "<ms>-<n>".
func (id TimelineID) String() string {
	return strconv.FormatUint(id.MS, 10) + "-" + strconv.FormatUint(id.N, 10)
}

// A Position is the content of a [Cursor]. Stores make and read positions; programs keep and pass
// cursors.
type Position struct {
	// Incarnation is the random id of the segment from its creation to its deletion. Lineage is the id of one
	// uninterrupted reign of a Redis primary: the reign in which the entry was stored.
	Incarnation, Lineage uint64
	Sequence             uint64
	// Proof is taken from the id of the append that wrote the entry.
	Proof uint64
	// Timeline is set for a position along a space. Index numbers the changes of that timeline entry.
	Timeline TimelineID
	Index    uint32
	// Mark is set for a position along a space: a hash of the store and the name of the space. It tells
	// spaces apart, whose timelines can have equal ids.
	Mark uint32
	// Trimmed is set for a position along a space whose reader has received a [TrimmedError] there.
	// The read leaves out trimmed entries up to this place.
	Trimmed TimelineID
}

// IsZero reports whether p is the start.
func (p Position) IsZero() bool { return p == Position{} }

const (
	segmentCursor = 1
	spaceCursor   = 2
	trimmedCursor = 3 // of a space, with Trimmed
	cursorPrefix  = "c"
)

// Cursor returns p as text.
func (p Position) Cursor() Cursor {
	if p.IsZero() {
		return ""
	}
	var buf [1 + 3*8 + 6*binary.MaxVarintLen64 + 4]byte
	b := append(buf[:0], segmentCursor)
	switch {
	case p.Timeline.IsZero():
	case p.Trimmed.IsZero():
		b[0] = spaceCursor
	default:
		b[0] = trimmedCursor
	}
	b = binary.BigEndian.AppendUint64(b, p.Incarnation)
	b = binary.BigEndian.AppendUint64(b, p.Lineage)
	b = binary.BigEndian.AppendUint64(b, p.Proof)
	b = binary.AppendUvarint(b, p.Sequence)
	if !p.Timeline.IsZero() {
		b = binary.AppendUvarint(b, p.Timeline.MS)
		b = binary.AppendUvarint(b, p.Timeline.N)
		b = binary.AppendUvarint(b, uint64(p.Index))
		b = binary.BigEndian.AppendUint32(b, p.Mark)
	}
	if b[0] == trimmedCursor {
		b = binary.AppendUvarint(b, p.Trimmed.MS)
		b = binary.AppendUvarint(b, p.Trimmed.N)
	}
	return Cursor(cursorPrefix + base64.RawURLEncoding.EncodeToString(b))
}

// Position decodes c. The error is [ErrInvalidCursor] if [Position.Cursor] did not make c.
func (c Cursor) Position() (Position, error) {
	var p Position
	if c == "" {
		return p, nil
	}
	if c[0] != cursorPrefix[0] || len(c) > 128 {
		return p, fmt.Errorf("%w: %.40q is not a text that an entry, a status or a result gave", ErrInvalidCursor, string(c))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(c[1:]))
	if err != nil || len(b) < 1+3*8+1 || b[0] < segmentCursor || b[0] > trimmedCursor {
		return p, fmt.Errorf("%w: %.40q is not a text that an entry, a status or a result gave", ErrInvalidCursor, string(c))
	}
	kind := b[0]
	p.Incarnation = binary.BigEndian.Uint64(b[1:])
	p.Lineage = binary.BigEndian.Uint64(b[9:])
	p.Proof = binary.BigEndian.Uint64(b[17:])
	b = b[25:]
	ok := true
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	p.Sequence = next()
	if kind != segmentCursor {
		p.Timeline = TimelineID{MS: next(), N: next()}
		index := next()
		p.Index = uint32(index)
		if ok = ok && index <= 1<<31 && !p.Timeline.IsZero() && len(b) >= 4; ok {
			p.Mark, b = binary.BigEndian.Uint32(b), b[4:]
		}
	}
	if kind == trimmedCursor {
		p.Trimmed = TimelineID{MS: next(), N: next()}
	}
	// The text must be the one that Cursor writes: one position has one text.
	if !ok || len(b) != 0 || p.Cursor() != c {
		return Position{}, fmt.Errorf("%w: %.40q is not a text that an entry, a status or a result gave", ErrInvalidCursor, string(c))
	}
	return p, nil
}
