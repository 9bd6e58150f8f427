// Package offset resolves the offsets of streamkit, for its protocol and for its client's API.
//
// An offset is the key of an entry in a space: time, segment and sequence. One that names an entry becomes the place of
// that entry in the timeline. Reading goes on after it, in the order in which Redis took the entries. Its
// time is the proof: the entry with that sequence has that time, or history was lost. Any other offset, a prefix or
// something foreign, is compared with the key of each entry; a time in it says where to begin.
package offset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A Reader reads what an offset is resolved with. Its errors end the resolving.
type Reader interface {
	// Between calls visit with the entries of a space after one time and until another. It ends when visit returns
	// false; a few more calls may follow, and their results do not count.
	Between(space string, after, until time.Time, visit func(*streamhub.Entry) bool) error
	// Status is that of a segment.
	Status(space, segment string) (streamhub.Status, error)
}

// A Place is where reading goes on: after Cursor if that is set, or else from After on with what [Place.Passes].
type Place struct {
	Cursor streamhub.Cursor
	After  time.Time
	key    streamhub.LexKey
}

// Filters reports whether entries have to be compared with the offset.
func (p *Place) Filters() bool { return p.Cursor == "" && len(p.key) > 0 }

// Passes reports whether an entry is after the offset.
func (p *Place) Passes(e *streamhub.Entry) bool {
	return !p.Filters() || bytes.Compare(e.GetSpaceOffset(), p.key) > 0
}

// Resolve returns the place after an offset of a space. An offset whose entry was trimmed, or whose segment was
// deleted, is compared by its key. A segment that has other entries there is a [streamhub.HistoryLostError].
func Resolve(r Reader, space string, key streamhub.LexKey) (Place, error) {
	at, p, segment, sequence := parse(space, key)
	if segment == "" {
		return p, nil
	}
	err := r.Between(space, p.After, millis.Time(at), func(e *streamhub.Entry) bool {
		if p.Cursor == "" && e.Sequence == sequence && e.Segment == segment && millis.Of(e.Timestamp) == at {
			p.Cursor = e.Cursor()
		}
		return p.Cursor == ""
	})
	if err != nil && !errors.Is(err, streamhub.ErrNotFound) && !errors.Is(err, streamhub.ErrTrimmed) || p.Cursor != "" {
		return p, err
	}
	status, err := r.Status(space, segment)
	switch {
	case errors.Is(err, streamhub.ErrNotFound), errors.Is(err, streamhub.ErrInvalidName):
		return p, nil
	case err != nil:
		return p, err
	case status.FirstSequence == 0 || sequence < status.FirstSequence || millis.Of(status.FirstTimestamp) > at:
		return p, nil // it was trimmed, or belongs to a segment that was deleted before this one was made
	}
	return p, &streamhub.HistoryLostError{FirstLost: min(sequence, status.LastSequence+1)}
}

// parse takes an offset apart. segment is empty unless the offset has the form of one that names an entry.
func parse(space string, key streamhub.LexKey) (at int64, p Place, segment string, sequence uint64) {
	p.key = key
	rest, ok := bytes.CutPrefix(key, append(streamhub.Encode("DAT", "SPACES", space), 0))
	if !ok || len(key) == 0 {
		return 0, p, "", 0
	}
	// A time that is cut short is not greater than any that it is the beginning of.
	var stamp [8]byte
	copy(stamp[:], rest)
	if at = int64(binary.BigEndian.Uint64(stamp[:]) ^ 1<<63); at > 1 {
		p.After = millis.Time(at - 1) // no entry up to here is after the offset
	}
	// <time> 0 <segment> 0 <sequence>
	if len(rest) < 8+1+1+1+8 || rest[8] != 0 || rest[len(rest)-9] != 0 || at <= 0 {
		return at, p, "", 0
	}
	return at, p, string(rest[9 : len(rest)-9]), binary.BigEndian.Uint64(rest[len(rest)-8:])
}
