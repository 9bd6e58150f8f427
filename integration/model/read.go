package model

import (
	"errors"
	"slices"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// Status is the answer to a question for the status.
func (m *Model) Status(space, segment string) (streamhub.Status, error) {
	l := m.look(space, segment)
	if l == nil || l.ended != nil {
		return streamhub.Status{}, m.gone(l)
	}
	return m.status(space, segment, l), nil
}

func (m *Model) status(space, segment string, l *life) streamhub.Status {
	s := streamhub.Status{
		Space: space, Segment: segment, FirstSequence: l.first, LastSequence: l.last(), LastTimestamp: millis.Time(l.timestamp),
		State: streamhub.StateOpen, Verdict: l.closed, Generation: l.generation, ContentType: l.contentType,
		TTL: time.Duration(l.ttl) * time.Millisecond, ExpiresAt: millis.Time(l.deadline), Parent: l.parent, ForkedAt: l.forkedAt,
		Origin: l.origin, Position: m.position(l, l.last(), l.reign),
	}
	if l.closed != nil {
		s.State = streamhub.StateClosed
	}
	if e := l.at(l.first); e != nil {
		s.FirstTimestamp = millis.Time(e.timestamp)
	}
	if l.last() == 0 {
		s.FirstSequence = 0
	}
	s.Kept = m.before(l)
	return s
}

// Peek is the answer to a question for the last entry.
func (m *Model) Peek(space, segment string) (streamhub.Entry, error) {
	l := m.look(space, segment)
	switch {
	case l == nil || l.ended != nil:
		return streamhub.Entry{}, m.gone(l)
	case l.first > l.last():
		return streamhub.Entry{}, streamhub.ErrNotFound
	}
	e := l.tip()
	if !m.keeps(RulePeek) {
		e = l.at(l.first)
	}
	return m.entry(space, segment, l, e), nil
}

// listed is how many reigns a segment remembers at least.
const listed = 60

// entry is e as a reader of the segment gets it.
func (m *Model) entry(space, segment string, l *life, e *entry) streamhub.Entry {
	reign := e.reign
	if !m.keeps(RuleLineage) {
		reign = m.server.reign
	}
	if i := slices.Index(l.reigns, reign); i >= 0 && i < len(l.reigns)-listed {
		reign = 0 // forgotten
	}
	return streamhub.Entry{
		Space: space, Segment: segment, Sequence: e.sequence, Timestamp: millis.Time(e.timestamp),
		TRX: streamhub.TRX{ID: e.trx, Number: e.number}, Metadata: e.record.Metadata, Payload: e.record.Payload,
		Position: m.position(l, e.sequence, reign),
	}
}

// lost returns the first entry that p has seen and that is not in l, 0 if all are; sure says that the
// store can know it exactly.
func (m *Model) lost(p past, l *life) (first uint64, sure bool) {
	if p.life != l.id {
		if m.keeps(RuleCursorLife) {
			return 1, true
		}
		return 0, true
	}
	if p.at == nil || l.at(p.sequence) == p.at || !m.keeps(RuleCursorProof) {
		if !slices.Contains(l.reigns, p.reign) && m.saw != nil && errors.Is(*m.saw, streamhub.ErrHistoryLost) {
			// All entries are there, but something without a record, such as a close, is lost with the
			// lineage that p names.
			return max(1, p.sequence), false
		}
		return 0, true
	}
	first = p.sequence
	for e := p.at; e != nil && l.at(e.sequence) != e; e = e.prev {
		first = e.sequence
	}
	return first, slices.Contains(l.reigns, p.reign)
}

// ConsumeSegment is the answer to a read of a segment.
func (m *Model) ConsumeSegment(space, segment string, o *streamhub.ReadOptions) ([]streamhub.Entry, error) {
	if o == nil {
		o = &streamhub.ReadOptions{}
	}
	p, known := m.past[o.Cursor]
	switch {
	case o.Cursor != "" && (!known || p.change != 0):
		return nil, streamhub.ErrInvalidCursor
	case o.Cursor != "" && o.FromSequence != 0:
		return nil, streamhub.ErrInvalidArgument
	}
	l := m.look(space, segment)
	if l == nil && o.Cursor != "" {
		return nil, &streamhub.HistoryLostError{FirstLost: 1}
	}
	if l == nil || l.ended != nil && m.keeps(RuleDeleteHides) {
		return nil, m.gone(l)
	}
	from := l.first
	switch {
	case o.Cursor != "":
		if first, sure := m.lost(p, l); first != 0 {
			return nil, &lostFrom{first, sure}
		}
		from = p.sequence + 1
	case o.FromSequence != 0:
		from = o.FromSequence
	}
	if from < l.first {
		if m.keeps(RuleTrimmed) {
			return nil, m.trimmed(l)
		}
		from = l.first
	}
	if o.Cursor != "" && !m.keeps(RuleCursorExact) && p.sequence >= l.first {
		from--
	}
	to := l.last()
	if o.ToSequence != 0 {
		to = min(to, o.ToSequence)
		if !m.keeps(RuleTo) && to == o.ToSequence {
			to--
		}
	}
	var entries []streamhub.Entry
	for s := from; s <= to; s++ {
		if e := l.at(s); m.within(o, e.timestamp) {
			entries = append(entries, m.entry(space, segment, l, e))
		}
	}
	return m.limited(entries, o.Limit), nil
}

// trimmed is the error of a reader that comes too late, with the cursor to go on from.
func (m *Model) trimmed(l *life) error {
	return &streamhub.TrimmedError{FirstKept: l.first, Cursor: m.before(l).Cursor()}
}

// before is the position before what a life keeps.
func (m *Model) before(l *life) streamhub.Position {
	reign := l.reign
	if e := l.at(l.first - 1); e != nil {
		reign = e.reign
	}
	return m.position(l, l.first-1, reign)
}

func (m *Model) within(o *streamhub.ReadOptions, timestamp int64) bool {
	after, until := timestamp > millis.Of(o.After), timestamp <= millis.Of(o.Until)
	if !m.keeps(RuleAfter) {
		after = timestamp >= millis.Of(o.After)
	}
	if !m.keeps(RuleUntil) {
		until = timestamp < millis.Of(o.Until)
	}
	return (o.After.IsZero() || after) && (o.Until.IsZero() || until)
}

func (m *Model) limited(entries []streamhub.Entry, limit uint64) []streamhub.Entry {
	if limit > 0 && uint64(len(entries)) > limit {
		if !m.keeps(RuleLimit) {
			limit++
		}
		return entries[:limit]
	}
	return entries
}

// Segments is the list of a space. maybe are those that have expired and that no operation has met.
func (m *Model) Segments(space string) (names, maybe []string) {
	for segment := range m.space(space).segments {
		switch l := m.find(space, segment); {
		case l == nil || l.ended != nil && m.keeps(RuleLists):
		case m.due(l):
			maybe = append(maybe, segment)
		default:
			names = append(names, segment)
		}
	}
	slices.Sort(names)
	return names, maybe
}

// Spaces is the list of the store.
func (m *Model) Spaces() (names []string) {
	for name := range m.server.spaces {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
