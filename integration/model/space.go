package model

import (
	"errors"
	"slices"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// SpaceEnd is the cursor after what a space holds.
func (m *Model) SpaceEnd(name string) streamhub.Cursor {
	sp := m.space(name)
	if len(sp.line) == 0 {
		return ""
	}
	c := sp.line[len(sp.line)-1]
	return m.along(name, c, c.last, m.server.reign).Cursor()
}

// along is a position along a space, in change c after sequence.
func (m *Model) along(space string, c *change, sequence, reign uint64) streamhub.Position {
	p := streamhub.Position{
		Incarnation: c.life, Lineage: reign, Sequence: sequence, Timeline: streamhub.TimelineID{MS: uint64(c.timestamp), N: c.id},
	}
	m.past[p.Cursor()] = past{life: c.life, sequence: sequence, reign: reign, change: c.id, space: space}
	return p
}

// ConsumeSpace is the answer to a read along a space. After a cursor the entries may come before an
// error.
func (m *Model) ConsumeSpace(space string, o *streamhub.ReadOptions) ([]streamhub.Entry, error) {
	if o == nil {
		o = &streamhub.ReadOptions{}
	}
	p, known := m.past[o.Cursor]
	switch {
	case o.FromSequence != 0 || o.ToSequence != 0:
		return nil, streamhub.ErrInvalidArgument
	case o.Cursor != "" && (!known || p.change == 0 || p.space != space && m.keeps(RuleSpaceOwn)):
		return nil, streamhub.ErrInvalidCursor
	}
	sp := m.space(space)
	from := 0
	if o.Cursor != "" {
		from = slices.IndexFunc(sp.line, func(c *change) bool { return c.id == p.change })
		if from < 0 {
			if m.keeps(RuleSpaceProof) {
				return nil, &streamhub.HistoryLostError{}
			}
			from = 0
		}
	}
	var entries []streamhub.Entry
	line := sp.line[from:]
	if !m.keeps(RuleSpaceOrder) && o.Cursor == "" && len(line) > 1 {
		line = slices.Clone(line)
		line[0], line[len(line)-1] = line[len(line)-1], line[0]
	}
	behind := past{life: p.life, sequence: p.sequence, reign: p.reign, at: p.at, change: p.change, space: space}
	all := []past{behind}
	trimmed := func() error {
		if m.saw != nil {
			behind = all[min(m.delivered, len(all)-1)] // it need not give what lies before the trimmed
		}
		behind.trimmed = sp.line[len(sp.line)-1].id
		at := streamhub.Position{
			Incarnation: behind.life, Lineage: behind.reign, Sequence: behind.sequence,
			Timeline: streamhub.TimelineID{MS: 1, N: behind.change}, Trimmed: streamhub.TimelineID{MS: 1, N: behind.trimmed},
		}
		m.past[at.Cursor()] = behind
		return &streamhub.TrimmedError{Cursor: at.Cursor(), Space: space}
	}
	for _, c := range line {
		if !m.within(o, c.timestamp) {
			if !o.Until.IsZero() && c.timestamp > millis.Of(o.Until) && m.trimmedAfter(&p, o, c) {
				return entries, trimmed()
			}
			continue
		}
		told := func(sequence uint64) bool {
			return o.Cursor == "" || c.id <= p.trimmed || !m.keeps(RuleTrimmedSpace) || m.informed != nil && m.informed(c.life, sequence)
		}
		l := m.look(space, c.segment)
		if l == nil || l.id != c.life || l.ended != nil && m.keeps(RuleSpaceDeleted) {
			// Of what was trimmed before it was deleted a reader may be told.
			first := m.server.trims[c.life]
			gone := max(c.first, 1) < first && c.first <= c.last && (c.id != p.change || c.last > p.sequence)
			if gone && !told(min(c.last, first-1)) && m.saw != nil && errors.Is(*m.saw, streamhub.ErrTrimmed) {
				return entries, trimmed()
			}
			continue
		}
		for s := c.first; s <= c.last; s++ {
			if c.id == p.change && s <= p.sequence {
				continue
			}
			if s < l.first {
				if !told(s) {
					return entries, trimmed()
				}
				continue
			}
			e := m.entry(space, c.segment, l, l.at(s))
			proof := e.Position.Proof
			e.Position = m.along(space, c, s, e.Position.Lineage)
			e.Position.Proof = proof
			behind = past{life: c.life, sequence: s, reign: e.Position.Lineage, at: l.at(s), change: c.id, space: space}
			if c.id < p.trimmed {
				behind.trimmed = p.trimmed
				e.Position.Trimmed = streamhub.TimelineID{MS: 1, N: p.trimmed}
			}
			m.past[e.Position.Cursor()] = behind
			all = append(all, behind)
			entries = append(entries, e)
		}
	}
	return m.limited(entries, o.Limit), nil
}

// trimmedSince reports whether anything of a space was trimmed since trims was the state of that.
func (m *Model) trimmedSince(space string, trims map[uint64]uint64) bool {
	return slices.ContainsFunc(m.space(space).line, func(c *change) bool { return m.server.trims[c.life] > trims[c.life] })
}

// trimmedAfter reports whether c, which lies after the end of the time asked for, was trimmed and the
// real reader was told so: what a sweep has removed may lie on either side.
func (m *Model) trimmedAfter(p *past, o *streamhub.ReadOptions, c *change) bool {
	if o.Cursor == "" || c.id <= p.trimmed || m.saw == nil || !errors.Is(*m.saw, streamhub.ErrTrimmed) {
		return false
	}
	return c.first <= c.last && max(c.first, 1) < m.server.trims[c.life]
}
