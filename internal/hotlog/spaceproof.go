package hotlog

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// first fetches the first page and compares the cursor that the read starts from.
func (r *spaceReader) first(ctx context.Context) *spacePage {
	p := r.fetch(ctx, r.from, streamhub.TimelineID{})
	switch {
	case p.err == nil:
		p.err = r.prove(p)
	case errors.Is(p.err, errTrimmed):
		// Lost history goes first: the cursor of the other error would hide it.
		if err := r.probe(ctx); err != nil {
			p.err = err
		}
	}
	return p
}

// probe compares the cursor that the read starts from with its own place of the timeline, whatever was
// trimmed after it.
func (r *spaceReader) probe(ctx context.Context) error {
	own := *r
	own.from = r.start.Timeline
	place := own
	place.start, place.end = streamhub.Position{}, own.from // a read without a cursor is not told of trims
	p := place.fetch(ctx, own.from, streamhub.TimelineID{})
	if p.err != nil {
		return p.err
	}
	return own.prove(p)
}

// whole returns an error if the beginning of the timeline was lost.
func (r *spaceReader) whole(ctx context.Context) error {
	pipe := r.store.log.conn.Pipeline()
	var last *redis.XMessageSliceCmd
	if r.begun != nil {
		last = pipe.XRevRangeN(ctx, r.timeline(), "+", "-", 1)
	}
	// In this order: the start that is written down never lags behind the one there is.
	begins := pipe.XRangeN(ctx, r.timeline(), "-", "+", 1)
	should := pipe.HMGet(ctx, r.state(), stateFields...)
	if _, err := pipe.Exec(ctx); err != nil {
		return redisx.ReadOutcome(err)
	}
	if r.begun != nil {
		state, err := parseSpaceState(should.Val())
		if err == nil {
			err = r.begun.begin(last.Val(), &state)
		}
		if err != nil {
			return err
		}
	}
	err := r.judge(begins.Val(), should.Val())
	if errors.Is(err, streamhub.ErrHistoryLost) {
		// The first append of a space may come between the two, and one of them may be sent once more after the other
		// while a slot moves. A second look meets neither.
		if begins = r.store.log.conn.XRangeN(ctx, r.timeline(), "-", "+", 1); begins.Err() != nil {
			return redisx.ReadOutcome(begins.Err())
		}
		if should = r.store.log.conn.HMGet(ctx, r.state(), stateFields...); should.Err() != nil {
			return redisx.ReadOutcome(should.Err())
		}
		err = r.judge(begins.Val(), should.Val())
	}
	return err
}

// judge compares the first entry of a timeline with the start recorded in the state of the space, which was read later.
func (r *spaceReader) judge(begins []redis.XMessage, should []any) error {
	state, err := parseSpaceState(should)
	if err != nil || state.start.IsZero() {
		return err
	}
	if state.archived && r.store.log.opt.Cold == nil && state.start.Before(state.first) {
		return errNoArchive
	}
	if len(begins) == 0 {
		return &streamhub.HistoryLostError{}
	}
	id, err := parseTimelineID(begins[0].ID)
	if err != nil {
		return err
	}
	// One that was lost and begins again within the same millisecond has the same id.
	segment, ref, known := strings.Cut(state.begin, " ")
	if state.first.Before(id) || known && id == state.start && begins[0].Values[segment] != ref {
		return &streamhub.HistoryLostError{}
	}
	return nil
}

// errTrimmed says that the reader has met trimmed entries; resumable converts it to the error for the caller.
var errTrimmed = errors.New("trimmed")

// resumable adds a cursor to the error of a reader that has met trimmed entries. The cursor resumes after the visited
// entries and skips everything that was trimmed so far.
func (r *spaceReader) resumable(ctx context.Context, err error) error {
	if !errors.Is(err, errTrimmed) {
		return err
	}
	end, err := r.store.log.timelineEnd(ctx, r.spaceKeys)
	if err != nil {
		return err
	}
	at := r.at
	at.Trimmed = end
	return &streamhub.TrimmedError{Cursor: at.Cursor(), Space: r.space}
}

// told returns the value of Position.Trimmed for a position at id.
func (r *spaceReader) told(id streamhub.TimelineID) streamhub.TimelineID {
	if id.Before(r.start.Trimmed) {
		return r.start.Trimmed
	}
	return streamhub.TimelineID{}
}

// cutShort explains a read that did not meet the end that the timeline had when it began. Where sweeps
// do not come, sure is set: that place cannot be gone on purpose.
func (r *spaceReader) cutShort(ctx context.Context, sure bool) error {
	end, err := r.store.log.timelineEnd(ctx, r.spaceKeys)
	if err == nil && (sure || end.Before(r.end)) {
		err = &streamhub.HistoryLostError{}
	}
	return err
}

// unread reports whether there is something in c after the cursor that the read started from. What
// was trimmed is not, up to the place that the cursor names for that.
func (r *spaceReader) unread(c *change) bool {
	if t := r.start.Trimmed; !t.IsZero() && !t.Before(c.id) {
		return false
	}
	if at := r.start.Timeline; at.IsZero() || c.id != at {
		return !c.id.Before(at)
	}
	return c.index > r.start.Index || c.index == r.start.Index && c.last > r.start.Sequence
}

// tell returns errTrimmed if the reader has to be told that c, whose entries are trimmed, was so. At the start of a
// timeline trimmed entries are left out.
func (r *spaceReader) tell(ctx context.Context, c *change) error {
	if r.start.IsZero() || !r.unread(c) {
		return nil
	}
	if r.begun != nil {
		if since, err := r.begun.trimmedSince(ctx, r, c); err != nil || !since {
			return err
		}
	}
	return errTrimmed
}

// prove compares the first page with the cursor that the read started from.
func (r *spaceReader) prove(p *spacePage) error {
	id := r.start.Timeline
	if id.IsZero() || p.err != nil || r.from != id {
		return nil // no cursor, or a later time bound
	}
	if p.state.lost(r.start.Lineage, id) {
		return &streamhub.HistoryLostError{}
	}
	for i := range p.changes {
		c := &p.changes[i]
		if c.id != id {
			break
		}
		if c.index != r.start.Index {
			continue
		}
		if c.records == 0 && c.last == r.start.Sequence {
			return nil // it brought nothing that could be compared
		}
		if c.last < r.start.Sequence || c.first() > r.start.Sequence {
			return &streamhub.HistoryLostError{}
		}
		if p.frames[i] == nil {
			return nil // its entries are gone on purpose
		}
		proof, err := p.frames[i].proof(r.start.Sequence)
		if err == nil && proof != r.start.Proof {
			err = &streamhub.HistoryLostError{}
		}
		return err
	}
	switch {
	case p.state.archived && r.store.log.opt.Cold == nil && id.Before(p.state.first):
		return errNoArchive
	case len(p.changes) > 0 && p.changes[0].id == id, // it names less than the cursor has seen
		p.state.start.IsZero(), id.Before(p.state.start), p.state.swept.Before(id):
		return &streamhub.HistoryLostError{}
	}
	return nil // a sweep has removed the entry of the timeline: what it named is gone on purpose
}

// missed refuses a page of a read that started from a cursor if a sweep removed something from it
// that was trimmed before it was read.
func (r *spaceReader) missed(ctx context.Context, p *spacePage) error {
	t := &p.state.trimmed
	if r.start.IsZero() || t.id.IsZero() || t.id.Before(p.from) || !r.unread(t) {
		return nil
	}
	if p.more && !t.id.Before(p.next) {
		return nil // it belongs to a later page
	}
	// If it lies after the end of the read, others that were removed before it may lie within: a reader
	// is told once too often rather than not at all.
	for i := range p.changes {
		if c := &p.changes[i]; c.id == t.id && c.index == t.index {
			return nil // the sweep came after the page was read
		}
	}
	return r.tell(ctx, t)
}
