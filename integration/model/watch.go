package model

import (
	"errors"

	"github.com/seed-147127fe/streamhub"
)

// Due returns what a follower at a cursor gets next: entries, and the error that ends it after them. One
// without a cursor begins at a sequence. Without a segment it follows the space.
// A deadline that has passed ends a follower only where the real one was told so.
func (m *Model) Due(space, segment string, from uint64, cursor streamhub.Cursor) ([]streamhub.Entry, error) {
	m.onlooker = true
	defer func() { m.onlooker, m.patient = false, false }()
	if segment == "" {
		m.delivered = 0
		entries, err := m.ConsumeSpace(space, &streamhub.ReadOptions{Cursor: cursor})
		return m.once(entries), err
	}
	var deleted *streamhub.DeletedError
	m.patient = m.saw == nil || !errors.As(*m.saw, &deleted)
	l := m.look(space, segment)
	gone := l == nil || l.ended != nil
	if cursor == "" && gone || gone && !m.keeps(RuleFollowDeleted) {
		return nil, nil // it is waited for
	}
	o := &streamhub.ReadOptions{Cursor: cursor}
	if cursor == "" && from <= l.last() {
		o.FromSequence = from
	}
	var entries []streamhub.Entry
	if cursor != "" || from <= l.last() {
		var err error
		if entries, err = m.ConsumeSegment(space, segment, o); err != nil {
			if errors.Is(err, streamhub.ErrHistoryLost) && !m.keeps(RuleFollowLost) {
				err = nil
			}
			return nil, err
		}
	}
	for len(entries) > 0 && entries[0].Sequence < from {
		entries = entries[1:]
	}
	if l.closed != nil && m.keeps(RuleFollowEnd) {
		return m.once(entries), &streamhub.ClosedError{Verdict: *l.closed, LastSequence: l.last()}
	}
	return m.once(entries), nil
}

// once leaves an entry out where followers need not see all of them.
func (m *Model) once(entries []streamhub.Entry) []streamhub.Entry {
	if !m.keeps(RuleFollowAll) && len(entries) > 1 {
		return entries[1:]
	}
	return entries
}
