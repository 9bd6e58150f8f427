package hotlog

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// ConsumeSpace reads what a space holds when the call begins, over all of its segments, in the order in which Redis
// stored the entries. It leaves out deleted entries, and trimmed ones at the start. After a cursor, trimmed entries
// cause a [streamhub.TrimmedError]. The sequence can be ranged over more than once.
func (s *Store) ConsumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		if err := s.consumeSpace(ctx, space, options, yield); err != nil {
			yield(streamhub.Entry{}, s.fail("consume", space, "", err))
		}
	}
}

func (s *Store) consumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions, yield func(streamhub.Entry, error) bool) error {
	var o streamhub.ReadOptions
	if options != nil {
		o = *options
	}
	if o.FromSequence != 0 || o.ToSequence != 0 {
		return fmt.Errorf("%w: FromSequence and ToSequence are for a segment, a space is bounded by After and Until", streamhub.ErrInvalidArgument)
	}
	start, err := o.Cursor.Position()
	if err != nil {
		return err
	}
	r, err := s.newSpaceReader(space, start)
	if err != nil {
		return err
	}
	if r.end, err = s.log.timelineEnd(ctx, r.spaceKeys); err != nil {
		return err
	}
	after, until := bounds(&o)
	if start.IsZero() && after == 0 {
		if err := r.whole(ctx); err != nil {
			return err
		}
	}
	if r.end.IsZero() {
		if !start.IsZero() {
			return &streamhub.HistoryLostError{}
		}
		return nil
	}
	end := r.end
	if err := r.bound(ctx, after, until); err != nil || r.end.Before(r.from) {
		return err
	}
	r.toEnd = r.end == end
	left := o.Limit
	if left == 0 {
		left = math.MaxUint64
	}
	return r.read(ctx, func(e *streamhub.Entry) bool {
		left--
		return yield(*e, nil) && left > 0
	})
}

// A spaceReader walks along the timeline of a space.
type spaceReader struct {
	store *Store
	spaceKeys
	mark  uint32               // of the space
	from  streamhub.TimelineID // the first entry of the timeline to read
	end   streamhub.TimelineID // and the last
	start streamhub.Position   // what lies at from was read up to here, if not zero
	at    streamhub.Position   // after what was visited
	begun *SpaceStart          // of a reader that began without a cursor and goes on page by page, else nil
	count int
	// toEnd says that end is a place of the timeline that the read has to reach.
	toEnd bool
	// held includes segments that were deleted and that only their forks read.
	held bool
}

// hides reports whether the reader must not see the entries of a segment.
func (r *spaceReader) hides(m *meta) bool { return m.erased() || m.held() && !r.held }

func (s *Store) newSpaceReader(space string, start streamhub.Position) (*spaceReader, error) {
	if err := streamhub.CheckName("space", space); err != nil {
		return nil, err
	}
	if !start.IsZero() && start.Timeline.IsZero() {
		return nil, fmt.Errorf("%w: this is the cursor of a segment, and a space is resumed with a cursor of its own", streamhub.ErrInvalidCursor)
	}
	k := keysOf(s.id, space)
	mark := k.mark()
	if !start.IsZero() && start.Mark != mark {
		return nil, fmt.Errorf("%w: this is the cursor of another space", streamhub.ErrInvalidCursor)
	}
	return &spaceReader{
		store: s, spaceKeys: k, mark: mark, start: start, at: start,
		from:  start.Timeline,
		end:   streamhub.TimelineID{MS: math.MaxUint64, N: math.MaxUint64},
		count: firstChanges,
	}, nil
}

// bound narrows what is read to the time after one timestamp and until another; see bounds. A cursor that then
// lies outside is proved first.
func (r *spaceReader) bound(ctx context.Context, after, until int64) error {
	from, end := r.from, r.end
	if after > 0 && from.MS <= uint64(after) {
		from = streamhub.TimelineID{MS: uint64(after) + 1}
	}
	if until := uint64(max(until, 0)); until < end.MS {
		end = streamhub.TimelineID{MS: until, N: math.MaxUint64}
	}
	if !r.start.IsZero() && (from != r.from || end.Before(from)) {
		if err := r.probe(ctx); err != nil {
			return err
		}
	}
	r.from, r.end = from, end
	return nil
}

// read calls visit with each entry. While one page is visited the next one is on its way. At the end
// of the timeline it checks that the place at which the read was to end was reached: a failover in
// between may have cut it off.
func (r *spaceReader) read(ctx context.Context, visit func(e *streamhub.Entry) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var ahead chan *spacePage
	defer func() {
		cancel()
		if ahead != nil {
			<-ahead
		}
	}()
	p := r.first(ctx)
	archived := false
	for last := (streamhub.TimelineID{}); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.err == nil {
			p.err = r.missed(ctx, p)
		}
		if p.err != nil {
			return r.resumable(ctx, p.err)
		}
		if n := len(p.changes); n > 0 && p.bytes > 0 {
			r.count = max(16, min(timelineBytes/(p.bytes/n+64), 8*r.count, maxChanges))
		}
		if archived && !p.archived {
			return &streamhub.HistoryLostError{} // Redis has forgotten the archive
		}
		archived = p.archived
		last = p.reached(last)
		if p.more {
			ahead = make(chan *spacePage, 1)
			go func(from, last streamhub.TimelineID, into chan<- *spacePage) { into <- r.fetch(ctx, from, last) }(p.next, last, ahead)
		}
		if goOn, err := r.visit(p, visit); err != nil || !goOn {
			return err
		}
		r.at = r.after(p)
		if !p.more {
			if r.toEnd && last != r.end {
				return r.cutShort(ctx, archived && p.state.swept.Before(r.end))
			}
			return nil
		}
		p = <-ahead
		ahead = nil
	}
}

// visit passes the entries of a page on. The first page begins at the place of the cursor, so it
// skips the entries of that place up to the cursor's own.
func (r *spaceReader) visit(p *spacePage, visit func(e *streamhub.Entry) bool) (bool, error) {
	pass := func(e *streamhub.Entry) bool {
		r.at = e.Position
		return visit(e)
	}
	for i := range p.changes {
		c, f := &p.changes[i], p.frames[i]
		if f == nil {
			continue
		}
		name, _ := redisx.Unescape(c.segment)
		base := streamhub.Entry{Space: r.space, Segment: name}
		base.Position = streamhub.Position{
			Incarnation: p.metas[i].incarnation, Lineage: p.metas[i].lineageAt(c.last),
			Timeline: c.id, Index: c.index, Mark: r.mark, Trimmed: r.told(c.id),
		}
		from := uint64(0)
		if !r.start.IsZero() && c.id == r.start.Timeline {
			if c.index < r.start.Index {
				continue
			}
			if c.index == r.start.Index {
				from = r.start.Sequence + 1
			}
		}
		if goOn, err := f.entries(&base, from, math.MaxUint64, pass); err != nil || !goOn {
			return false, err
		}
	}
	return true, nil
}
