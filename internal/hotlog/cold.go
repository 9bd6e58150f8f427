package hotlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A Cold reads entries that have left Redis; internal/archiver implements it. For entries that it does not hold the
// error is [streamhub.ErrNotFound]. Its results are shared and must not be changed.
type Cold interface {
	// Frames returns frames of one incarnation of a segment, in order and without gaps; one of them
	// holds sequence. Frames before that one may come with it: they lie in the same chunk.
	Frames(ctx context.Context, of ColdSegment, sequence uint64) ([]archive.Frame, error)
	// Locate returns the range of the frames that Frames would return, without reading them.
	Locate(ctx context.Context, of ColdSegment, sequence uint64) (archive.Range, error)
	// Changes returns the window of a timeline that holds the first change at or after from.
	Changes(ctx context.Context, store uuid.UUID, space string, from streamhub.TimelineID) (*archive.Window, error)
}

// A ColdSegment names one incarnation of a segment.
type ColdSegment struct {
	Store          uuid.UUID
	Space, Segment string
	Incarnation    uint64
}

// errNoArchive is the error of a process that was opened without the archive.
var errNoArchive = fmt.Errorf("%w: the entries are archived, and this program was opened without the archive: name it in the options", streamhub.ErrUnavailable)

func (p *place) cold(incarnation uint64) ColdSegment {
	return ColdSegment{p.store, p.space, p.name, incarnation}
}

// coldFrames reads frames from the one that holds sequence, up to the border to Redis. It returns none if the archive
// does not hold the sequence.
func (l *Log) coldFrames(ctx context.Context, src *source, sequence uint64) ([]frame, error) {
	if l.opt.Cold == nil {
		return nil, errNoArchive
	}
	found, err := l.opt.Cold.Frames(ctx, src.cold(src.meta.incarnation), sequence)
	if errors.Is(err, streamhub.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var frames []frame
	for i := range found {
		c := &found[i]
		if c.Last < sequence {
			continue
		}
		if c.Last >= src.meta.hot {
			break // another history may be archived there
		}
		f, err := parseFrame(c.Last, c.Number, c.Timestamp, c.Data)
		if err != nil {
			return nil, err
		}
		frames = append(frames, f)
	}
	if n := len(frames); n > 0 && frames[n-1].last == src.meta.hot-1 && src.meta.hotProof != 0 {
		proof, err := frames[n-1].proof(frames[n-1].last)
		if err == nil && proof != src.meta.hotProof {
			err = &streamhub.HistoryLostError{FirstLost: frames[n-1].last}
		}
		return frames, err
	}
	return frames, nil
}

// coldSpan returns the frames of a segment that end at lasts, which rise; nil for those that the
// archive does not hold.
func (l *Log) coldSpan(ctx context.Context, src *source, lasts []uint64) ([]*frame, error) {
	found := make([]*frame, len(lasts))
	for i := 0; i < len(lasts); {
		frames, err := l.coldFrames(ctx, src, lasts[i])
		if err != nil {
			return nil, err
		}
		if len(frames) == 0 {
			i++
			continue
		}
		for n := range frames {
			f := &frames[n]
			for i < len(lasts) && lasts[i] < f.last {
				i++ // this sequence is inside a frame, not its end
			}
			if i < len(lasts) && lasts[i] == f.last {
				found[i] = f
				i++
			}
		}
	}
	return found, nil
}

// coldChanges reads a part of the timeline from the archive: about count changes, all of one place or none.
// last is the place that was read just before from, zero for none; a part that does not continue there
// is another history. next is where to go on.
func (l *Log) coldChanges(ctx context.Context, k spaceKeys, from, to, last streamhub.TimelineID, count int) (changes []change, next streamhub.TimelineID, more bool, err error) {
	if l.opt.Cold == nil {
		return nil, next, false, errNoArchive
	}
	part, err := l.opt.Cold.Changes(ctx, k.store, k.space, from)
	if errors.Is(err, streamhub.ErrNotFound) {
		return nil, next, false, fmt.Errorf("%w: %s is missing from the archive", streamhub.ErrCorrupt, from)
	}
	if err != nil {
		return nil, next, false, err
	}
	continues := last.IsZero() || last == part.After
	more = true
	next = streamhub.TimelineID{MS: part.To.MS, N: part.To.N + 1}
	for i := range part.Changes {
		c := &part.Changes[i]
		id := c.ID
		if id.Before(from) {
			continues = continues || id == last
			continue
		}
		if to.Before(id) {
			more = false
			break
		}
		if n := len(changes); n >= count && changes[n-1].id != id {
			next = id
			break
		}
		changes = append(changes, change{
			id: id, index: c.Index, segment: redisx.Escape(c.Segment), kind: changeKind(c.Kind), last: c.Last, records: c.Records,
		})
	}
	if !continues {
		return nil, next, false, &streamhub.HistoryLostError{}
	}
	return changes, next, more && !to.Before(next), nil
}
