package wire

import (
	"encoding/binary"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// appendUint64 writes eight bytes, big-endian.
func appendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendName writes an item of a listing.
func AppendName(b []byte, name string) []byte { return appendBytes(b, name) }

// DecodeNames reads the items of a listing.
func DecodeNames(body []byte) (names []string, err error) {
	d := newDecoder(body)
	for len(d.b) > 0 {
		names = append(names, d.string())
	}
	return names, d.err
}

// AppendStatus writes an item of a status subscription.
func AppendStatus(b []byte, s *streamhub.Status) []byte {
	start := len(b)
	b = appendStatus(b, s)
	return frame(b, start)
}

// frame inserts the length of b[start:] at start. An item with its length may get more fields at its end: an older
// client skips them.
func frame(b []byte, start int) []byte {
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(len(b)-start))
	b = append(b, head[:n]...)
	copy(b[start+n:], b[start:len(b)-n])
	copy(b[start:], head[:n])
	return b
}

// DecodeStatuses reads the items of a status subscription.
func DecodeStatuses(body []byte) (statuses []streamhub.Status, err error) {
	d := newDecoder(body)
	for len(d.b) > 0 {
		item := newDecoder(d.bytes())
		statuses = append(statuses, decodeStatus(&item))
		if item.err != nil {
			return nil, item.err
		}
	}
	return statuses, d.err
}

// appendStatus writes the fields of a status in the order of docs/protocol.md. Times are Unix
// milliseconds, 0 for none.
func appendStatus(b []byte, s *streamhub.Status) []byte {
	b = appendNames(b, s.Space, s.Segment, string(s.State))
	b = appendTime(appendUint(b, s.FirstSequence), s.FirstTimestamp)
	b = appendTime(appendUint(b, s.LastSequence), s.LastTimestamp)
	b = appendBytes(appendUint(b, s.Generation), s.ContentType)
	b = appendTime(appendInt(b, int64(s.TTL)), s.ExpiresAt)
	b = appendUint(appendBytes(b, s.Parent), s.ForkedAt)
	b = appendPosition(b, &s.Position)
	b = appendBool(b, s.Heartbeat)
	b = appendBool(b, s.Verdict != nil)
	if s.Verdict != nil {
		b = appendVerdict(b, s.Verdict)
	}
	return b
}

func decodeStatus(d *decoder) streamhub.Status {
	s := streamhub.Status{
		Space: d.string(), Segment: d.string(), State: streamhub.State(d.string()),
		FirstSequence: d.uint(), FirstTimestamp: d.time(), LastSequence: d.uint(), LastTimestamp: d.time(),
		Generation: d.uint(), ContentType: d.string(), TTL: time.Duration(d.int()), ExpiresAt: d.time(),
		Parent: d.string(), ForkedAt: d.uint(), Position: decodePosition(d), Heartbeat: d.bool(),
	}
	if d.bool() {
		v := decodeVerdict(d)
		s.Verdict = &v
	}
	return s
}

// appendPosition writes a position. Incarnation, lineage and proof are random, so they have eight
// bytes each.
func appendPosition(b []byte, p *streamhub.Position) []byte {
	b = appendUint64(appendUint64(b, p.Incarnation), p.Lineage)
	b = appendUint64(appendUint(b, p.Sequence), p.Proof)
	return appendUint(appendUint(appendUint(b, p.Timeline.MS), p.Timeline.N), uint64(p.Index))
}

func decodePosition(d *decoder) streamhub.Position {
	return streamhub.Position{
		Incarnation: d.uint64(), Lineage: d.uint64(), Sequence: d.uint(), Proof: d.uint64(),
		Timeline: streamhub.TimelineID{MS: d.uint(), N: d.uint()}, Index: uint32(d.uint()),
	}
}

// AppendWorkers writes an item of a worker subscription: the whole list.
func AppendWorkers(b []byte, workers []streamhub.Worker) []byte {
	b = appendUint(b, uint64(len(workers)))
	for i := range workers {
		b = append(b, workers[i].ID[:]...)
		b = appendTime(appendPairs(b, workers[i].Metadata), workers[i].LastSeen)
	}
	return b
}

// DecodeWorkers reads the last list of a body; it replaces the earlier ones.
func DecodeWorkers(body []byte) (workers []streamhub.Worker, err error) {
	d := newDecoder(body)
	for len(d.b) > 0 {
		n := d.count(18)
		workers = make([]streamhub.Worker, 0, min(n, firstElements))
		for i := 0; i < n && d.element(); i++ {
			workers = append(workers, streamhub.Worker{ID: d.uuid(), Metadata: d.pairs(), LastSeen: d.time()})
		}
	}
	return workers, d.err
}
