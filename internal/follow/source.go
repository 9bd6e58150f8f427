package follow

import (
	"context"
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A source is the log of a segment or a space, from which a topic and its followers read.
type source interface {
	// tail returns the position after the last entry, and the end if the segment is closed.
	tail(ctx context.Context) (streamhub.Position, *streamhub.ClosedError, error)
	// read reads after a position, or from the start if it is zero. With prove the entry at that position is compared
	// with its proof. A reader of a space that began without a cursor passes the same start with all of its reads.
	read(ctx context.Context, after streamhub.Position, prove bool, start *hotlog.SpaceStart) (entryPage, error)
}

// An entryPage is the result of one read of the log. next is where the following read begins. It is after the last
// entry if the log holds a later change that is not an entry.
type entryPage struct {
	entries []streamhub.Entry
	next    streamhub.Position
	more    bool
	// written is when the last entry of the segment was appended, as of this read.
	written time.Time
	// end is set if the read reached the end of a closed segment.
	end *streamhub.ClosedError
}

type segmentSource struct {
	store *hotlog.Store
	key
}

func (s *segmentSource) tail(ctx context.Context) (streamhub.Position, *streamhub.ClosedError, error) {
	status, err := s.store.Status(ctx, s.space, s.segment)
	return status.Position, endOf(&status), err
}

func (s *segmentSource) read(ctx context.Context, after streamhub.Position, prove bool, _ *hotlog.SpaceStart) (entryPage, error) {
	p, err := s.store.ReadPage(ctx, s.space, s.segment, after, prove)
	if err != nil {
		return entryPage{}, err
	}
	got := entryPage{entries: p.Entries, next: p.Next(after), more: p.More, written: p.Status.LastTimestamp}
	if n := len(p.Entries); n > 0 && p.Entries[n-1].Timestamp.After(got.written) {
		got.written = p.Entries[n-1].Timestamp // the log was read after the meta, so this is the later time
	}
	if got.next.IsZero() {
		got.next = p.Status.Position // the segment keeps no entry
	}
	if !p.More {
		got.end = endOf(&p.Status)
	}
	return got, nil
}

// endOf returns the end of a closed segment, or nil if the segment is open.
func endOf(s *streamhub.Status) *streamhub.ClosedError {
	if s.State != streamhub.StateClosed {
		return nil
	}
	end := &streamhub.ClosedError{LastSequence: s.LastSequence}
	if s.Verdict != nil {
		end.Verdict = *s.Verdict
	}
	return end
}

type spaceSource struct {
	store *hotlog.Store
	key
}

func (s *spaceSource) tail(ctx context.Context) (streamhub.Position, *streamhub.ClosedError, error) {
	end, err := s.store.SpaceEnd(ctx, s.space)
	return end, nil, err
}

func (s *spaceSource) read(ctx context.Context, after streamhub.Position, _ bool, start *hotlog.SpaceStart) (entryPage, error) {
	entries, next, more, err := s.store.ReadSpacePage(ctx, s.space, after, start)
	return entryPage{entries: entries, next: next, more: more}, err
}

func isNotFound(err error) bool { return errors.Is(err, streamhub.ErrNotFound) }
