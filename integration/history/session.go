package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Seen is what stays of an entry that a follower got.
type Seen struct {
	Segment   string `json:",omitempty"` // along a space
	Sequence  uint64
	TRX       uuid.UUID
	Number    uint64
	Lineage   uint64
	Timestamp int64
	Digest    uint64
	At        int64 // on the clock of the recorder
}

// See makes a Seen.
func See(e *streamhub.Entry, at int64) Seen {
	return Seen{
		Sequence: e.Sequence, TRX: e.TRX.ID, Number: e.TRX.Number, Lineage: e.Position.Lineage,
		Timestamp: e.Timestamp.UnixMilli(), Digest: Digest(e.Payload, e.Metadata), At: at,
	}
}

// A Session is what one follower got in one go.
type Session struct {
	Follower       string
	Space, Segment string
	// From is the first sequence that it has to get; 0 is any.
	From uint64
	// Reach is the sequence that it had to get to, or along a space how many entries; 0 is none.
	Reach uint64
	Seen  []Seen

	// Code says how it ended, "" if its reader left.
	Code  streamhub.Code `json:",omitempty"`
	Error string         `json:",omitempty"`
	// Verdict and Last are those of the end of the segment, FirstLost that of lost history.
	Verdict         *streamhub.Verdict `json:",omitempty"`
	Last, FirstLost uint64
	// Late counts what was yielded after the end.
	Late int
}

func (s *Session) String() string {
	var first, last uint64
	if n := len(s.Seen); n > 0 {
		first, last = s.Seen[0].Sequence, s.Seen[n-1].Sequence
	}
	end := "left"
	if s.Code != "" {
		end = fmt.Sprintf("%s: %s", s.Code, s.Error)
	}
	return fmt.Sprintf("%s follows %s/%s from %d: %d entries %d–%d, %s", s.Follower, s.Space, s.Segment, s.From, len(s.Seen), first, last, end)
}

func (s *Session) end(err error) {
	s.Code, s.Error = streamhub.CodeOf(err), err.Error()
	var closed *streamhub.ClosedError
	var lost *streamhub.HistoryLostError
	if errors.As(err, &closed) {
		s.Verdict, s.Last = &closed.Verdict, closed.LastSequence
	}
	if errors.As(err, &lost) {
		s.FirstLost = lost.FirstLost
	}
}

// A Following is a [Session] that goes on. Its methods are safe for concurrent use.
type Following struct {
	mu      sync.Mutex
	session Session
	last    streamhub.Cursor
	moved   chan struct{} // closed by the next change
}

// Follow ranges over entries until they end and keeps what came, at the times of clock. each, if
// not nil, is called after every entry.
func Follow(name, space, segment string, from uint64, entries iter.Seq2[streamhub.Entry, error], clock func() int64, each func(*streamhub.Entry)) *Following {
	f := &Following{session: Session{Follower: name, Space: space, Segment: segment, From: from}, moved: make(chan struct{})}
	f.run(entries, clock, each)
	return f
}

// Start is Follow in a goroutine of its own, that done waits for.
func Start(name, space, segment string, from uint64, entries iter.Seq2[streamhub.Entry, error], clock func() int64, each func(*streamhub.Entry)) (f *Following, done func()) {
	f = &Following{session: Session{Follower: name, Space: space, Segment: segment, From: from}, moved: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() { f.run(entries, clock, each) })
	return f, running.Wait
}

func (f *Following) run(entries iter.Seq2[streamhub.Entry, error], clock func() int64, each func(*streamhub.Entry)) {
	for e, err := range entries {
		f.mu.Lock()
		switch {
		case f.session.Code != "":
			f.session.Late++
		case err != nil:
			if !errors.Is(err, context.Canceled) {
				f.session.end(err)
			}
		default:
			s := See(&e, clock())
			if f.session.Segment == "" {
				s.Segment = e.Segment
			}
			f.session.Seen = append(f.session.Seen, s)
			f.last = e.Cursor()
		}
		close(f.moved)
		f.moved = make(chan struct{})
		f.mu.Unlock()
		if err == nil && each != nil {
			each(&e)
		}
	}
}

// Session returns what came so far.
func (f *Following) Session() Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.session
	s.Seen = append([]Seen(nil), s.Seen...)
	return s
}

// Cursor resumes after the last entry that came.
func (f *Following) Cursor() streamhub.Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Wait returns when entry sequence has come, or n entries along a space, or the follower has
// ended, or ctx has.
func (f *Following) Wait(ctx context.Context, sequence uint64) error {
	for {
		f.mu.Lock()
		n := len(f.session.Seen)
		reached := n > 0 && f.session.Seen[n-1].Sequence >= sequence
		if f.session.Segment == "" {
			reached = uint64(n) >= sequence
		}
		ended, moved := f.session.Code, f.moved
		var last uint64
		if n > 0 {
			last = f.session.Seen[n-1].Sequence
		}
		f.mu.Unlock()
		switch {
		case reached || sequence == 0:
			return nil
		case ended != "":
			return fmt.Errorf("%s ended at %d, before %d: %s", f.session.Follower, last, sequence, f.session.Error)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%s is at %d, not at %d: %w", f.session.Follower, last, sequence, ctx.Err())
		}
	}
}

// WaitEnd returns when the follower has ended with an error, or ctx has.
func (f *Following) WaitEnd(ctx context.Context) error {
	for {
		f.mu.Lock()
		ended, moved := f.session.Code, f.moved
		f.mu.Unlock()
		if ended != "" {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%s has not ended: %w", f.session.Follower, ctx.Err())
		}
	}
}
