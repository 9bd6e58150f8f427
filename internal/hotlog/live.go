package hotlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// This file is what package subscribe follows segments with.

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

// ReadSpacePage reads beyond after along the timeline of a space, or from its start if after is
// zero. next is the position to go on from; it moves also where there was nothing to read.
func (s *Store) ReadSpacePage(ctx context.Context, space string, after streamhub.Position) (entries []streamhub.Entry, next streamhub.Position, more bool, err error) {
	defer func() { err = s.fail("read", space, "", err) }()
	r, err := s.newSpaceReader(space, after)
	if err != nil {
		return nil, after, false, err
	}
	if after.IsZero() {
		if err := r.whole(ctx); err != nil {
			return nil, after, false, err
		}
	}
	p := r.first(ctx)
	if p.err == nil {
		p.err = r.missed(p)
	}
	if p.err != nil {
		return nil, after, false, r.resumable(ctx, p.err)
	}
	for last := (timelineID{}); ; {
		if _, err = r.visit(p, func(e *streamhub.Entry) bool {
			entries = append(entries, *e)
			return true
		}); err != nil {
			return entries, r.at, p.more, err
		}
		if next = r.after(p); next != after || !p.more {
			return entries, next, p.more, nil
		}
		// The page held nothing but the place that was read already: it ends a window of the archive.
		last = p.reached(last)
		if p = r.fetch(ctx, p.next, last); p.err == nil {
			p.err = r.missed(p)
		}
		if p.err != nil {
			return nil, after, false, r.resumable(ctx, p.err)
		}
	}
}

// SpaceEnd returns the position after the last change of a space; zero if there is none.
func (s *Store) SpaceEnd(ctx context.Context, space string) (end streamhub.Position, err error) {
	defer func() { err = s.fail("read", space, "", err) }()
	r, err := s.newSpaceReader(space, streamhub.Position{})
	if err != nil {
		return end, err
	}
	if r.from, err = s.log.timelineEnd(ctx, r.spaceKeys); err != nil || r.from.isZero() {
		return end, err
	}
	p := r.fetch(ctx, r.from, timelineID{})
	if p.err != nil {
		return end, p.err
	}
	if _, err = r.visit(p, func(*streamhub.Entry) bool { return true }); err != nil {
		return end, err
	}
	return r.after(p), nil
}

// after is the position after a page that was visited.
func (r *spaceReader) after(p *spacePage) streamhub.Position {
	n := len(p.changes) - 1
	if n < 0 {
		return r.at
	}
	c := &p.changes[n]
	last := streamhub.TimelineID{MS: c.id.ms, N: c.id.n, Index: c.index}
	if r.at.Timeline == last {
		return r.at
	}
	return streamhub.Position{Timeline: last, Mark: r.mark, Trimmed: r.told(c.id), Incarnation: p.metas[n].incarnation, Sequence: c.last, Lineage: p.state.lineageAt(c.id)}
}

// A Change says what happened to one segment at one place of the timeline.
type Change struct {
	Segment string
	// LastSequence is the end of the segment then; for a trim the first sequence kept.
	LastSequence uint64
}

// Changes names what changed in a space after a place in its timeline. An after of zero names
// nothing, and last is then the end of the timeline. lost says that the place is not there any more,
// or that a sweep removed something after it: anything may have changed.
func (s *Store) Changes(ctx context.Context, space string, after streamhub.TimelineID) (changes []Change, last streamhub.TimelineID, lost bool, err error) {
	defer func() { err = s.fail("changes", space, "", err) }()
	if err := streamhub.CheckName("space", space); err != nil {
		return nil, after, false, err
	}
	k := keysOf(s.id, space)
	if after.IsZero() {
		end, err := s.log.timelineEnd(ctx, k)
		return nil, streamhub.TimelineID{MS: end.ms, N: end.n}, false, err
	}
	from := timelineID{after.MS, after.N}
	found, next, more, err := s.log.changes(ctx, k, from, timelineID{math.MaxUint64, math.MaxUint64}, maxChanges)
	if err != nil {
		return nil, after, false, err
	}
	if len(found) == 0 || found[0].id != from {
		end, err := s.log.timelineEnd(ctx, k)
		return nil, streamhub.TimelineID{MS: end.ms, N: end.n}, true, err
	}
	for len(found) > 0 {
		for i := range found {
			c := &found[i]
			last = streamhub.TimelineID{MS: c.id.ms, N: c.id.n}
			if last != after {
				changes = append(changes, c.public())
			}
		}
		if !more {
			break
		}
		if found, next, more, err = s.log.changes(ctx, k, next, timelineID{math.MaxUint64, math.MaxUint64}, maxChanges); err != nil {
			return nil, after, false, err
		}
	}
	if last != after {
		// What a sweep removed after the place is not named any more. Asked after the reads, so that
		// nothing is removed in between.
		state, err := s.log.spaceState(ctx, k)
		if err != nil {
			return nil, after, false, err
		}
		lost = from.before(state.swept)
	}
	return changes, last, lost, nil
}

func (c *change) public() Change {
	name, _ := redisx.Unescape(c.segment)
	return Change{name, c.last}
}

// SpaceChannel and SegmentChannel name the Pub/Sub channels of a space and of a segment.
func SpaceChannel(store uuid.UUID, space string) string { return keysOf(store, space).channel() }

// SegmentChannel: see SpaceChannel.
func SegmentChannel(store uuid.UUID, space, segment string) string {
	return keysOf(store, space).segmentChannel(redisx.Escape(segment))
}

// A SpaceNotice is a message on the channel of a space.
type SpaceNotice struct {
	Timeline streamhub.TimelineID
	Changes  []Change
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
	n.Timeline = streamhub.TimelineID{MS: id.ms, N: id.n}
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
	// Previous is the last sequence before, PreviousProof its proof.
	Previous, PreviousProof uint64
	// Position is that of the last entry now. Its lineage is that of the append.
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

// Continues reports whether the notice is the very next thing beyond after.
func (n *SegmentNotice) Continues(after streamhub.Position) bool {
	return n.Previous == after.Sequence && n.PreviousProof == after.Proof &&
		n.Position.Incarnation == after.Incarnation && n.Position.Lineage == after.Lineage
}

// Entries decodes what the notice carries; there is nothing where the frame was too large.
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
