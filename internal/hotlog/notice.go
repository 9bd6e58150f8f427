package hotlog

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/google/uuid"
	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// SpaceChannel and SegmentChannel name the Pub/Sub channels of a space and of a segment.
func SpaceChannel(store uuid.UUID, space string) string { return keysOf(store, space).channel() }

// SegmentChannel: see SpaceChannel.
func SegmentChannel(store uuid.UUID, space, segment string) string {
	return keysOf(store, space).segmentChannel(redisx.Escape(segment))
}

// A SpaceNotice is a message on the channel of a space.
type SpaceNotice struct {
	Timeline streamhub.TimelineID
	Changes  []SegmentChange
}

// ParseSpaceNotice reads "<timeline id> <segment> <reference> …".
func ParseSpaceNotice(payload string) (n SpaceNotice, err error) {
	fields := strings.Split(payload, " ")
	if len(fields)%2 == 0 {
		return n, fmt.Errorf("%w: a notice of %d fields", streamhub.ErrCorrupt, len(fields))
	}
	id, err := parseTimelineID(fields[0])
	if err != nil {
		return n, err
	}
	n.Timeline = id
	for i := 1; i < len(fields); i += 2 {
		c, err := parseChange(fields[i], fields[i+1])
		if err != nil {
			return n, err
		}
		n.Changes = append(n.Changes, c.public())
	}
	return n, nil
}

// A SegmentNotice is a message on the channel of a segment.
type SegmentNotice struct {
	// Previous is the last sequence before the change, and PreviousProof its proof.
	Previous, PreviousProof uint64
	// Position is the position of the last entry after the change. Its lineage is the lineage of the append.
	Position  streamhub.Position
	Timestamp int64 // Unix milliseconds
	// Open is false where the segment was closed or deleted.
	Open  bool
	frame []byte
	head  head
}

// ParseSegmentNotice reads the previous proof and sequence, the head and the frame; see
// lua/append.lua.
func ParseSegmentNotice(payload string) (n SegmentNotice, err error) {
	corrupt := fmt.Errorf("%w: a notice of %d bytes", streamhub.ErrCorrupt, len(payload))
	if len(payload) < 8 {
		return n, corrupt
	}
	n.PreviousProof = binary.BigEndian.Uint64([]byte(payload[:8]))
	previous, rest, ok := strings.Cut(payload[8:], " ")
	if err := parseNumbers(previous, &n.Previous); err != nil || !ok || len(rest) < numbersAt {
		return n, corrupt
	}
	// The proof inside the head may hold a line feed, so it is looked for after the fixed part.
	end := strings.IndexByte(rest[numbersAt:], '\n')
	if end < 0 {
		return n, corrupt
	}
	if n.head, err = parseHead(rest[:numbersAt+end]); err != nil {
		return n, err
	}
	n.Position = (&meta{head: n.head}).position()
	n.Timestamp = n.head.timestamp
	n.Open = n.head.state == stateOpen || n.head.state == stateEmpty
	n.frame = []byte(rest[numbersAt+end+1:])
	return n, nil
}

// Continues reports whether the notice follows directly after the position after.
func (n *SegmentNotice) Continues(after streamhub.Position) bool {
	return n.Previous == after.Sequence && n.PreviousProof == after.Proof &&
		n.Position.Incarnation == after.Incarnation && n.Position.Lineage == after.Lineage
}

// Entries decodes the entries of the notice; there are none if the frame was too large.
func (n *SegmentNotice) Entries(space, segment string) ([]streamhub.Entry, error) {
	if len(n.frame) == 0 {
		return nil, nil
	}
	f, err := parseFrame(n.head.last, n.head.number, n.head.timestamp, n.frame)
	if err != nil || f.records == 0 {
		return nil, err
	}
	if f.first() != n.Previous+1 {
		return nil, fmt.Errorf("%w: a notice from %d to %d with %d records", streamhub.ErrCorrupt, n.Previous, n.head.last, f.records)
	}
	entries := make([]streamhub.Entry, 0, f.records)
	base := streamhub.Entry{Space: space, Segment: segment, Position: n.Position}
	_, err = f.entries(&base, 0, math.MaxUint64, func(e *streamhub.Entry) bool {
		entries = append(entries, *e)
		return true
	})
	return entries, err
}
