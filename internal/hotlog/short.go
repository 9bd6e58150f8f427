package hotlog

import (
	"encoding/binary"
	"strconv"
	"time"
)

// The short way is a script of its own, short.lua: a frame that comes with the head that this process saw
// last is stored without any check if that is still the head of the segment. So this process makes
// the checks itself, and writes what the script would have written. A frame that finds another head
// is sent again, the long way.

const (
	// shortRest is how many frames go the long way after another writer has appended.
	shortRest = 16
	// shortAge is how old a head may be. The sweep forgets rows after a day, and the short way does
	// not tell it that there is a row again.
	shortAge = 12 * time.Hour
)

// appendTo writes the head as the scripts do, up to the timestamp, which only Redis knows. Every byte
// matters: the short way compares the head as a string.
func (h *head) appendTo(b []byte) []byte {
	b = append(b, headLayout)
	b = appendHex16(b, h.incarnation)
	b = binary.BigEndian.AppendUint64(b, h.proof)
	b = appendHex16(b, h.lineage)
	b = append(b, h.state, '-')
	for _, v := range [...]uint64{h.last, h.number, h.generation} {
		b = append(strconv.AppendUint(b, v, 10), ' ')
	}
	return b
}

// saw remembers the head after a frame that was stored, for the short way of the next one.
func (g *tail) saw(h head) {
	g.seen, g.seenAt, g.unheard = h, time.Now(), false
	if g.rest > 0 {
		g.rest--
	}
}

// head is what the script wrote for a frame of this process that went the long way; the zero head
// where that is not known.
func (s *storedFrame) head(f *flight) head {
	if s.repeated || s.closed || s.last < s.first || f.opt != (orderOptions{}) {
		return head{}
	}
	return head{
		incarnation: f.incarnation, proof: proofOf(f.requests[len(f.requests)-1].id), lineage: s.lineage,
		state: stateOpen, last: s.last, number: s.number, generation: s.generation, timestamp: s.timestamp,
	}
}

// mayGoShort reports whether this process can make all checks of the long way itself, on the head
// that it saw last. Frames of named producers, repeats, conditions and frames in doubt need rows and
// fields that only the script sees.
func (f *flight) mayGoShort() bool {
	first := f.requests[0]
	return f.own && f.pinned && f.attempt == 0 && !f.unknown && len(f.doubts) == 0 && f.rest == 0 &&
		f.seen.state == stateOpen && f.seen.incarnation == f.incarnation && f.position.Sequence <= f.seen.last && time.Since(f.seenAt) < shortAge &&
		f.opt == (orderOptions{}) && first.records > 0 &&
		(first.expect == 0 || first.expect == f.seen.last+1) && first.generation >= f.seen.generation
}

// The pieces of a frame beside its bytes. The first ones are those of short.lua, in the order in which it takes them;
// lone.lua takes others.
const (
	pieceSeen   = iota // the head that must be there
	pieceHead          // the next one, without the timestamp
	pieceRow           // the row of the producer, without the timestamp
	pieceNumber        // the TRX number
	pieceRef           // the reference for the timeline
	pieceLast          // the sequence with which the reference begins
	pieceLead          // how the notice begins
	pieces
)

// goShort writes the pieces that the script needs. All of them share one allocation.
func (f *flight) goShort() {
	records, next := 0, f.seen
	for _, r := range f.requests {
		records += r.records
	}
	id := f.requests[len(f.requests)-1].id
	next.proof = proofOf(id)
	next.last += uint64(records)
	next.number += uint64(len(f.requests))
	next.generation = f.requests[0].generation
	f.short = next

	var starts, ends [pieces]int
	b := make([]byte, 0, 384)
	b = strconv.AppendInt(f.seen.appendTo(b), f.seen.timestamp, 10)
	starts[pieceHead], ends[pieceSeen] = len(b), len(b)
	b = next.appendTo(b)
	starts[pieceRow], ends[pieceHead] = len(b), len(b)
	b = append(b, id[:]...)
	b = append(b, f.frame[checksumOffset:checksumOffset+4]...)
	b = append(b, "----"...)
	for _, v := range [...]uint64{f.epoch, f.seq, f.seen.last + 1, next.last, next.number} {
		b = append(strconv.AppendUint(b, v, 10), ' ')
	}
	starts[pieceNumber], ends[pieceRow] = len(b), len(b)
	b = strconv.AppendUint(b, next.number, 10)
	starts[pieceRef], ends[pieceNumber] = len(b), len(b)
	b = strconv.AppendUint(b, next.last, 10)
	starts[pieceLast], ends[pieceLast] = starts[pieceRef], len(b)
	if records > 1 {
		b = strconv.AppendInt(append(b, ':'), int64(records), 10)
	}
	starts[pieceLead], ends[pieceRef] = len(b), len(b)
	b = append(strconv.AppendUint(binary.BigEndian.AppendUint64(b, f.seen.proof), f.seen.last, 10), ' ')
	ends[pieceLead] = len(b)
	text := string(b)
	for i := range f.pieces {
		f.pieces[i] = text[starts[i]:ends[i]]
	}
}

// changesOf returns the timeline entry for the flights of one space: one text for all of them, see change.
func changesOf(flights []*flight) []byte {
	size := 0
	for _, f := range flights {
		size += len(f.segment) + len(f.pieces[pieceRef]) + 2
	}
	b := make([]byte, 0, size)
	for i, f := range flights {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(append(b, f.segment...), ' '), f.pieces[pieceRef]...)
	}
	return b
}

// The flags of a frame for short.lua.
const (
	heardNotice = 1 // its notice is to carry it
	manyRecords = 2 // MANY_RECORDS in the script
)

func (f *flight) flags() (flags byte) {
	if !f.unheard {
		flags = heardNotice
	}
	if f.short.last > f.seen.last+1 {
		flags += manyRecords
	}
	return flags
}

// isShort reports whether f goes the short way.
func (f *flight) isShort() bool { return f.short.state != 0 }

// wentShort returns where the script has stored the frame. The answer has only the timestamp; everything else was
// decided here.
func (f *flight) wentShort(timestamp string) (*storedFrame, error) {
	h := &f.short
	if err := parseNumbers(timestamp, &h.timestamp); err != nil {
		return nil, err
	}
	return &storedFrame{
		first: f.seen.last + 1, last: h.last, number: h.number, generation: h.generation,
		lineage: h.lineage, timestamp: h.timestamp,
	}, nil
}
