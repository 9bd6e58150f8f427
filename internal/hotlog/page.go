package hotlog

import (
	"context"

	"github.com/seed-147127fe/streamhub"
)

// This file reads a segment in pages, which is what followers of it do.

// A Page is what a segment holds after a position, up to about a megabyte.
type Page struct {
	Entries []streamhub.Entry
	// Status is that of the segment when the page was read.
	Status streamhub.Status
	// More says that the page does not reach the end.
	More bool
}

// Next is the position after the page, or after if it is empty.
func (p *Page) Next(after streamhub.Position) streamhub.Position {
	if n := len(p.Entries); n > 0 {
		return p.Entries[n-1].Position
	}
	return after
}

// ReadPage reads beyond after, or from the first entry that is kept if after is zero. Errors are
// those of [Store.ConsumeSegment]. With prove the entry at after is read again and compared, which
// a caller that did so before need not ask for.
func (s *Store) ReadPage(ctx context.Context, space, segment string, after streamhub.Position, prove bool) (page Page, err error) {
	defer func() { err = s.fail("read", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return page, err
	}
	if err := ofSegment(after); err != nil {
		return page, err
	}
	return s.readPage(ctx, at, after, 0, prove)
}

// ReadAfter reads after the entry at sequence, if it has the proof: otherwise it is not the entry
// that was seen, and the error is a [streamhub.HistoryLostError]. Which incarnation and lineage the
// segment has now is for the caller to compare.
func (s *Store) ReadAfter(ctx context.Context, space, segment string, sequence, proof uint64) (page Page, err error) {
	defer func() { err = s.fail("read", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return page, err
	}
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return page, err
	}
	if m.gone() {
		return page, goneOf(&m)
	}
	after := m.position() // without another lineage than the one of now, only the proof decides
	if after.Sequence == sequence && after.Proof != proof && sequence > 0 {
		return page, &streamhub.HistoryLostError{FirstLost: sequence}
	}
	prove := after.Sequence != sequence
	after.Sequence, after.Proof = sequence, proof
	return s.readPageOf(ctx, at, &m, after, 0, prove)
}

func (s *Store) readPage(ctx context.Context, at place, after streamhub.Position, from uint64, prove bool) (page Page, err error) {
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return page, err
	}
	return s.readPageOf(ctx, at, &m, after, from, prove)
}

func (s *Store) readPageOf(ctx context.Context, at place, m *meta, after streamhub.Position, from uint64, prove bool) (page Page, err error) {
	r, err := s.newReader(ctx, at, m, after, from)
	if err != nil {
		return page, err
	}
	if page.Status, err = s.statusOf(ctx, at, m); err != nil {
		return page, err
	}
	if !prove {
		r.check = streamhub.Position{}
	}
	if r.patient = true; r.next > m.last && r.check.IsZero() {
		return page, nil
	}
	size := 0
	err = r.read(ctx, func(f *frame, base *streamhub.Entry, to uint64) (bool, error) {
		size += len(f.data)
		goOn, err := f.entries(base, r.next, to, func(e *streamhub.Entry) bool {
			page.Entries = append(page.Entries, *e)
			return true
		})
		return goOn && size < pageBytes, err
	})
	page.More = err == nil && r.next <= m.last
	return page, err
}

// ReadFrom reads from a sequence on, which is known to be there by nothing but its number, or from
// the first entry that is kept if from is 0. After the end it reads nothing.
func (s *Store) ReadFrom(ctx context.Context, space, segment string, from uint64) (page Page, err error) {
	defer func() { err = s.fail("read", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return page, err
	}
	return s.readPage(ctx, at, streamhub.Position{}, from, false)
}
