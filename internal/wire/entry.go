package wire

import (
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// Flags of an entry, one byte. An entry holds only the fields that differ from the previous entry of the same run:
// neighbours mostly share the segment, and often the append. The first entry of a run has none of the flags whose names
// begin with same.
const (
	sameAppend  = 1 << iota // TRX, timestamp and proof
	sameLife                // incarnation and lineage
	sameSegment             // space and segment
	hasTimeline
	hasNode
	hasMetadata
	hasTrimmed // with hasTimeline
	hasMark    // with hasTimeline, unless the previous entry has the same mark
)

// AppendEntries writes a run of entries: their number, and then each as a difference to the one before it. A body may
// hold several runs, because each can be decoded by itself.
func AppendEntries(b []byte, entries []streamhub.Entry) []byte {
	b = appendUint(b, uint64(len(entries)))
	var last *streamhub.Entry
	for i := range entries {
		b = appendEntry(b, &entries[i], last)
		last = &entries[i]
	}
	return b
}

// appendEntry writes e as a difference to last, or completely if last is nil.
func appendEntry(b []byte, e, last *streamhub.Entry) []byte {
	flags := byte(0)
	set := func(bit byte, on bool) {
		if on {
			flags |= bit
		}
	}
	if last != nil {
		set(sameAppend, e.TRX == last.TRX && e.Timestamp.Equal(last.Timestamp) && e.Position.Proof == last.Position.Proof)
		set(sameLife, e.Position.Incarnation == last.Position.Incarnation && e.Position.Lineage == last.Position.Lineage)
		set(sameSegment, e.Segment == last.Segment && e.Space == last.Space)
	}
	set(hasTimeline, !e.Position.Timeline.IsZero())
	set(hasTrimmed, !e.Position.Timeline.IsZero() && !e.Position.Trimmed.IsZero())
	set(hasMark, !e.Position.Timeline.IsZero() && (last == nil || e.Position.Mark != last.Position.Mark))
	set(hasNode, e.TRX.Node != uuid.Nil)
	set(hasMetadata, len(e.Metadata) > 0)
	b = append(b, flags)
	if flags&sameSegment == 0 {
		b = appendNames(b, e.Space, e.Segment)
	}
	if flags&sameLife == 0 {
		b = appendUint64(appendUint64(b, e.Position.Incarnation), e.Position.Lineage)
	}
	if flags&sameAppend == 0 {
		b = append(b, e.TRX.ID[:]...)
		if flags&hasNode != 0 {
			b = append(b, e.TRX.Node[:]...)
		}
		b = appendUint64(appendTime(appendUint(b, e.TRX.Number), e.Timestamp), e.Position.Proof)
	}
	if flags&hasTimeline != 0 {
		t := e.Position.Timeline
		b = appendUint(appendUint(appendUint(b, t.MS), t.N), uint64(e.Position.Index))
	}
	if flags&hasMark != 0 {
		b = binary.BigEndian.AppendUint32(b, e.Position.Mark)
	}
	if flags&hasTrimmed != 0 {
		b = appendUint(appendUint(b, e.Position.Trimmed.MS), e.Position.Trimmed.N)
	}
	b = appendUint(b, e.Sequence)
	if flags&hasMetadata != 0 {
		b = appendPairs(b, e.Metadata)
	}
	return appendBytes(b, e.Payload)
}

// DecodeEntries reads what [AppendEntries] wrote, which may be several runs. Payloads share memory with body.
func DecodeEntries(body []byte) ([]streamhub.Entry, error) {
	d := newDecoder(body)
	var entries []streamhub.Entry
	for len(d.b) > 0 {
		n := d.count(3)
		if entries == nil {
			entries = make([]streamhub.Entry, 0, min(n, firstElements))
		}
		var last streamhub.Entry
		for i := 0; i < n && d.err == nil; i++ {
			entries = append(entries, decodeEntry(&d, &last))
			last = entries[len(entries)-1]
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	return entries, nil
}

// decodeEntry reads an entry; last is the one before it in the run, the zero entry for the first. It
// reads the fields in the order of appendEntry.
func decodeEntry(d *decoder, last *streamhub.Entry) streamhub.Entry {
	flags := d.byte()
	e := streamhub.Entry{Space: last.Space, Segment: last.Segment}
	if flags&sameSegment == 0 {
		e.Space, e.Segment = d.string(), d.string()
	}
	e.Position.Incarnation, e.Position.Lineage = last.Position.Incarnation, last.Position.Lineage
	if flags&sameLife == 0 {
		e.Position.Incarnation, e.Position.Lineage = d.uint64(), d.uint64()
	}
	e.TRX, e.Timestamp, e.Position.Proof = last.TRX, last.Timestamp, last.Position.Proof
	if flags&sameAppend == 0 {
		e.TRX = streamhub.TRX{ID: d.uuid()}
		if flags&hasNode != 0 {
			e.TRX.Node = d.uuid()
		}
		e.TRX.Number, e.Timestamp, e.Position.Proof = d.uint(), d.time(), d.uint64()
	}
	if flags&hasTimeline != 0 {
		e.Position.Timeline = streamhub.TimelineID{MS: d.uint(), N: d.uint()}
		e.Position.Index = uint32(d.uint())
	}
	if flags&hasTimeline != 0 {
		e.Position.Mark = last.Position.Mark
	}
	if flags&hasMark != 0 {
		e.Position.Mark = d.uint32()
	}
	if flags&hasTrimmed != 0 {
		e.Position.Trimmed = streamhub.TimelineID{MS: d.uint(), N: d.uint()}
	}
	e.Sequence = d.uint()
	e.Position.Sequence = e.Sequence
	if flags&hasMetadata != 0 {
		e.Metadata = d.pairs()
	}
	// An entry never has a nil payload, in process or over the wire.
	if e.Payload = d.bytes(); e.Payload == nil {
		e.Payload = []byte{}
	}
	return e
}
