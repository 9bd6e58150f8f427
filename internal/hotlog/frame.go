package hotlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"unsafe"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A frame is one Redis stream entry: the records of one append, or of several that were sent together. Integers are
// little-endian; a varint is that of encoding/binary.
//
//	0   version in the low 4 bits, 1; above them flags: 1 = a node follows the ids
//	1   records, 2 bytes
//	3   appends, 2 bytes
//	5   CRC-32C of all that follows, and before it of bytes 0 to 4, 4 bytes
//	9   id of the last append, 16 bytes
//	25  node, 16 bytes, if flagged
//	    if there are several appends, for each but the last: id, 16 bytes; records, varint; and
//	    then the records of the last, varint
//	    records: varint of length + 1, and payload; a record with metadata: 0, varint of length,
//	    payload, varint of pairs, and for each length and bytes of key and value, sorted by key
//
// The script that stores a frame reads bytes 1 to 24 and adds the rest: the entry id in Redis is "<last
// sequence>-<timestamp>" and the name of its one field is the TRX number of the last append.
const (
	frameVersion   = 1
	flagNode       = 1 << 4
	frameHeader    = 25
	checksumOffset = 5
	idOffset       = 9
	proofOffset    = 17      // the second half of the id
	maxMetadata    = 1 << 10 // pairs of one record
)

// castagnoli is CRC-32C, for which amd64 and arm64 have instructions of their own.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordBytes returns the maximum of bytes that appendRecord adds.
func recordBytes(r *streamhub.Record) int {
	n := binary.MaxVarintLen64 + len(r.Payload)
	for k, v := range r.Metadata {
		n += len(k) + len(v) + 2*binary.MaxVarintLen32
	}
	return n
}

// appendRecord encodes a record. Equal records get equal bytes, which is why metadata are sorted: a repeat is
// recognised by the checksum of its records.
func appendRecord(b []byte, r *streamhub.Record) []byte {
	if len(r.Metadata) == 0 {
		return append(binary.AppendUvarint(b, uint64(len(r.Payload))+1), r.Payload...)
	}
	b = append(b, 0)
	b = append(binary.AppendUvarint(b, uint64(len(r.Payload))), r.Payload...)
	b = binary.AppendUvarint(b, uint64(len(r.Metadata)))
	keys := make([]string, 0, len(r.Metadata))
	for k := range r.Metadata {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
		v := r.Metadata[k]
		b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	return b
}

// A part is one append inside a frame: its records, already encoded. appendFrame copies body.
type part struct {
	id      uuid.UUID
	records int
	body    []byte
}

// appendFrame encodes parts, at least one, as one frame.
func appendFrame(b []byte, node uuid.UUID, parts ...part) []byte {
	records := 0
	for _, p := range parts {
		records += p.records
	}
	last := parts[len(parts)-1]
	start := len(b)
	b = append(b, frameVersion)
	// Both numbers fit: MaxFrameRecords bounds the records, and appends that share a frame have at least one each.
	b = binary.LittleEndian.AppendUint16(b, uint16(records))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(parts)))
	b = append(b, 0, 0, 0, 0)
	b = append(b, last.id[:]...)
	if node != uuid.Nil {
		b[start] |= flagNode
		b = append(b, node[:]...)
	}
	if len(parts) > 1 {
		for _, p := range parts[:len(parts)-1] {
			b = append(b, p.id[:]...)
			b = binary.AppendUvarint(b, uint64(p.records))
		}
		b = binary.AppendUvarint(b, uint64(last.records))
	}
	for _, p := range parts {
		b = append(b, p.body...)
	}
	binary.LittleEndian.PutUint32(b[start+checksumOffset:], frameSum(b[start:]))
	return b
}

// frameSum returns the checksum of the frame f. It skips the bytes of the checksum itself.
func frameSum(f []byte) uint32 {
	sum := crc32.Update(0, castagnoli, f[:checksumOffset])
	return crc32.Update(sum, castagnoli, f[idOffset:])
}

// proofOf is the proof of an entry whose append has this id: its second half, as the scripts cut it out of a frame. For
// a new id it has 62 random bits, so incarnations are made with it too.
func proofOf(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

func appendProof(b []byte, proof uint64) []byte { return binary.BigEndian.AppendUint64(b, proof) }

// A frame is decoded in place: its entries share its memory.
type frame struct {
	// last is the sequence of the last record. Like number and timestamp (Unix milliseconds), it is stored in Redis
	// beside the frame.
	last      uint64
	number    uint64 // of the last append
	timestamp int64
	// data is the whole frame. records and appends are from its header.
	data    []byte
	records int
	appends int
}

func (f *frame) first() uint64 { return f.last - uint64(f.records) + 1 }

// parseFrame checks the header and the checksum.
func parseFrame(last, number uint64, timestamp int64, data []byte) (frame, error) {
	f := frame{last: last, number: number, timestamp: timestamp, data: data}
	if len(data) < frameHeader {
		return f, fmt.Errorf("%w: a frame of %d bytes", streamhub.ErrCorrupt, len(data))
	}
	if data[0]&^flagNode != frameVersion {
		return f, fmt.Errorf("%w: frame version and flags %#x", streamhub.ErrCorrupt, data[0])
	}
	f.records = int(binary.LittleEndian.Uint16(data[1:]))
	f.appends = int(binary.LittleEndian.Uint16(data[3:]))
	if sum := binary.LittleEndian.Uint32(data[checksumOffset:]); sum != frameSum(data) {
		return f, fmt.Errorf("%w: checksum of the frame that ends at sequence %d", streamhub.ErrCorrupt, last)
	}
	// The first sequence and the TRX numbers are found by subtraction, which must not wrap.
	if f.appends == 0 || f.records == 0 || uint64(f.records) > last || uint64(f.appends) > number {
		return f, fmt.Errorf("%w: a frame of %d records in %d appends ends at sequence %d",
			streamhub.ErrCorrupt, f.records, f.appends, last)
	}
	return f, nil
}

// entries calls yield with each entry of the frame whose sequence is in [from, to], made from base,
// until yield returns false; it then reports false. The entry is valid during the call; its payload
// and metadata may be kept.
func (f *frame) entries(base *streamhub.Entry, from, to uint64, yield func(*streamhub.Entry) bool) (bool, error) {
	d := decoder{b: f.data[frameHeader:]}
	lastID := uuid.UUID(f.data[idOffset:frameHeader])
	e := *base
	e.Timestamp = millis.Time(f.timestamp)
	if f.data[0]&flagNode != 0 {
		e.TRX.Node = uuid.UUID(d.bytes(16))
	}
	// The runs are the appends of the frame in their order, and how many of the records each of them has.
	type run struct {
		id      uuid.UUID
		records int
	}
	var one [1]run
	runs := append(one[:0], run{lastID, f.records})
	if f.appends > 1 {
		runs = runs[:0]
		total := 0
		for i := 0; i < f.appends && d.ok(); i++ {
			r := run{id: lastID}
			if i < f.appends-1 {
				r.id = uuid.UUID(d.bytes(16))
			}
			r.records = int(d.uvarint(streamhub.MaxFrameRecords))
			total += r.records
			runs = append(runs, r)
		}
		// The checksum proves that the bytes are unchanged, not that their writer counted correctly.
		if total != f.records {
			d.failed = true
		}
	}
	e.Sequence = f.first() - 1
	for i, r := range runs {
		e.TRX.ID, e.TRX.Number = r.id, f.number-uint64(len(runs)-1-i)
		e.Position.Proof = proofOf(r.id)
		for range r.records {
			e.Sequence++
			if size := d.uvarint(streamhub.MaxFrameBytes); size > 0 {
				e.Payload, e.Metadata = d.bytes(size-1), nil
			} else {
				e.Payload = d.bytes(d.uvarint(streamhub.MaxFrameBytes))
				e.Metadata = d.metadata()
			}
			if !d.ok() {
				return false, fmt.Errorf("%w: record %d", streamhub.ErrCorrupt, e.Sequence)
			}
			// The record was decoded all the same, because only its length says where the next one begins.
			if e.Sequence < from {
				continue
			}
			if e.Sequence > to {
				return true, nil
			}
			e.Position.Sequence = e.Sequence
			if !yield(&e) {
				return false, nil
			}
		}
	}
	if !d.ok() || len(d.b) != 0 {
		return false, fmt.Errorf("%w: the frame that ends at sequence %d", streamhub.ErrCorrupt, f.last)
	}
	return true, nil
}

// proof returns the proof of the entry at sequence, which must be in the frame.
func (f *frame) proof(sequence uint64) (uint64, error) {
	var proof uint64
	_, err := f.entries(&streamhub.Entry{}, sequence, sequence, func(e *streamhub.Entry) bool {
		proof = e.Position.Proof
		return false
	})
	return proof, err
}

// A decoder reads varints and byte strings until it fails. The strings share b.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) ok() bool { return !d.failed }

// uvarint reads a number. One above limit fails: it is a length or a count, and its caller allocates by it.
func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > limit {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes returns the next n bytes in place. After a failure it makes up to 16 zeros: callers convert the result to a
// UUID before they ask for ok, and a shorter slice would panic there.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.failed = true
		return make([]byte, min(n, 16))
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

// text reads a string in place, which may be kept: the bytes of a frame do not change.
func (d *decoder) text() string {
	b := d.bytes(d.uvarint(streamhub.MaxFrameBytes))
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (d *decoder) metadata() map[string]string {
	n := d.uvarint(maxMetadata)
	m := make(map[string]string, n)
	for range n {
		if !d.ok() {
			return nil
		}
		k := d.text()
		m[k] = d.text()
	}
	return m
}
