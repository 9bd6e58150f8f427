package hotlog

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// parseTimelineID reads the id of a stream entry, "<ms>-<n>".
func parseTimelineID(s string) (id streamhub.TimelineID, err error) {
	ms, n, ok := strings.Cut(s, "-")
	if id.MS, err = strconv.ParseUint(ms, 10, 64); err == nil && ok {
		id.N, err = strconv.ParseUint(n, 10, 64)
	}
	if err != nil || !ok {
		return id, fmt.Errorf("%w: timeline id %q", streamhub.ErrCorrupt, s)
	}
	return id, nil
}

// timelineEnd returns the id of the last entry of a timeline, zero if there is none.
func (l *Log) timelineEnd(ctx context.Context, k spaceKeys) (streamhub.TimelineID, error) {
	last, err := l.conn.XRevRangeN(ctx, k.timeline(), "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return streamhub.TimelineID{}, redisx.ReadOutcome(err)
	}
	return parseTimelineID(last[0].ID)
}

// changes reads up to about count entries of a timeline. next is where to go on if there are more.
func (l *Log) changes(ctx context.Context, k spaceKeys, from, to streamhub.TimelineID, count int) (changes []change, next streamhub.TimelineID, more bool, err error) {
	return l.changesOf(ctx, newRange(ctx, k.timeline(), from.String(), to.String(), count, 0))
}

// changesOf reads what cmd asks for; see changes.
func (l *Log) changesOf(ctx context.Context, cmd rangeCmd) (changes []change, next streamhub.TimelineID, more bool, err error) {
	if err := l.conn.Process(ctx, cmd); err != nil {
		return nil, next, false, redisx.ReadOutcome(err)
	}
	raw, err := l.reply(ctx, cmd)
	if err != nil {
		return nil, next, false, err
	}
	p := respParser{b: raw}
	n := p.array()
	changes = make([]change, 0, min(n, maxChanges))
	for range n {
		if p.array() != 2 {
			break
		}
		id, err := parseTimelineID(text(p.bulk()))
		if err != nil {
			return nil, next, false, err
		}
		first := len(changes)
		for range p.array() / 2 {
			if changes, err = appendChanges(changes, p.bulk(), text(p.bulk())); err != nil {
				return nil, next, false, err
			}
		}
		for i := range changes[first:] {
			changes[first+i].id, changes[first+i].index = id, uint32(i)
		}
		// The next page begins after this entry.
		next = streamhub.TimelineID{MS: id.MS, N: id.N + 1}
	}
	if p.failed || len(p.b) != 0 {
		return nil, next, false, p.error()
	}
	return changes, next, n >= cmd.buf.count, nil
}

// SpaceEnd returns the position after the last change of a space; zero if there is none.
func (s *Store) SpaceEnd(ctx context.Context, space string) (end streamhub.Position, err error) {
	defer func() { err = s.fail("space end", space, "", err) }()
	r, err := s.newSpaceReader(space, streamhub.Position{})
	if err != nil {
		return end, err
	}
	if r.from, err = s.log.timelineEnd(ctx, r.spaceKeys); err != nil || r.from.IsZero() {
		return end, err
	}
	p := r.fetch(ctx, r.from, streamhub.TimelineID{})
	if p.err != nil {
		return end, p.err
	}
	if _, err = r.visit(p, func(*streamhub.Entry) bool { return true }); err != nil {
		return end, err
	}
	return r.after(p), nil
}

// A SegmentChange says what happened to one segment at one place of the timeline.
type SegmentChange struct {
	Segment string
	// LastSequence is the end of the segment then; for a trim the first sequence kept.
	LastSequence uint64
}

// A Mark is a place in the timeline of a space, together with the content of the entry there. After a loss another
// entry can get the same id, from the slower clock of another primary.
type Mark struct {
	ID  streamhub.TimelineID
	sum uint64
}

// IsZero reports whether m names no place.
func (m Mark) IsZero() bool { return m.ID.IsZero() }

// markOf is the mark of the entry that changes begins with, which may be empty.
func markOf(changes []change) (m Mark) {
	if len(changes) == 0 {
		return m
	}
	m.ID = changes[0].id
	sum := fnv.New64a()
	for i := range changes {
		c := &changes[i]
		if c.id != m.ID {
			break
		}
		fmt.Fprint(sum, c.segment, " ", c.kind, " ", c.last, " ", c.records, " ")
	}
	m.sum = sum.Sum64()
	return m
}

// Changes returns the changes in a space after a place in its timeline. For a zero after it returns none, and last is
// the end of the timeline. lost says that the place no longer exists, or that a sweep removed entries after it:
// anything may have changed.
func (s *Store) Changes(ctx context.Context, space string, after Mark) (changes []SegmentChange, last Mark, lost bool, err error) {
	defer func() { err = s.fail("changes", space, "", err) }()
	if err := streamhub.CheckName("space", space); err != nil {
		return nil, after, false, err
	}
	k := keysOf(s.id, space)
	if after.IsZero() {
		last, err = s.log.lastMark(ctx, k)
		return nil, last, false, err
	}
	last, there, err := s.log.changesAfter(ctx, k, after, func(c *change) { changes = append(changes, c.public()) })
	if err != nil {
		return nil, after, false, err
	}
	if !there {
		last, err = s.log.lastMark(ctx, k)
		return nil, last, true, err
	}
	if last != after {
		// The timeline no longer names the changes that a sweep removed. Asked after the reads, so that nothing is
		// removed in between.
		state, err := s.log.spaceState(ctx, k)
		if err != nil {
			return nil, after, false, err
		}
		lost = after.ID.Before(state.swept)
	}
	return changes, last, lost, nil
}

// ChangedSince returns the segments that the timeline of a space names after the place after, each once, and the last
// place of the timeline, zero if that is empty. For the place zero it returns the last place alone. If the place no
// longer exists, the changes since are unknown, and the error is a [streamhub.HistoryLostError]. Changes that a sweep
// removed are left out: their segments have no entries.
func (s *Store) ChangedSince(ctx context.Context, space string, after Mark) (segments []string, last Mark, err error) {
	defer func() { err = s.fail("list", space, "", err) }()
	k := keysOf(s.id, space)
	if after.IsZero() {
		last, err = s.log.lastMark(ctx, k)
		return nil, last, err
	}
	seen := map[string]bool{}
	last, there, err := s.log.changesAfter(ctx, k, after, func(c *change) {
		if !seen[c.segment] {
			seen[c.segment] = true
			segments = append(segments, c.public().Segment)
		}
	})
	if err == nil && !there {
		err = &streamhub.HistoryLostError{}
	}
	return segments, last, err
}

// lastMark returns the mark of the last entry of a timeline, or zero if the timeline is empty.
func (l *Log) lastMark(ctx context.Context, k spaceKeys) (Mark, error) {
	end, _, _, err := l.changesOf(ctx, newLast(ctx, k.timeline()))
	return markOf(end), err
}

// changesAfter calls visit with each change after a place of a timeline, and returns the last place. there is false,
// and nothing is visited, if the place now has another entry or none.
func (l *Log) changesAfter(ctx context.Context, k spaceKeys, after Mark, visit func(c *change)) (last Mark, there bool, err error) {
	for from, more := after.ID, true; more; {
		var page []change
		page, from, more, err = l.changes(ctx, k, from, streamhub.TimelineID{MS: math.MaxUint64, N: math.MaxUint64}, maxChanges)
		if err != nil || !there && markOf(page) != after {
			return after, false, err
		}
		there = true
		first := 0 // of the changes at the last place
		for i := range page {
			c := &page[i]
			if c.id != page[first].id {
				first = i
			}
			if c.id != after.ID {
				visit(c)
			}
		}
		if len(page) > 0 {
			last = markOf(page[first:])
		}
	}
	return last, true, nil
}

func (c *change) public() SegmentChange {
	name, _ := redisx.Unescape(c.segment)
	return SegmentChange{name, c.last}
}

// A change is the part of one timeline entry that concerns one segment.
type change struct {
	id      streamhub.TimelineID
	index   uint32
	segment string // escaped
	kind    changeKind
	// last is the last sequence of the segment then, records how many came with the change.
	// For changeTrim last is the first sequence kept.
	last, records uint64
}

// A changeKind is the letter of a reference in the timeline. An append has none.
type changeKind byte

const (
	changeAppend changeKind = 'a'
	changeCreate changeKind = 'n'
	changeClose  changeKind = 'c'
	changeDelete changeKind = 'd'
	changeTrim   changeKind = 't'
)

func (c *change) first() uint64 { return c.last - c.records + 1 }

// appendChanges reads a field of a timeline entry: its name is that of a segment and its value the reference, or it has
// no name, and its value has names and references of several segments.
func appendChanges(changes []change, name []byte, value string) ([]change, error) {
	if len(name) > 0 {
		c, err := parseChange(string(name), value)
		return append(changes, c), err
	}
	for more := true; more; {
		var segment, ref string
		segment, value, _ = strings.Cut(value, " ")
		ref, value, more = strings.Cut(value, " ")
		// Cloned, because value belongs to the reply.
		c, err := parseChange(strings.Clone(segment), ref)
		if err != nil || segment == "" {
			return nil, cmp.Or(err, fmt.Errorf("%w: a timeline reference without a segment", streamhub.ErrCorrupt))
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// parseChange reads a reference: an optional letter, the sequence, and ":" with the number of
// records unless it is the usual one.
func parseChange(segment, ref string) (c change, err error) {
	c.segment, c.kind = segment, changeAppend
	if ref != "" && ref[0] > '9' {
		switch c.kind = changeKind(ref[0]); c.kind {
		case changeCreate, changeClose, changeDelete, changeTrim:
			ref = ref[1:]
		}
	}
	last, records, counted := strings.Cut(ref, ":")
	if c.last, err = strconv.ParseUint(last, 10, 63); err == nil {
		if counted {
			c.records, err = strconv.ParseUint(records, 10, 31)
		} else if c.kind == changeAppend {
			c.records = 1
		}
	}
	if err != nil || c.records > c.last {
		return c, fmt.Errorf("%w: timeline reference %q", streamhub.ErrCorrupt, ref)
	}
	return c, nil
}
